"""What a run takes over from earlier runs, and what `dstack plan` says of it."""

from __future__ import annotations

import json

import pytest

TWO = """
    - {name: data, provider: bash, inputs: [data.py], artifacts: [data], commands: ['cp data.py data/x; echo made']}
    - {name: train, provider: bash, inputs: [train.py], deps: [data], artifacts: [model], env: {LR: 0.1},
       commands: ['cat data/x train.py > model/x; echo trained']}
    """


@pytest.fixture
def two(project):
    """`train` needs `data`; both have run."""
    project.write("data.py", "data 1\n")
    project.write("train.py", "train 1\n")
    project.workflows(TWO)
    project.first = project.dstack("run", "train")
    project.wait_for(lambda: not project.processes(), "its runner to leave")
    return project


def decisions(project, *arguments):
    plan = json.loads(project.dstack("plan", "train", "--json", *arguments).out)
    return {job["job"]: (job["decision"], job["reason"]) for job in plan["jobs"]}


def test_the_first_time_everything_runs(two):
    assert two.first.out == "data  | made\ntrain | trained\n"
    assert "never run" in two.first.err


def test_the_second_time_nothing_does(two):
    first = two.run()
    done = two.dstack("run", "train")
    assert done.out == ""
    assert two.statuses() == {"data": "reused", "train": "reused"}
    assert two.machines() == []
    assert done.err.count(f"same as {first}") == 2
    assert (two.artifact("train", "model") / "x").read_text() == "data 1\ntrain 1\n"
    assert two.view().run.status == "done"


def test_code_that_changed_runs_what_depends_on_it(two):
    two.write("train.py", "train 2\n")
    found = decisions(two)
    assert found["data"][0] == "reuse"
    assert found["train"] == ("run", "code changed: train.py")
    two.dstack("run", "train")
    assert two.statuses() == {"data": "reused", "train": "done"}


def test_equal_results_upstream_stop_the_change(two):
    # The command of `data` is another, its result is not: `train` is decided when that is known.
    two.workflows(TWO.replace("echo made", "echo made anew"))
    found = decisions(two)
    assert found["data"] == ("run", "command changed")
    assert found["train"][0] == "later"
    done = two.dstack("run", "train")
    assert "made anew" in done.out
    assert two.statuses() == {"data": "done", "train": "reused"}
    assert "train: reused from" in done.err


def test_other_results_upstream_do_not(two):
    two.write("data.py", "data 2\n")
    two.dstack("run", "train")
    assert two.statuses() == {"data": "done", "train": "done"}
    assert (two.artifact("train", "model") / "x").read_text() == "data 2\ntrain 1\n"


def test_the_way_back_is_remembered(two):
    first = two.run()
    two.write("train.py", "train 2\n")
    two.dstack("run", "train")
    two.write("train.py", "train 1\n")
    assert f"same as {first}" in decisions(two)["train"][1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--env", "LR=0.2"], "env LR: 0.1 -> 0.2"),
        (["--", "more"], "args: "),
        (["--force"], "forced"),
        (["--force", "train"], "forced"),
        (["--memory", "1MB"], None),
    ],
)
def test_the_reason_in_words(two, arguments, reason):
    decision, why = decisions(two, *arguments)["train"]
    if reason is None:
        assert decision == "reuse"  # a larger machine gives the same result
    else:
        assert decision == "run"
        assert reason in why


def test_force_runs_all_and_force_name_runs_one(two):
    two.dstack("run", "train", "--force")
    assert two.statuses() == {"data": "done", "train": "done"}
    two.dstack("run", "train", "--force", "data")
    assert two.statuses() == {"data": "done", "train": "reused"}
    two.dstack("run", "--force", "train")
    assert two.statuses() == {"data": "done", "train": "done"}


def test_forcing_what_the_run_has_not_is_told(two):
    runs = two.runs()
    assert "data" in two.dstack("run", "train", "--force", "dta", expect=66).err
    assert two.runs() == runs


def test_reuse_latest_takes_the_newest_result_unchecked(two):
    two.write("data.py", "data 2\n")
    two.dstack("run", "train", "--reuse", "latest", "--force", "train")
    assert two.statuses() == {"data": "reused", "train": "done"}
    assert (two.artifact("train", "model") / "x").read_text() == "data 1\ntrain 1\n"


def test_a_job_without_artifacts_runs_whenever_it_is_asked_for(project):
    project.workflows("- {name: work, provider: bash, commands: ['echo hi']}")
    assert project.dstack("run", "work").out == "hi\n"
    assert project.dstack("run", "work").out == "hi\n"


