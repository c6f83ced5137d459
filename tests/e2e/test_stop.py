"""`dstack stop`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dstack_core._ledger import runs

GRACEFUL = """
    - name: work
      provider: bash
      artifacts: [out]
      commands:
        - trap 'echo asked; echo 1 > out/asked; exit 7' TERM
        - echo begun | tee out/begun
        - touch SYNC/work.there
        - until [ -e SYNC/never ]; do sleep 0.02; done
    - {name: next, provider: bash, deps: [work], commands: ['echo never']}
    """


@pytest.fixture
def running(project):
    """A detached run whose job notes that it is asked to end."""
    project.workflows(GRACEFUL.replace("SYNC", str(project.sync)))
    project.dstack("run", "next", "-d")
    project.reached("work")
    return project


def test_stop_is_graceful(running):
    done = running.dstack("stop", "-y", running.run())
    assert "stopped" in done.out
    assert running.statuses() == {"work": "stopped", "next": "stopped"}
    assert [line for line in running.log("work").split() if line != "Terminated"] == ["begun", "asked"]
    assert {path.name for path in running.artifact("work", "out").iterdir()} == {"begun", "asked"}


def test_abort_is_at_once(running):
    running.dstack("stop", "-x", "-y", running.run())
    assert running.statuses() == {"work": "aborted", "next": "aborted"}
    assert "asked" not in running.log("work")
    assert running.view().artifacts("work") == ()


def test_whoever_follows_is_told(running):
    follower = running.start("logs", "-a", running.run())
    running.dstack("stop", "-y", running.run())
    assert "stopped" in running.end(follower, 130).err


def test_stopping_twice_is_no_error(running):
    name = running.run()
    first, second = running.start("stop", "-y", name), running.start("stop", "-y", name)
    running.end(first)
    running.end(second)
    assert "finished already" in running.dstack("stop", "-y", name).out
    assert running.view().run.status == "stopped"


def test_abort_overrules_a_stop_that_takes_long(project):
    project.workflows(f"- {{name: work, provider: bash, commands: [\"trap '' TERM\", '{project.gate('work')}']}}")
    project.dstack("run", "work", "-d")
    project.reached("work")
    name = project.run()
    project.dstack("stop", "-y", "--no-wait", name)
    project.wait_for(lambda: project.statuses()["work"] == "stopping", "the job to be stopping")
    project.dstack("stop", "-x", "-y", name)
    assert project.statuses() == {"work": "aborted"}


def test_stopping_one_leaves_others(running):
    """`x-1` is not `x-10`: names are exact."""
    first = running.run()
    running.workflows(f"- {{name: other, provider: bash, commands: ['{running.gate('other')}']}}")
    running.dstack("run", "other", "-d")
    running.reached("other")
    second = running.run()
    assert first != second
    for name in (first[:-1], first + "0", first[:-2]):
        done = running.dstack("stop", "-y", name, expect=66)
        assert first in done.err  # as a close match
    assert running.view(first).run.desired is None
    running.dstack("stop", "-y", first)
    assert running.statuses(second)["other"] in ("downloading", "running")
    running.open("other")
    assert running.finished(second).run.status == "done"


def test_names_that_begin_alike(project, monkeypatch):
    """FolderStore lists `runs/x-1/` beside `runs/x-10/`; so do buckets."""
    project.workflows("- {name: work, provider: bash, commands: ['GATE']}".replace("GATE", project.gate("work")))
    project.dstack("run", "work", "-d")
    project.reached("work")
    real = project.view().run
    monkeypatch.setattr(runs, "candidates", lambda: iter([f"{real.name}0"]))
    twin = runs.create_run(project.store, replace(real, name="")).value
    assert twin.name == f"{real.name}0"
    project.dstack("stop", "-x", "-y", real.name)
    assert project.view(real.name).run.status == "aborted"
    assert project.view(twin.name).run.desired is None
    project.dstack("stop", "-x", "-y", twin.name)


def test_stop_all(running):
    running.workflows(f"- {{name: other, provider: bash, commands: ['{running.gate('other')}']}}")
    running.dstack("run", "other", "-d")
    running.reached("other")
    running.dstack("stop", "-a", "-x", "-y")
    assert {running.view(name).run.status for name in running.runs()} == {"aborted"}
    assert "No run is active" in running.dstack("stop", "-a", "-y").out


def test_without_a_terminal_it_asks_for_yes(running):
    assert "-y" in running.dstack("stop", running.run(), expect=2).err
    assert running.view().run.desired is None
    running.dstack("stop", "-x", "-y", running.run())


def test_a_stop_before_any_machine_is_there(project, monkeypatch):
    """The run is recorded, its machine is not asked for yet: the command that would ask for it is dead."""
    project.workflows("- {name: work, provider: bash, commands: ['echo never']}")
    project.dstack("run", "work", "-d")
    view = project.finished()
    twin = runs.create_run(
        project.store, replace(view.run, name="", status="submitted", finished=None, exit_code=None)
    ).value
    project.dstack("stop", "-y", twin.name)
    assert project.view(twin.name).run.status == "stopped"
    assert project.machines(twin.name) == []


def test_everything_that_the_job_started_is_ended(project):
    """A daemon: forked twice, in a session of its own, without dstack's environment."""
    project.write(
        "daemon.py",
        """
import os, sys, time
if os.fork(): os.wait(); sys.exit()
os.setsid()
if os.fork(): os._exit(0)
os.execve("/bin/sleep", ["sleep", "98765"], {} if "bare" in sys.argv else dict(os.environ))
""",
    )
    project.workflows(f"""
        - name: work
          provider: bash
          commands: ['python daemon.py', 'python daemon.py bare', 'setsid sleep 98765 &', '{project.gate("work")}']
        """)
    project.dstack("run", "work", "-d")
    project.reached("work")
    # They are found by the folder that they are in, whatever their environment is.
    project.wait_for(lambda: len(project.with_argument("98765")) == 3, "the daemons")
    project.dstack("stop", "-x", "-y", project.run())
    assert project.with_argument("98765") == []


def test_stop_against_finish(project):
    """Whoever comes first: the run has one last status, and the job agrees with it."""
    for number in range(4):
        project.workflows(f"- {{name: work, provider: bash, commands: ['{project.gate(str(number))}']}}")
        project.dstack("run", "work", "-d")
        project.reached(str(number))
        name = project.run()
        stops = [project.start("stop", "-y", name), project.start("stop", "-x", "-y", name)]
        project.open(str(number))
        for process in stops:
            project.end(process)
        status = project.finished(name).run.status
        assert (status, project.statuses(name)["work"]) in {(s, s) for s in ("done", "stopped", "aborted")}


def test_json_of_a_stopped_run(running):
    running.dstack("stop", "-y", running.run())
    shown = json.loads(running.dstack("ps", running.run(), "--json").out)
    assert shown["status"] == "stopped"
    assert [job["status"] for job in shown["jobs"]] == ["stopped", "stopped"]
