"""Runners, keepers and whole machines that die while a job runs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dstack_core._ledger import documents
from dstack_core._ledger.machines import machine_key
from dstack_core._ledger.records import MachineRecord


@pytest.fixture
def running(project):
    """A detached run whose job waits: the first attempt at `1`, the second at `2`."""
    wait = project.gate("${{ job.attempt }}")
    project.workflows(f"""
        - name: work
          provider: bash
          artifacts: [out]
          commands: ['echo try ${{{{ job.attempt }}}} | tee out/x', 'sleep 98765 & {wait}']
        - {{name: next, provider: bash, deps: [work], commands: ['cat out/x']}}
        """)
    project.dstack("run", "next", "-d")
    project.reached("1")
    project.wait_for(lambda: project.log("work") == "try 1\n", "what the job wrote")
    return project


def goes_on(project):
    """The second attempt runs and brings the run to its end; nothing of the first is alive."""
    project.reached("2")
    assert len(project.with_argument("98765")) == 1
    project.open("2")
    assert project.finished().run.status == "done"
    first, second = project.job("work").attempts
    assert (first.status, second.status) == ("interrupted", "done")
    assert project.log("work", 1) == "try 1\n"
    assert project.log("next") == "try 2\n"
    project.wait_for(lambda: {machine.status for machine in project.machines()} == {"gone"}, "the machines to end")
    return first, second


def test_a_killed_runner_is_started_again_by_its_keeper(running):
    running.kill(running.runner())
    first, second = goes_on(running)
    assert first.machine == second.machine
    assert "killed" in first.reason


def test_a_killed_machine_is_replaced_when_somebody_looks(running):
    running.kill(running.keeper(), running.runner())
    running.dstack("ps")
    first, second = goes_on(running)
    assert first.machine != second.machine
    work = running.home / "work"
    assert not (work / first.machine).exists()


def test_a_killed_machine_is_replaced_by_whoever_follows(running):
    viewer = running.start("logs", "-a", running.run())
    running.kill(running.keeper(), running.runner())
    goes_on(running)
    done = running.end(viewer)
    assert done.out == "work | try 1\nwork | try 2\nnext | try 2\n"
    assert "attempt 1 ended: its machine was lost" in done.err


def test_a_killed_keeper_is_not_missed(running):
    runner = running.runner()
    running.kill(running.keeper())
    running.wait_for(lambda: runner.ppid() == 1, "the runner to be an orphan")
    running.dstack("ps")
    running.open("1")
    assert running.finished().run.status == "done"
    assert [attempt.status for attempt in running.job("work").attempts] == ["done"]
    assert len(running.machines()) == 1


def test_daemons_of_a_lost_machine_are_ended(project):
    project.write(
        "daemon.py",
        "import os\nif os.fork(): os.wait(); raise SystemExit\nos.setsid()\nif os.fork(): os._exit(0)\n"
        "os.execvp('sleep', ['sleep', '98765'])\n",
    )
    commands = f"test ${{{{ job.attempt }}}} = 2 || (python daemon.py; {project.gate('1')})"
    project.workflows(f"- {{name: work, provider: bash, commands: ['{commands}']}}")
    project.dstack("run", "work", "-d")
    project.reached("1")
    (daemon,) = project.with_argument("98765")
    project.kill(project.keeper(), project.runner())
    project.dstack("ps")
    assert project.finished().run.status == "done"
    assert daemon not in project.processes()


def test_a_machine_that_is_told_to_end_saves_what_there_is(running):
    """As a spot machine is, two minutes before it goes."""
    running.keeper().terminate()
    running.wait_for(lambda: running.job("work").status == "interrupted", "the job to be interrupted")
    assert (running.artifact("work", "out") / "x").read_text() == "try 1\n"
    running.wait_for(lambda: not running.processes(), "the machine to end")
    running.dstack("ps")
    goes_on(running)


def rewrite_handle(project, change):
    """Make the machine's record name another process, boot or numbering of processes."""
    (machine,) = project.machines()
    handle = "|".join(change(machine.handle.split("|")))
    key = machine_key(machine.run, machine.id)
    documents.update(project.store, MachineRecord, key, lambda m: replace(m, handle=handle))


