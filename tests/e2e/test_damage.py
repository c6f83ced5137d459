"""Records that are damaged while a run goes on."""

from __future__ import annotations

import pexpect


def test_a_run_with_a_damaged_job_is_stopped_with_all_its_processes(project):
    project.workflows(f"""
        - {{name: data, provider: bash, commands: ['true']}}
        - {{name: work, provider: bash, deps: [data], commands: ['{project.gate("work")}']}}
        """)
    project.dstack("run", "work", "-d")
    project.reached("work")
    run = project.run()
    record = project.home / f"store/objects/runs/{run}/jobs/data.json"
    project.kill(project.keeper(), project.runner())
    record.write_bytes(b"{")  # a runner that lives would put it back
    assert "damaged" in project.dstack("ps", run).said
    done = project.dstack("stop", "-x", "-y", run)
    assert f"{run}: failed" in done.out
    assert project.processes() == []
    assert project.statuses(run) == {"data": "failed", "work": "aborted"}
    assert "its record was damaged" in project.dstack("ps", run).out
    assert project.dstack("rm", "-y", run).out == f"{run}: removed\n"


def test_a_runner_ends_a_run_whose_finished_job_was_damaged_behind_its_back(project):
    """It knows what the job came to, and puts the record back."""
    project.workflows(f"""
        - {{name: data, provider: bash, commands: ['true']}}
        - {{name: work, provider: bash, deps: [data], commands: ['{project.gate("work")}']}}
        """)
    project.dstack("run", "work", "-d")
    project.reached("work")
    run = project.run()
    (project.home / f"store/objects/runs/{run}/jobs/data.json").write_bytes(b"{")
    project.open("work")
    assert project.finished(run).run.status == "done"
    # The last look puts it back, and comes after the run's end.
    project.wait_for(lambda: project.statuses(run) == {"data": "done", "work": "done"}, "the record to be put back")


def test_a_run_whose_machine_record_is_damaged_is_stopped(project):
    project.workflows(f"- {{name: work, provider: bash, commands: ['{project.gate('work')}']}}")
    project.dstack("run", "work", "-d")
    project.reached("work")
    run = project.run()
    project.wait_for(lambda: project.statuses(run)["work"] == "running", "the job to run")
    (record,) = (project.home / f"store/objects/machines/{run}").iterdir()
    keeper, runner = project.keeper(), project.runner()
    record.write_bytes(b"{")
    project.kill(keeper, runner)
    assert "damaged" in project.dstack("stop", "-x", "-y", run).err
    assert project.view(run).run.status == "aborted"
    assert project.processes() == []


def test_an_error_while_following_gives_the_terminal_back(project):
    project.workflows(f"- {{name: work, provider: bash, commands: ['{project.gate('work')}']}}")
    terminal = project.terminal("run", "work")
    project.reached("work")
    terminal.expect("running")
    record = project.home / f"store/objects/runs/{project.run()}/run.json"
    good = record.read_bytes()
    record.write_bytes(b"{")
    terminal.expect("trying again")
    terminal.expect(pexpect.EOF)
    terminal.wait()  # it may not have ended yet, and `close` would kill it
    terminal.close()
    assert terminal.exitstatus == 74
    assert "\x1b[?25h" in terminal.before
    record.write_bytes(good)
    project.open("work")
    assert project.finished().run.status == "done"


def test_a_run_goes_on_without_a_job_whose_record_was_damaged_when_its_runner_died(project):
    project.workflows(f"""
        - {{name: data, provider: bash, commands: ['{project.gate("data")}']}}
        - {{name: work, provider: bash, deps: [data], commands: ['true']}}
        """)
    project.dstack("run", "work", "-d")
    project.reached("data")
    project.wait_for(lambda: project.statuses()["data"] == "running", "the job to run")
    (project.home / f"store/objects/runs/{project.run()}/jobs/data.json").write_bytes(b"{")
    project.kill(project.runner())  # its keeper starts another one
    assert project.finished().run.status == "failed"
    assert project.statuses() == {"data": "failed", "work": "skipped"}
    project.wait_for(lambda: project.processes() == [], "everything to end")


def test_a_damaged_artifact_is_made_again_by_the_next_run(project):
    project.workflows("""
        - {name: data, provider: bash, artifacts: [out], commands: ["python -c 'print(str(7) * 2_000_000)' > out/x"]}
        - {name: work, provider: bash, deps: [data], commands: ['wc -c < out/x']}
        """)
    project.dstack("run", "work")
    for blob in (project.home / "store/objects/blobs").rglob("*"):
        if blob.is_file() and blob.stat().st_size > 300_000:
            blob.write_bytes(b"8" + blob.read_bytes()[1:])
    failed = project.dstack("run", "work", expect=1)
    assert "damaged" in failed.said
    assert "run the job that made" in failed.said
    assert "its artifacts are no longer stored, or damaged" in project.dstack("plan", "work").out
    project.dstack("run", "work")
    assert project.statuses() == {"data": "done", "work": "done"}
