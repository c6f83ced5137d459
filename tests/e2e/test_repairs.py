"""What once went wrong when runners died, links led away, and users were quick."""

from __future__ import annotations

import signal

import psutil


def test_a_job_that_sorts_before_what_it_needs_goes_on_after_its_runner_was_killed(project):
    project.workflows(f"""
        - {{name: z-data, provider: bash, artifacts: [out], commands: ['echo 1 > out/x']}}
        - {{name: a-train, provider: bash, deps: [z-data], commands: ['{project.gate("g")}']}}
        """)
    project.dstack("run", "a-train", "-d")
    project.reached("g")
    project.kill(project.runner())
    project.open("g")
    project.finished()
    assert project.statuses() == {"z-data": "done", "a-train": "done"}


def test_a_link_of_the_repository_is_not_written_through(project):
    outside = project.folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    (project.root / "data").symlink_to(outside)
    project.workflows("""
        - {name: make, provider: bash, artifacts: [data], commands: ['echo other > data/precious']}
        - {name: use, provider: bash, deps: [make], commands: ['cat data/precious']}
        """)
    assert project.dstack("run", "use").out.endswith("other\n")
    assert (outside / "precious").read_text() == "mine"


def test_an_artifact_behind_a_link_that_leads_away_is_refused(project):
    outside = project.folder / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "precious").write_text("mine")
    (project.root / "data").symlink_to(outside)
    project.workflows("- {name: make, provider: bash, artifacts: [data/sub], commands: ['true']}")
    assert "behind a link" in project.dstack("run", "make", expect=1).said
    assert (outside / "sub" / "precious").read_text() == "mine"


def test_the_whole_working_folder_can_be_an_artifact(project):
    project.workflows("- {name: make, provider: bash, artifacts: ['.'], commands: ['echo 1 > new']}")
    project.dstack("run", "make")
    assert (project.artifact("make", ".") / "new").read_text() == "1\n"


def test_commands_do_not_start_when_the_end_was_asked_for_before(project):
    mark = project.folder / "side-effect"
    project.workflows(f"- {{name: work, provider: bash, commands: ['touch {mark}']}}")
    # Held right after its second change to the store: it has registered, and claimed the job.
    held = project.faults("runner", at=2, file=project.folder / "changes", signal=int(signal.SIGSTOP))
    project.end(project.start("run", "work", "-d", env=held))
    project.wait_for(lambda: project.statuses()["work"] == "downloading", "the claim")
    project.wait_for(lambda: project.runner().status() == psutil.STATUS_STOPPED, "the runner to be held")
    project.dstack("stop", "-x", "-y", "--no-wait", project.run())
    project.runner().send_signal(signal.SIGCONT)
    view = project.finished()
    assert (view.run.status, view.run.desired) == ("aborted", "abort"), project.job("work")
    assert project.statuses() == {"work": "aborted"}
    assert not mark.exists()


def test_a_checkpoint_survives_an_attempt_that_saved_nothing(project):
    project.workflows(f"""
        - name: work
          provider: bash
          artifacts: [{{path: ck, mount: true}}]
          commands: ['test -e ck/epoch1 || echo 1 > ck/epoch1', '{project.gate("g")}', 'sleep 60']
        """)
    project.dstack("run", "work", "-d")
    project.reached("g")
    project.wait_for(lambda: project.job("work").artifacts, "a checkpoint")
    project.kill(project.runner())
    project.wait_for(lambda: len(project.job("work").attempts) == 2, "the second attempt")
    project.dstack("stop", "-x", "-y", project.run())
    assert [artifact.path for artifact in project.job("work").artifacts] == ["ck"]


def test_a_record_that_is_damaged_while_its_job_runs_is_written_anew(project):
    project.workflows(f"""
        - {{name: work, provider: bash, commands: ['{project.gate("g")}']}}
        - {{name: next, provider: bash, deps: [work], commands: ['true']}}
        """)
    project.dstack("run", "next", "-d")
    project.reached("g")
    project.wait_for(lambda: project.statuses()["work"] == "running", "the job to be shown as running")
    record = project.home / "store" / "objects" / "runs" / project.run() / "jobs" / "work.json"
    record.write_bytes(b"{")
    project.open("g")
    project.finished()
    assert project.statuses() == {"work": "done", "next": "done"}


def test_what_a_failed_job_made_and_could_not_be_saved_is_said(project):
    project.workflows("""
        - name: away
          provider: bash
          artifacts: [a/out, kept]
          commands: ['echo 1 > kept/x', 'rm -r a', 'ln -s / a', 'exit 3']
        """)
    project.dstack("run", "away", expect=3)
    assert (project.artifact("away", "kept") / "x").read_text() == "1\n"
    assert "a/out is behind a link" in "".join(project.job("away").warnings)


def test_links_in_a_circle_do_not_hide_the_jobs_own_exit_code(project):
    project.workflows("""
        - name: loop
          provider: bash
          artifacts: [a/out, kept]
          commands: ['echo 1 > kept/x', 'rm -r a', 'ln -s a a', 'exit 4']
        """)
    project.dstack("run", "loop", expect=4)
    assert (project.artifact("loop", "kept") / "x").read_text() == "1\n"