def test_a_failed_job_is_never_reused(project):
    project.workflows("- {name: work, provider: bash, artifacts: [out], commands: ['echo 1 > out/x', 'exit 1']}")
    project.dstack("run", "work", expect=1)
    project.dstack("run", "work", expect=1)


def test_plan_writes_nothing_to_the_store(two):
    def everything():
        return {path: path.stat().st_mtime_ns for path in (two.home / "store").rglob("*")}

    two.write("train.py", "train 3\n")
    before = everything()
    two.dstack("plan", "train")
    two.dstack("plan", "train", "--force", "--json")
    assert everything() == before
    assert two.processes() == []


def test_plan_makes_no_store(cold_project):
    cold_project.workflows("- {name: work, provider: bash, artifacts: [x], commands: ['true']}")
    assert "never run" in cold_project.dstack("plan", "work").out
    assert not (cold_project.home / "store").exists()


LEARNED = """
    - {name: data, provider: bash, artifacts: [data], commands: ['cat src/data.py > data/x']}
    - {name: train, provider: bash, deps: [data], artifacts: [model], commands: ['cat data/x train.py > model/x']}
    """


@pytest.fixture
def learned(project):
    """Nobody said what the two read."""
    for path in ("src/data.py", "train.py", "README.md", "docs/a.md"):
        project.write(path, f"{path} 1\n")
    project.workflows(LEARNED)
    return project


def test_an_edit_of_what_no_job_read_runs_nothing(learned):
    learned.dstack("run", "train")
    learned.write("README.md", "new\n")
    learned.write("docs/b.md", "new\n")
    learned.workflows(LEARNED + "\n    - {name: other, provider: bash, commands: ['true']}")
    decision, why = decisions(learned)["train"]
    assert decision == "reuse"
    assert "nothing that it read has changed (1 of 6 files)" in why
    learned.dstack("run", "train")
    assert learned.statuses() == {"data": "reused", "train": "reused"}
    plan = json.loads(learned.dstack("plan", "train", "--json").out)
    assert [(job["files_read"], plan["files"]) for job in plan["jobs"]] == [(1, 6), (1, 6)]


def test_an_edit_of_what_one_job_read_runs_that_one(learned):
    learned.dstack("run", "train")
    learned.write("train.py", "train 2\n")
    assert decisions(learned)["data"][0] == "reuse"
    assert decisions(learned)["train"] == ("run", "code changed: train.py")
    learned.write("src/new.py", "it could have been read\n")
    assert decisions(learned)["data"] == ("run", "code changed: src/new.py")


def test_what_was_read_is_shown_also_of_what_was_reused(learned):
    learned.dstack("run", "train")
    first = learned.run()
    learned.write("README.md", "new\n")
    learned.dstack("run", "train")
    shown = json.loads(learned.dstack("why", learned.run(), "data", "--json").out)["jobs"]
    assert [(row["status"], row["depends_on"], row["found_in"]) for row in shown] == [
        ("reused", "observed", f"{first}/data")
    ]
    assert (shown[0]["files"], shown[0]["folders"], shown[0]["of"]) == (["src/data.py"], [".", "src"], 5)
    assert "src/data.py" in learned.dstack("why", first).out


def test_where_access_times_are_not_kept_all_of_the_code_counts(learned, without_access_times):
    without_access_times(learned.home / "work")
    learned.dstack("run", "train")
    assert "all of the code counts" in decisions(learned)["train"][1]
    learned.write("README.md", "new\n")
    words = decisions(learned)["data"][1]
    assert words.startswith("code changed: README.md (all of the code counts: the file system")
    row = json.loads(learned.dstack("why", learned.run(), "data", "--json").out)["jobs"][0]
    assert (row["depends_on"], row["files"]) == ("all", [])
    assert "keeps no access time" in row["reason"]


def test_a_file_that_was_used_and_not_declared_is_a_warning(two):
    two.write("other.txt", "1")
    two.workflows(TWO.replace("cat data/x train.py", "cat data/x train.py other.txt"))
    warning = "train: warning: it used other.txt, which its inputs do not cover"
    assert warning in two.dstack("run", "train").err
    assert warning in two.dstack("ps", two.run()).err
    assert warning in two.dstack("why", two.run()).err
    two.write("other.txt", "2")
    assert decisions(two)["train"][0] == "reuse"
