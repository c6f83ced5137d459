"""Values that look like programs stay values: arguments, names, environment, file names. A canary tells."""

from __future__ import annotations

import json

import pytest

HOSTILE = [
    "'; touch {canary}; '",
    '"; touch {canary}; "',
    "$(touch {canary})",
    "`touch {canary}`",
    "one\ntouch {canary}\n",
    "; touch {canary} #",
    "&& touch {canary}",
    "${{{{ secrets.X }}}} $HOME *",
    "-n \\ \\\\ \t ~ !! {{a,b}}",
    "\x1b[2J\x07ü€😀",
]
SHOW = "import json, sys; json.dump(sys.argv[1:], sys.stdout)"


@pytest.fixture
def canary(project):
    """A file that must never appear."""
    path = project.folder / "canary"
    yield path
    assert not path.exists()
    assert list(project.root.rglob("canary")) == []


def test_arguments_reach_the_program_as_they_are(project, canary):
    values = [text.format(canary=canary) for text in HOSTILE]
    project.write("show.py", SHOW)
    project.workflows("- {name: work, provider: bash, commands: ['python show.py ${{ run.args }}']}")
    assert json.loads(project.dstack("run", "work", "--", *values).out) == values


@pytest.mark.parametrize("quotes", ["", '"'], ids=["bare", "quoted"])
def test_environment_reaches_the_program_as_it_is(project, canary, quotes):
    values = [text.format(canary=canary) for text in HOSTILE]
    project.write("show.py", SHOW)
    names = [f"V{i}" for i in range(len(values))]
    used = " ".join(f"{quotes}${{{{ env.{name} }}}}{quotes}" for name in names)
    project.write(
        ".dstack/workflows.yaml",
        json.dumps({"workflows": [{
            "name": "work", "provider": "bash", "env": names, "commands": [f"python show.py {used}"],
        }]}),
    )  # fmt: skip
    done = project.dstack("run", "work", env=dict(zip(names, values, strict=True)))
    assert json.loads(done.out) == values


def test_the_environment_given_on_the_command_line_is_data_too(project, canary):
    value = HOSTILE[0].format(canary=canary)
    done = project.dstack("run", "bash", "-c", 'printf %s "$V"', "--env", f"V={value}")
    assert done.out == value


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "BASH_ENV", "PYTHONPATH", "DSTACK_RUN", "DSTACK_MACHINE"])
def test_a_variable_that_steers_programs_steers_the_job_alone(project, name):
    value = f"{project.folder}/nothing"
    done = project.dstack("run", "bash", "--env", f"{name}={value}", "-c", f'echo "${name}"', expect=None)
    if name.startswith("DSTACK_"):
        assert done.code in (0, 65)
    else:
        assert done.out.endswith(f"{value}\n") or not done.out
        assert project.finished().run.status in ("done", "failed")  # `PATH` may well hide bash


@pytest.mark.parametrize("name", ["A-B", "1A", "", "A B", "A;touch canary"])
def test_a_name_that_is_no_variable_is_refused(project, name, canary):
    done = project.dstack("run", "bash", "--env", f"{name}=x", "-c", "true", expect=None)
    assert done.code in (2, 65)
    assert project.runs() == []


@pytest.mark.parametrize("name", ["a;b", "a,b", "x-1", "$(touch canary)", "ü €", "a/b", "a.b", "-a"])
def test_a_workflow_may_have_any_name_or_is_refused_in_words(project, name, canary):
    entry = {"name": name, "provider": "bash", "artifacts": ["out"], "commands": ["echo hi > out/x; echo hi"]}
    project.write(".dstack/workflows.yaml", json.dumps({"workflows": [entry]}))
    done = project.dstack("run", *(["--", name] if name.startswith("-") else [name]), expect=None)
    if done.code:
        assert done.code in (2, 65, 66), done.said
        assert project.runs() == []
        return
    assert done.out == "hi\n"
    assert name in project.dstack("ps").out
    assert "reuse" in project.dstack("plan", name).out


def test_artifacts_with_hostile_names_reach_the_next_job(project, canary):
    names = ["$(touch canary)", "a;b", "x\ny", "'", " ", "ü", "-rf", "..."]
    project.write("make.py", f"import os; [open(os.path.join('out', n), 'w').close() for n in {names!r}]")
    project.write("show.py", "import json, os, sys; json.dump(sorted(os.listdir('out')), sys.stdout)")
    project.workflows("""
        - {name: make, provider: bash, artifacts: [out], commands: ['python make.py']}
        - {name: show, provider: bash, deps: [make], artifacts: [x], commands: ['python show.py > x/names']}
        """)
    project.dstack("run", "show")
    assert json.loads((project.artifact("show", "x") / "names").read_text()) == sorted(names)


def test_an_artifact_outside_of_the_checkout_is_refused(project):
    project.workflows("- {name: work, provider: bash, artifacts: [../out], commands: ['true']}")
    assert project.dstack("run", "work", expect=None).code in (1, 65)


def test_what_a_job_writes_does_not_steer_the_terminal(project):
    project.write("text", b"\x1b]0;title\x07\x1b[2Jshown\n")
    project.workflows("- {name: work, provider: bash, commands: [cat text]}")
    terminal = project.terminal("run", "work")
    terminal.expect("shown")
    before = terminal.before
    terminal.expect("done in")
    assert "\x1b]0;" not in before
    assert "\x1b[2J" not in before
