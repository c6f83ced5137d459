"""`dstack gc` beside runs that save and reuse, and killed or stopped at any moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest

from dstack_core._content.tree import check_tree
from dstack_core._ledger import lease
from dstack_core._ledger.marks import saving

from .conftest import DSTACK

PIPELINE = """
- name: data
  provider: bash
  commands: ["mkdir -p data; for i in 1 2 3 4 5 6; do head -c 5000 /dev/zero | tr '\\\\0' $i > data/$i; done"]
  artifacts: [./data]
- name: train
  provider: bash
  deps: [data]
  commands: ["mkdir -p model; cat data/* > model/all; echo $LR >> model/all; seq 100000 > model/same"]
  env: {LR: "0"}
  artifacts: [./model]
"""


def whole(project) -> None:
    """Whatever a run that is kept refers to is there."""
    for path in (project.home / "store" / "objects" / "runs").glob("*/run.json"):
        run = path.parent.name
        if json.loads(path.read_text()).get("deleted"):
            continue
        view = project.view(run)
        assert check_tree(project.store, view.plan.snapshot) == []
        for job in view.progress.status:
            for artifact in view.artifacts(job):
                assert check_tree(project.store, artifact.tree) == [], f"{artifact.path} of {job} of {run}"


def kept_runs(project) -> list[str]:
    return [row["run"] for row in json.loads(project.dstack("ps", "-a", "--json").out)]


def test_in_a_loop_beside_runs_that_save_and_reuse(project):
    project.workflows(PIPELINE)
    project.dstack("run", "train")
    over = threading.Event()
    freed = []

    def collect() -> None:
        while not over.is_set():
            done = subprocess.run([DSTACK, "gc", "-y", "--json"], cwd=project.root, env=project.env,
                                  capture_output=True, text=True, timeout=120)  # fmt: skip
            assert done.returncode in (0, 73), done.stderr
            if done.returncode == 0:
                freed.append(json.loads(done.stdout)["size"])

    loops = [threading.Thread(target=collect) for _ in range(2)]
    for loop in loops:
        loop.start()
    try:
        for n in range(6):
            # Every other one makes what an earlier one made: gone by then, just going, or reused.
            project.dstack("run", "train", "--env", f"LR={n % 3}")
            whole(project)
            project.dstack("rm", kept_runs(project)[-1], "-y")
    finally:
        over.set()
        for loop in loops:
            loop.join()
    assert any(freed)
    whole(project)
    assert not list(project.store.list("saving/"))
    assert not list(project.store.list("gc/"))


def test_killed_at_each_write_and_deletion(project):
    """SIGKILL; the next one goes on."""
    project.workflows(PIPELINE)
    project.dstack("run", "train")
    for moment in range(1, 60, 4):
        project.dstack("run", "train", "--env", f"LR={moment}")
        project.dstack("rm", kept_runs(project)[0], "-y")
        code = (
            "import os, signal, sys\nfrom dstack_local.store import FolderStore\n"
            f"left = {moment}\n"
            "def counting(call):\n"
            "    def counted(*a, **k):\n"
            "        global left\n"
            "        left -= 1\n"
            "        if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
            "        return call(*a, **k)\n"
            "    return counted\n"
            "for name in ('write', 'delete'): setattr(FolderStore, name, counting(getattr(FolderStore, name)))\n"
            "from dstack_core._cli.main import main\nmain(['gc', '-y'])\n"
        )
        killed = subprocess.run([sys.executable, "-c", code], cwd=project.root, env=project.env,
                                capture_output=True, text=True, timeout=120)  # fmt: skip
        assert killed.returncode in (0, -signal.SIGKILL), killed.stderr
        whole(project)
        if killed.returncode == 0:
            break
    assert moment > 8
    project.dstack("gc", "-y")
    assert project.dstack("gc", "-n").out == "There is nothing to free.\n"


def test_a_stopped_gc_does_not_hold_up_a_run_for_ever(project, monkeypatch):
    """It is killed by whoever it holds up: this one, which is impatient."""
    project.workflows(PIPELINE)
    project.dstack("run", "train")
    holder = subprocess.Popen(
        [sys.executable, "-c",
         ("import time; from dstack_local.store import FolderStore; from dstack_core._ledger.lease import HeldLease; "
          "held = HeldLease(FolderStore({})); held.close(); print('closed', flush=True); time.sleep(1000)")],
        env=project.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "closed\n"
        holder.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(lease, "STALLED", 0.2)
        threading.Thread(target=holder.wait, daemon=True).start()  # a zombie would be there still
        with saving(project.store, "a test"):
            assert not list(project.store.list("gc/"))
        project.wait_for(lambda: holder.returncode == -signal.SIGKILL, "the stopped one to be dead")
    finally:
        holder.kill()
        holder.stdout.close()
    project.dstack("run", "train", "--env", "LR=1")


def test_whoever_saves_waits_for_gc_and_gc_for_whoever_saves(project):
    project.workflows(PIPELINE)
    held = lease.HeldLease(project.store)
    held.close()
    running = project.start("run", "train")
    project.wait_for(lambda: project.with_argument("train"), "the run to have begun")
    assert project.runs() == []
    held.release()
    project.end(running)
    with saving(project.store, "somebody"):
        collecting = project.start("gc", "-y", "--json")
        # It has nothing to free unless something is removed.
        project.end(collecting)
        project.dstack("rm", project.run(), "-y")
        collecting = project.start("gc", "-y", "--json")
        project.wait_for(lambda: list(project.store.list("gc/")), "gc to wait")
    assert json.loads(project.end(collecting).out)["size"] > 0


@pytest.mark.parametrize("again", ["same", "other"])
def test_after_gc_a_plan_says_what_became_of_results(project, again):
    project.workflows(PIPELINE)
    project.dstack("run", "train")
    project.dstack("tags", "add", "kept", project.run())
    project.dstack("rm", project.run(), "-y")
    project.dstack("gc", "-y")
    plan = {job["job"]: job for job in json.loads(project.dstack("plan", "train", "--json").out)["jobs"]}
    assert plan["data"]["decision"] == "run"
    project.dstack("cp", ":kept", "model", "copy")
    assert (project.root / "copy" / "same").stat().st_size > 500_000
