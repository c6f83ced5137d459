"""Runs of several jobs: order, side by side, failures and what they leave of the rest."""

from __future__ import annotations

import pytest


def test_a_chain_runs_in_order_and_hands_on(project):
    project.workflows("""
        - {name: three, provider: bash, deps: [two], commands: ['cat out/x', 'echo 3']}
        - {name: one, provider: bash, artifacts: [out], commands: ['echo 1 | tee out/x']}
        - {name: two, provider: bash, deps: [one], artifacts: [out], commands: ['echo 2 | tee out/x']}
        """)
    assert project.dstack("run", "three").out == "one   | 1\ntwo   | 2\nthree | 2\nthree | 3\n"


def test_an_output_at_the_place_of_an_input_starts_empty(project):
    # What `two` saves at `out` is what `two` made: a folder for its own results, not a copy of its input.
    project.workflows("""
        - {name: one, provider: bash, artifacts: [out], commands: ['echo 1 > out/x']}
        - {name: two, provider: bash, deps: [one], artifacts: [made], commands: ['cp out/x made/y', 'ls made']}
        """)
    assert project.dstack("run", "two").out == "two | y\n"


def test_a_diamond_runs_each_job_once(project):
    project.workflows("""
        - {name: top, provider: bash, artifacts: [top], commands: ['echo top > top/x', 'echo ran']}
        - {name: left, provider: bash, deps: [top], artifacts: [left], commands: ['cp top/x left/x']}
        - {name: right, provider: bash, deps: [top], artifacts: [right], commands: ['cp top/x right/x']}
        - {name: end, provider: bash, deps: [left, right], commands: ['cat left/x right/x']}
        """)
    done = project.dstack("run", "end")
    assert sorted(done.out.splitlines()) == ["end   | top", "end   | top", "top   | ran"]
    assert set(project.statuses().values()) == {"done"}
    assert len(project.machines()) == 1


def test_independent_jobs_run_side_by_side(project):
    meet = "touch {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.02; done"
    half = "resources: {cpu: 0.5}, max_duration: 30s"
    project.workflows(f"""
        - {{name: a, provider: bash, {half}, artifacts: [a], commands: ['{meet.format(project.sync, "a", "b")}']}}
        - {{name: b, provider: bash, {half}, artifacts: [b], commands: ['{meet.format(project.sync, "b", "a")}']}}
        - {{name: both, provider: bash, deps: [a, b], commands: ['ls -d a b']}}
        """)
    assert project.dstack("run", "both").out == "both | a\nboth | b\n"


def test_jobs_that_need_the_whole_machine_run_one_after_the_other(project):
    alone = f"mkdir {project.sync}/lock; sleep 0.1; rmdir {project.sync}/lock"
    memory = "resources: {memory: 60%}"
    project.workflows(
        f"""
        - {{name: a, provider: bash, {memory}, artifacts: [a], commands: ['{alone}']}}
        - {{name: b, provider: bash, {memory}, artifacts: [b], commands: ['{alone}']}}
        - {{name: both, provider: bash, deps: [a, b], commands: ['true']}}
        """.replace("60%", f"{_memory() * 6 // 10 >> 20}MiB")
    )
    project.dstack("run", "both")


BRANCHES = """
    - {name: bad, provider: bash, artifacts: [bad], commands: ['exit 5']}
    - {name: after-bad, provider: bash, deps: [bad], artifacts: [x], commands: ['echo never']}
    - {name: good, provider: bash, artifacts: [good], commands: ['echo fine > good/x']}
    - {name: after-good, provider: bash, deps: [good], artifacts: [y], commands: ['cp good/x y/x']}
    - {name: end, provider: bash, deps: [after-bad, after-good], commands: ['echo never']}
    """


def test_a_failure_skips_what_depends_on_it_and_nothing_else(project):
    project.workflows(BRANCHES)
    done = project.dstack("run", "end", expect=5)
    assert project.statuses() == {
        "bad": "failed", "after-bad": "skipped", "good": "done", "after-good": "done", "end": "skipped",
    }  # fmt: skip
    assert project.view().run.status == "failed"
    assert "never" not in done.out
    assert "after-bad: skipped: bad did not succeed" in done.err
    assert "end: skipped" in done.err
    shown = project.dstack("ps", project.run()).out
    assert "skipped" in shown


def test_what_finished_before_a_failure_is_reused_by_the_next_run(project):
    project.workflows(BRANCHES)
    project.dstack("run", "end", expect=5)
    project.workflows(BRANCHES.replace("exit 5", "echo mended > bad/x"))
    done = project.dstack("run", "end")
    assert project.statuses() == {
        "bad": "done", "after-bad": "done", "good": "reused", "after-good": "reused", "end": "done",
    }  # fmt: skip
    assert "good: reused" in done.err or "good        reuse" in done.err


def test_the_exit_code_is_that_of_the_first_failed_job(project):
    project.workflows("""
        - {name: a, provider: bash, artifacts: [a], commands: ['exit 11']}
        - {name: b, provider: bash, artifacts: [b], commands: ['exit 12']}
        - {name: end, provider: bash, deps: [a, b], commands: ['true']}
        """)
    project.dstack("run", "end", expect=11)


@pytest.mark.parametrize(
    ("deps", "word"),
    [
        ("[end]", "3:5: workflows depend on each other in a circle: end"),
        ("[nothing]", "2:42: first depends on nothing"),
        ("nothing", "2:41: first depends on nothing"),
        ("[good, ':nothing']", "2:48: there is no tag nothing"),
        ("[{tag: o/r/nothing}]", "2:42: there is no tag nothing"),
        ("[o/r/nothing]", "2:42: first depends on o/r/nothing"),
    ],
    ids=["cycle", "workflow", "text", "tag", "foreign tag", "foreign workflow"],
)
def test_deps_that_cannot_be_are_told_before_anything_runs(project, deps, word):
    project.workflows(f"""
        - {{name: first, provider: bash, deps: {deps}, artifacts: [a], commands: ['true']}}
        - {{name: end, provider: bash, deps: [first], commands: ['true']}}
        - {{name: good, provider: bash, commands: ['true']}}
        """)
    done = project.dstack("run", "end", expect=None)
    assert done.code in (65, 66)
    assert f"error: .dstack/workflows.yaml:{word}" in done.err
    assert project.runs() == []


def test_a_broken_workflow_that_nobody_needs_is_no_matter(project):
    project.workflows("""
        - {name: broken, provider: bash, comands: ['true']}
        - {name: fine, provider: bash, commands: ['echo fine']}
        """)
    assert project.dstack("run", "fine").out == "fine\n"


def test_a_fan_out_runs_inside_one_runner(project):
    entries = [
        f"- {{name: j{i}, provider: bash, artifacts: [o{i}], commands: ['echo {i} > o{i}/x']}}" for i in range(12)
    ]
    deps = ", ".join(f"j{i}" for i in range(12))
    entries.append(f"- {{name: all, provider: bash, deps: [{deps}], commands: ['cat o*/x | sort -n | tail -1']}}")
    project.workflows("\n".join(entries))
    assert project.dstack("run", "all").out == "all | 11\n"
    assert len(project.machines()) == 1


def _memory() -> int:
    from dstack_local.host import memory

    return memory()


def test_a_dep_of_the_command_line_that_cannot_be_is_told_as_such(project):
    project.workflows("- {name: end, provider: bash, deps: [end], commands: ['true']}")
    done = project.dstack("run", "end", "--dep", "nothing", expect=66)
    assert "error: --dep: end depends on nothing" in done.err
