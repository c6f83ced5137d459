"""Which files are read, looking workflows up, and what a broken file or entry breaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dstack_core._workflow.load import load_workflows
from dstack_core.errors import InputError, NotFoundError

GOOD = "workflows:\n- {name: good, provider: bash, commands: [echo]}\n"


def test_all_files_are_read_in_order(project):
    project.write("workflows:\n- {name: b}\n- {name: a}\n")
    project.write("workflows:\n- {name: d}\n", "workflows/two.yml")
    project.write("workflows:\n- {name: c}\n", "workflows/one.yaml")
    project.write("not: read", "workflows/notes.txt")
    project.write("workflows: [{name: lock}]", "workflows/.#one.yaml")
    loaded = load_workflows(project.root)
    assert loaded.names() == ["b", "a", "c", "d"]
    assert loaded.problems == []
    assert loaded.get("d").where == ".dstack/workflows/two.yml:2:3"


def test_no_folder_no_file_and_empty_files(tmp_path, project):
    assert load_workflows(tmp_path / "nothing").names() == []
    project.write("")
    project.write("# only a comment\n", "workflows/a.yaml")
    project.write("workflows:\n", "workflows/b.yaml")
    loaded = load_workflows(project.root)
    assert loaded.names() == []
    assert loaded.problems == []
    with pytest.raises(NotFoundError, match="there are no workflows"):
        loaded.get("w")


def test_unknown_name_gets_the_close_match(project):
    loaded = load_workflows(project.write("workflows: [{name: train}, {name: data}]").root)
    with pytest.raises(NotFoundError) as caught:
        loaded.get("trian")
    assert caught.value.hint == "did you mean `train`?"
    with pytest.raises(NotFoundError) as caught:
        loaded.get("zzz")
    assert "`train`, `data`" in caught.value.hint


def test_a_name_in_two_files_is_an_error_of_that_name_only(project):
    project.write(GOOD + "- {name: twice}\n").write("workflows:\n- {name: twice}\n", "workflows/more.yaml")
    loaded = load_workflows(project.root)
    assert loaded.get("good").data["commands"] == ["echo"]
    with pytest.raises(InputError) as caught:
        loaded.get("twice")
    assert caught.value.where == ".dstack/workflows/more.yaml:2:10"
    assert ".dstack/workflows.yaml:3" in caught.value.message


@pytest.mark.parametrize(
    "entry",
    [
        "- {name: bad, commands: &a [x], setup: *a}",
        "- {name: bad, commands: !!python/name:os.system x}",
        "- {name: bad, commands: [a], commands: [b]}",
        "- {name: bad, ? [complex] : key}",
        "- {name: bad, commands: *nowhere}",
        "- &a {name: bad, <<: *a}",
    ],
)
def test_a_bad_entry_breaks_itself_only(project, entry):
    loaded = load_workflows(project.write(GOOD + entry + "\n").root)
    assert loaded.get("good").provider == "bash"
    with pytest.raises(InputError) as caught:
        loaded.get("bad")
    assert caught.value.where.startswith(".dstack/workflows.yaml:3:")
    assert caught.value.hint
    with pytest.raises(InputError):
        loaded.get("bad")  # and says so again


def test_an_entry_without_a_usable_name_is_a_problem_but_breaks_no_other(project):
    entries = [
        "- echo",
        "- {provider: bash}",
        "- name: [x]",
        "- name: -x",
        "- name: a/b",
        "- name: ':t'",
        '- name: "a\\n"',
    ]
    loaded = load_workflows(project.write(GOOD + "\n".join(entries) + "\n").root)
    assert loaded.names() == ["good"]
    assert [p.where for p in loaded.problems] == [
        f".dstack/workflows.yaml:{line}:{column}"
        for line, column in zip(range(3, 10), [3, 3, 9, 9, 9, 9, 9], strict=True)
    ]


def test_names_are_data(project):
    names = ["a;b", "a,b", "ünïcode", "two words", "1", "3.10", "null-ish", "$(x)", "x-1", "x-10"]
    loaded = load_workflows(project.write("workflows:\n" + "".join(f'- name: "{n}"\n' for n in names)).root)
    assert loaded.names() == names
    assert [loaded.get(n).name for n in names] == names


def test_a_broken_file_breaks_only_names_that_are_nowhere_else(project):
    project.write(GOOD).write("workflows:\n- name: x\n commands: [\n", "workflows/broken.yaml")
    loaded = load_workflows(project.root)
    assert loaded.get("good").name == "good"
    with pytest.raises(NotFoundError) as caught:
        loaded.get("x")
    assert caught.value.where.startswith(".dstack/workflows/broken.yaml:3:")
    assert "no workflow `x` was found" in caught.value.message


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("worklfows: []\n", ":1:1", "did you mean `workflows`?"),
        ("a: 1\nb: 2\n", ":1:1", "no `workflows:`"),
        ("- name: x\n", ":1:1", "no `workflows:`"),
        ("workflows: {a: 1}\n", ":1:12", "must be a list"),
        ("workflows: !x []\n", ":1:12", "`!x`"),
        ("workflows: []\nworkflows: []\n", ":2:1", "given twice"),
        ("--- {}\n--- {}\n", ":2:1", "second YAML document"),
        ("workflows:\n\t- x\n", ":2:1", "tabs"),
        ("a: 'x\n", ":2:1", "not valid YAML"),
        ("a: b: c\n", ":1:5", "not valid YAML"),
        ("%TAG ! tag:x,2000:\n--- {}\n", ":1:1", "directives"),
        ("a: \x00\n", ":1:4", "U+0000"),
        ("a: 1\nb: \x07\n", ":2:4", "U+0007"),
        ("[" * 60 + "]" * 60, ":1:51", "50 levels"),
        ("- " * 60, ":1:101", "50 levels"),
    ],
)
def test_a_bad_file_says_where_and_what(project, text, where, words):
    (project.root / ".dstack/workflows.yaml").write_text(text)
    (problem,) = load_workflows(project.root).problems
    assert problem.where == ".dstack/workflows.yaml" + where
    assert words in f"{problem.message} {problem.hint}"
    assert problem.hint


def test_encodings(project):
    path = project.root / ".dstack/workflows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_workflows(project.root).get("good").locate(("provider",)) == ".dstack/workflows.yaml:2:26"
    path.write_bytes(GOOD.encode() + b"# \xff\n")
    (problem,) = load_workflows(project.root).problems
    assert (problem.where, problem.message) == (".dstack/workflows.yaml:3:3", "not UTF-8 text")
    path.write_bytes(GOOD.encode("utf-16"))
    assert load_workflows(project.root).problems[0].message == "not UTF-8 text"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert load_workflows(project.root).get("good").data["commands"] == ["echo"]


def test_files_that_are_none(project):
    folder = project.root / ".dstack/workflows"
    os.mkfifo(folder / "fifo.yaml")
    (folder / "folder.yaml").mkdir()
    (folder / "dangling.yaml").symlink_to("nowhere")
    (folder / "loop.yaml").symlink_to("loop.yaml")
    project.write(GOOD)
    loaded = load_workflows(project.root)
    assert loaded.get("good").name == "good"
    assert sorted(Path(p.where).name for p in loaded.problems) == [
        "dangling.yaml",
        "fifo.yaml",
        "folder.yaml",
        "loop.yaml",
    ]


def test_a_file_of_more_than_10_mb_is_not_read(project):
    (project.root / ".dstack/workflows.yaml").write_text("# " + "x" * 10_000_000)
    (problem,) = load_workflows(project.root).problems
    assert "larger than 10 MB" in problem.message


def test_missing_provider(project):
    loaded = load_workflows(project.write("workflows:\n- name: a\n- {name: b, provider: [x]}\n").root)
    for name, where in (("a", ":2:3"), ("b", ":3:23")):
        with pytest.raises(InputError) as caught:
            _ = loaded.get(name).provider
        assert caught.value.where == ".dstack/workflows.yaml" + where


def test_help_for_listings_never_raises(project):
    project.write("workflows:\n- {name: a, help: Trains}\n- {name: b, help: [x]}\n- {name: c, help: !x y, help: z}\n")
    loaded = load_workflows(project.root)
    assert loaded.get("a").help == "Trains"
    assert loaded.get("b").help is None


def test_loading_and_templates_import_neither_pydantic_nor_rich():
    code = (
        "import sys; import dstack_core._workflow.load, dstack_core._workflow.project, dstack_core._workflow.options\n"
        "import dstack_core._workflow.resolve, dstack_core._workflow.template\n"
        "heavy = {'pydantic', 'yaml', 'rich', 'click', 'asyncio', 'logging'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import dstack_core._yaml; assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_misspelt_name_is_told_as_one(project):
    project.write("workflows:\n- {nam: train, provider: bash}\n")
    message = project.error(lambda: load_workflows(project.root).get("train"), NotFoundError)
    assert message.startswith(".dstack/workflows.yaml:2:3: a workflow without a name")
    assert message.endswith(" | did you mean `name` by `nam`?")