@pytest.fixture
def stranger():
    """A process that is none of dstack's business."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield process
    assert process.poll() is None, "a stranger was killed"
    process.kill()
    process.wait()


@pytest.mark.parametrize("what", ["reboot", "number given anew"])
def test_after_a_reboot_a_number_is_somebody_elses(running, stranger, what):
    running.kill_all()

    def change(parts):
        _, start, boot, *rest = parts
        start_of_stranger = Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(") ")[2].split()[19]
        if what == "reboot":
            return [str(stranger.pid), start_of_stranger, "another-boot", *rest]
        return [str(stranger.pid), start, boot, *rest]

    rewrite_handle(running, change)
    running.dstack("ps")
    goes_on(running)


def test_what_was_written_a_second_before_the_end_is_in_the_log(project):
    commands = f"seq 1 20000; seq 20001 20100 >&2; sleep 1; {project.gate('1')}"
    first = f"test ${{{{ job.attempt }}}} = 2 || ({commands})"
    project.workflows(f"- {{name: work, provider: bash, commands: ['{first}']}}")
    project.dstack("run", "work", "-d")
    project.reached("1")
    project.kill(project.runner())
    assert project.finished().run.status == "done"
    assert sorted(map(int, project.log("work", 1).split())) == list(range(1, 20101))
    shown = project.dstack("logs", project.run())
    assert "the log ends early" in shown.err


def test_nothing_is_lost_at_an_ordinary_end(project):
    project.workflows("- {name: work, provider: bash, commands: ['seq 1 300000', 'exit 3']}")
    done = project.dstack("run", "work", expect=3)
    assert done.out == "".join(f"{n}\n" for n in range(1, 300001))


MOUNTED = """
    - name: work
      provider: bash
      artifacts: [{path: ckpt, mount: true}, {path: plain}]
      commands:
        - ls ckpt plain
        - echo try ${{ job.attempt }} >> ckpt/x; echo 1 > plain/x
        - |
          GATE
    """


def test_mounted_artifacts_are_saved_meanwhile_and_there_again(project):
    project.workflows(MOUNTED.replace("GATE", project.gate("${{ job.attempt }}")))
    env = project.faults("runner", set="dstack_core._runner.saving:INTERVAL:0.1")
    project.dstack("run", "work", "-d", env=env)
    project.reached("1")
    project.wait_for(lambda: project.view().artifacts("work"), "a save")
    assert [artifact.path for artifact in project.view().artifacts("work")] == ["ckpt"]
    assert (project.artifact("work", "ckpt") / "x").read_text() == "try 1\n"
    project.kill_all()
    project.dstack("ps")
    project.reached("2")
    project.open("2")
    project.finished()
    assert (project.artifact("work", "ckpt") / "x").read_text() == "try 1\ntry 2\n"
    assert project.log("work", 2) == "ckpt:\nx\n\nplain:\n"


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(project):
    project.workflows(
        f"- {{name: work, provider: bash, artifacts: [out], "
        f"commands: [\"trap '' TERM; echo 1 > out/x; {project.gate('1')}\"]}}"
    )
    env = project.faults("runner", set="dstack_core._runner.execute:GRACE:0.2")
    project.dstack("run", "work", "-d", env=env)
    project.reached("1")
    project.dstack("stop", "-y", project.run())
    assert project.statuses() == {"work": "stopped"}
    assert (project.artifact("work", "out") / "x").exists()


def test_a_machine_that_dies_again_and_again_fails_the_run(project):
    """`kill -9` of the whole machine, whenever it comes up, as a job that eats all memory does."""
    commands = f"touch {project.sync}/${{{{ job.attempt }}}}.there; sleep 1000"
    project.workflows(f"- {{name: work, provider: bash, commands: ['{commands}']}}")
    project.dstack("run", "work", "-d")
    for attempt in range(1, 12):
        if project.view().finished:
            break
        project.reached(str(attempt))
        project.kill_all()
        project.dstack("ps")
    view = project.finished()
    assert view.run.status == "failed"
    assert "lost" in project.job("work").reason or "ended" in project.job("work").reason


def test_equal_runs_at_once_do_not_mix(project):
    project.workflows("""
        - {name: work, provider: bash, artifacts: [out],
           commands: ['for i in $(seq 50); do echo $i > out/$i; done; head -c 100000 /dev/zero > out/big']}
        """)
    processes = [project.start("run", "work", "--force") for _ in range(4)]
    for process in processes:
        project.end(process)
    assert len(project.runs()) == 4
    trees = {project.view(run).artifacts("work") for run in project.runs()}
    assert len(trees) == 1
    assert len(list(project.artifact("work", "out").iterdir())) == 51


def test_whoever_watches_is_told_of_an_attempt_that_was_lost(project):
    first = f"test ${{{{ job.attempt }}}} = 2 || {{ echo first; {project.gate('1')}; }}"
    project.workflows(f"- {{name: work, provider: bash, commands: ['{first}', 'echo second']}}")
    watching = project.start("run", "work")
    project.reached("1")
    project.kill(project.runner())
    done = project.end(watching)
    assert done.out.endswith("second\n")
    assert "work: attempt 1 ended: its runner was killed; it is tried again" in done.err
