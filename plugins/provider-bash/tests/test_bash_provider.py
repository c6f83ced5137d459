"""The script that the bash provider makes, run by real bash: order, first failure, background commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dstack_provider_bash.provider import BashProvider
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dstack_core import codec
from dstack_core.models import ArtifactSpec, Gpu, JobSpec, Requirements, Retry, Workflow


def spec_of(commands: Any, setup: Any = (), **fields: Any) -> JobSpec:
    provider = BashProvider()
    checked = provider.properties().model_validate({"commands": commands, "setup": setup}).model_dump()
    return provider.job_spec(Workflow("w", "bash", properties=checked, **fields))


def run(tmp_path: Path, spec: JobSpec) -> subprocess.CompletedProcess[str]:
    """As an executor does: the script in a private file, its path appended to argv."""
    script = tmp_path / "script"
    script.write_text(spec.script)
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    return subprocess.run([*spec.argv, str(script)], cwd=work, capture_output=True, text=True, timeout=60, check=False)


def test_setup_comes_before_commands(tmp_path):
    spec = spec_of(["echo c", "echo d"], ["echo a", "echo b"])
    assert spec.argv == ("bash", "-e")
    assert run(tmp_path, spec).stdout.split() == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "commands",
    [
        ["x=1", "cd /", "echo $x $PWD"],
        "x=1\ncd /\necho $x $PWD\n",
        "x=1; cd /; echo $x $PWD",
        ["x=1\ncd /", "echo $x \\\n  $PWD"],
    ],
)
def test_all_commands_are_one_script(tmp_path, commands):
    assert run(tmp_path, spec_of(commands)).stdout == "1 /\n"


def test_a_command_may_go_over_several_items_or_hold_a_here_document(tmp_path):
    spec = spec_of(["for i in 1 2; do", "echo $i", "done", "cat <<EOF\na\nEOF", "echo b # end", "echo c"])
    assert run(tmp_path, spec).stdout.split() == ["1", "2", "a", "b", "c"]


@pytest.mark.parametrize(
    ("setup", "commands", "code", "out"),
    [
        ([], ["echo a", "exit 7", "echo b"], 7, "a\n"),
        ([], ["echo a", "(exit 42)", "echo b"], 42, "a\n"),
        ([], "echo a\nsh -c 'exit 3'\necho b", 3, "a\n"),
        (["(exit 5)"], ["echo a"], 5, ""),
        ([], ["echo a", "no-such-command-anywhere"], 127, "a\n"),
        ([], ["echo a", "sh -c 'kill -9 $$'", "echo b"], 128 + 9, "a\n"),
        ([], ["false || echo a", "if false; then echo b; fi", "echo c"], 0, "a\nc\n"),
        ([], ["echo a", "exit 0", "echo b"], 0, "a\n"),
        ([], ["echo a", "("], 2, "a\n"),
        ([], ["set +e", "false", "echo a"], 0, "a\n"),
    ],
)
def test_the_first_failure_ends_the_job_with_its_code(tmp_path, setup, commands, code, out):
    done = run(tmp_path, spec_of(commands, setup))
    assert (done.returncode, done.stdout) == (code, out)


def test_a_command_in_the_background_does_not_hold_up_the_next(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    pipe = tmp_path / "pipe"
    # The reader blocks until the next command writes: run one after the other they would never end.
    done = run(tmp_path, spec_of([f"cat {pipe} > out &", f"echo hello > {pipe}", "wait", "cat out"]))
    assert (done.returncode, done.stdout) == (0, "hello\n")


def test_a_failure_in_the_background_ends_nothing(tmp_path):
    assert run(tmp_path, spec_of(["false &", "wait", "echo a"])).stdout == "a\n"


def test_everything_that_every_workflow_has_is_passed_on():
    workflow = Workflow(
        "w", "bash", help="not in the spec", env={"A": "1"}, python="3.11", ports=2, working_dir="src",
        artifacts=(ArtifactSpec("out", True),), resources=Requirements(2.0, 10**9, Gpu(2, "V100"), 10**8, True),
        image="ubuntu", retry=Retry(3), max_duration=60.0, args=("a b", "c"), properties={"commands": ["true"]},
    )  # fmt: skip
    spec = BashProvider().job_spec(workflow)
    assert spec == JobSpec(
        ("bash", "-e"), "true\n", workflow.env, workflow.args, workflow.python, workflow.image, workflow.working_dir,
        workflow.ports, workflow.artifacts, workflow.resources, workflow.retry, workflow.max_duration,
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.lists(st.text(max_size=20), max_size=2))
def test_pure_and_json_both_ways(commands, setup):
    properties = {"commands": commands, "setup": setup}
    workflow = Workflow("w", "bash", args=tuple(commands), env={"A": commands[0]}, properties=properties)
    before = codec.dumps(workflow)
    spec = BashProvider().job_spec(workflow)
    assert spec == BashProvider().job_spec(workflow)
    assert codec.loads(JobSpec, codec.dumps(spec)) == spec
    assert codec.dumps(workflow) == before


WRONG = [
    {}, {"commands": []}, {"commands": {"a": "b"}}, {"commands": [["x"]]}, {"commands": 1}, {"commands": None},
    {"commands": "x", "comands": "y"},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_properties(wrong):
    with pytest.raises(ValidationError):
        BashProvider().properties().model_validate(wrong)


def test_every_property_says_what_it_is_for():
    assert all(field.description for field in BashProvider().properties().model_fields.values())
