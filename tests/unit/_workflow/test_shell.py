"""Values in a shell script: real bash says what it got, and never runs any of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dstack_core._workflow.template import fill
from dstack_core.errors import InputError

BASH = shutil.which("bash") or "bash"
NAME = "${{ run.name }}"
ARGS = "${{ run.args }}"

values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    "'\"`$(){}\\\n#!*?~;&|<> aA1-=:%,[]E", max_size=12
)


def run(script: str, shell: str = BASH) -> list[str]:
    """What the script printed, split at NUL."""
    done = subprocess.run(
        [shell, "-e"], input=script.encode(), capture_output=True, env={"HOME": "/home/x"}, check=False
    )
    assert (done.returncode, done.stderr) == (0, b""), (script, done)
    return done.stdout.decode().split("\0")[:-1]


def once(position: str, value: str) -> list[str]:
    return run(fill(position, {"run.name": value, "run.args": [value, value]}))


ONE_WORD = [
    "p NAME",
    'p "NAME"',
    "p 'NAME'",
    "p $'NAME'",
    'p $"NAME"',
    'p "$(printf %s. NAME)"',
    'p "$(printf %s. "NAME")"',
    "p \"$(printf %s. 'NAME')\"",
    'p "`printf %s. NAME`"',
    'x=NAME; p "$x"',
    'export x=NAME; p "$x"',
    'p "${none:-NAME}"',
    "p ${none:-NAME}",
    "p ''NAME",
    'p ""NAME""',
    "x=(NAME); p \"${x[@]}\"",
    "case NAME in NAME) p NAME;; esac",
    "[[ NAME == NAME ]] && p NAME",
    "f() { p \"$1\"; }; f NAME",
    "( p NAME )",
    "{ p NAME; }",
    "if true; then p NAME; fi",
    "p <<<x NAME",
    "# it's a 'comment' with NAME\np NAME",
    "p NAME # it's",
    "p \\\n  NAME",
    "p \\' >/dev/null; p NAME",
    "p \"\\\"\" >/dev/null; p NAME",
    "p $'\\'' >/dev/null; p NAME",
    "p $((1 + (2))) >/dev/null; p NAME",
    "(( 1 )); p NAME",
    "((p x >/dev/null) && p NAME)",
    "x=abc; p ${x#a} ${#x} \"${x%'}'*}\" >/dev/null; p NAME",
    "p a#b >/dev/null; p NAME",
    "p $# >/dev/null; p NAME",
]  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.data(), values)
@example(None, "$(:)`:`'\"\\ \n*~ a=b;#&|<>(){}[]!")
@example(None, "")
@example(None, "-n")
@example(None, "2")
@example(None, "a\r\nb\n\n")
@example(None, "if")
def test_a_value_arrives_as_it_is_wherever_it_stands(data, value):
    script = "p() { printf '%s\\0' \"$@\"; }\n" + "\n".join(ONE_WORD).replace("NAME", NAME)
    got = once(script, value)
    command_ends = {i for i, line in enumerate(ONE_WORD) if "printf %s." in line}
    assert got == [value + ("." if i in command_ends else "") for i in range(len(ONE_WORD))]


@settings(deadline=None, max_examples=40)
@given(st.lists(values, max_size=4))
@example([])
@example(["", ""])
@example(["a b", "-x=1"])
def test_a_list_is_words_or_one_text(words):
    script = f"""p() {{ printf '%s\\0' "$#" "$@"; }}
p {ARGS}
p "{ARGS}"
p '{ARGS}'
p x={ARGS}.
x={ARGS}
p "$x"
"""
    joined = " ".join(words)
    expected = [str(len(words)), *words, "1", joined, "1", joined, "1", f"x={joined}.", "1", joined]
    assert run(fill(script, {"run.args": words})) == expected


@settings(deadline=None, max_examples=40)
@given(values)
@example("EOF")
@example("a\nEOF\nprintf oops")
@example("$(echo)`x`\\\\")
def test_here_documents(value):
    script = f"""cat <<EOF
a {NAME} b
{NAME}
\t$(printf %s "{NAME}") 'it"s
EOF
printf '\\0'
cat <<-X <<"Y Z"; printf '\\0%s\\0' {NAME}
\tnot printed
\tX
it's raw
Y Z
printf '%s\\0' {NAME}
"""
    inner = value.rstrip("\n")
    expected = [f"a {value} b\n{value}\n\t{inner} 'it\"s\n", "it's raw\n", value, value]
    assert run(fill(script, {"run.name": value})) == expected


def test_a_quoted_here_document_takes_the_value_as_it_is():
    script = "cat <<'EOF'\na ${{ run.name }} b\nEOF\nprintf '\\0'\n"
    assert run(fill(script, {"run.name": "$x `y` 'z'\nw"})) == ["a $x `y` 'z'\nw b\n"]
    assert run(fill(script, {"run.name": "\nEOF x\n"})) == ["a \nEOF x\n b\n"]
    for end in ("x\nEOF\necho oops", "EOF"):
        with pytest.raises(InputError, match="would end the here-document"):
            fill(script.replace("a ${{", "${{").replace("}} b", "}}"), {"run.name": end})


@pytest.mark.parametrize(
    ("script", "value"),
    [
        ("<<E\n$(<<'E'\nNAME", "x=1\nE\n:>canary;#"),
        ("cat <<X\n$(echo\nNAME\n)\nX\n", "X"),
        ("cat <<X\n`cat <<'Y'\nNAME\nY`\nX\n", "a\nX\nb"),
    ],
)
def test_a_value_cannot_end_a_here_document_around_it(script, value):
    with pytest.raises(InputError, match="here-document"):
        fill(script.replace("NAME", NAME), {"run.name": value})


def test_a_quoted_here_document_inside_something_takes_plain_words_only():
    script = f"x=$(cat <<'E'\n{NAME}\nE\n); printf '%s\\0' \"$x\""
    assert run(fill(script, {"run.name": "plain-1"})) == ["plain-1"]
    with pytest.raises(InputError, match="quoted here-document inside"):
        fill(script, {"run.name": "not plain"})


def test_adjacent_text_is_not_changed():
    script = """HOMEx=wrong; p() { printf '%s\\0' "$@"; }
p $HOME${{ run.name }} "$HOME${{ run.name }}" a${{ run.name }}b "${HOME}${{ run.name }}" ~${{ run.name }}
p ${{ job.port_0 }}>/dev/null
p ${{ job.port_0 }}${{ job.port_0 }} {1..${{ job.port_0 }}} $((${{ job.port_0 }} * 3)) $[${{ job.port_0 }}]
p \\${{ run.name }} "\\${{ run.name }}" "\\\\${{ run.name }}" $'\\${{ run.name }}' '\\${{ run.name }}'
"""
    got = run(fill(script, {"run.name": "x", "job.port_0": "2"}))
    assert got[:5] == ["/home/xx", "/home/xx", "axb", "/home/xx", "~x"]
    assert got[5:10] == ["22", "1", "2", "6", "2"]
    assert got[10:] == ["\\x"] * 5


def test_a_plain_value_is_written_as_it_is():
    values = {"run.name": "grumpy-zebra-1", "run.args": ["--lr=0.1", "data/x.csv"]}
    assert (
        fill(f"run {ARGS} '{NAME}' \"{NAME}\"", values) == "run --lr=0.1 data/x.csv 'grumpy-zebra-1' \"grumpy-zebra-1\""
    )


def test_lines_keep_their_numbers():
    filled = fill(f"one\ntwo {NAME}\nthree", {"run.name": "a b"})
    assert filled.split("\n")[1:] == ['two "${__dstack_1}"', "three"]


@pytest.mark.parametrize("value", ["a[$(:)]", "x", "1+1", "", "08x", "$x"])
@pytest.mark.parametrize(
    "script",
    ["echo $((NAME))", "echo ${x:1:NAME}", "((NAME))", "echo ${x:NAME}", "echo ${x[NAME]}", "x[NAME]=1", "x[1+NAME]=2"],
)
def test_only_a_whole_number_is_calculated_with(script, value):
    with pytest.raises(InputError, match="not a whole number"):
        fill(script.replace("NAME", NAME), {"run.name": value})


def test_whole_numbers_are_calculated_with():
    script = """x=(a b c); s=abcdef
printf '%s\\0' $((5-NAME)) "${x[NAME]}" ${s: NAME}
"""
    assert run(fill(script.replace("NAME", NAME), {"run.name": "-2"})) == ["7", "b", "ef"]


def test_no_nul():
    with pytest.raises(InputError, match="NUL"):
        fill(NAME, {"run.name": "a\0b"})


@pytest.mark.skipif(not shutil.which("dash"), reason="needs dash")
@settings(deadline=None, max_examples=20)
@given(st.lists(values, max_size=3))
def test_other_shells_read_it_too(words):
    script = f"for w in {ARGS}; do printf '%s\\0' \"$w\"; done\nprintf '%s\\0' \"{ARGS}\" '{ARGS}'"
    assert run(fill(script, {"run.args": words}), shutil.which("dash") or "") == [
        *words,
        " ".join(words),
        " ".join(words),
    ]


PIECES = [
    "'", '"', "$(", ")", "${x:-", "${x:", "a[", "]", "}", "`", "\\", "#", " ", "\n", "$'", "<<E\n", "\nE\n", "<<'E'\n",
    "((", "))", "$((", "a", "echo ", "x=", ";", "$", NAME, NAME, NAME,
]  # fmt: skip
ATTACKS = [
    ">canary", "$(:>canary)", "`:>canary`", "';:>canary;'", '";:>canary;"', "\n:>canary\n", ");:>canary;(", "}:>canary",
    "E\n:>canary\n", "))\n:>canary\n", "a[$(:>canary)]", "\\\n:>canary", "'\n\"\n:>canary\n", "x=1\nE\n:>canary;#",
]  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=14), attack=st.sampled_from(ATTACKS))
def test_no_script_however_odd_runs_a_value(tmp_path: Path, pieces, attack):
    """The scripts are mostly broken: whatever bash makes of them, it makes nothing of the value."""
    try:
        script = fill("".join([*pieces, NAME]), {"run.name": attack})
    except InputError:
        return
    subprocess.run(
        [BASH],
        input=script.encode(),
        cwd=tmp_path,
        env={"PATH": "/nonexistent"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert not (tmp_path / "canary").exists(), script
