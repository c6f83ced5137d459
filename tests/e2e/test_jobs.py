"""One job: its commands, environment, artifacts, ports, endings."""

from __future__ import annotations

import os

import pytest

LIST_AND_TEXT = {
    "list": """
        commands:
          - echo one
          - echo two
        """,
    "text": """
        commands: |
          echo one
          echo two
        """,
}


@pytest.mark.parametrize("commands", LIST_AND_TEXT.values(), ids=LIST_AND_TEXT)
def test_commands_run_in_order_by_bash(project, commands):
    setup = "['echo \"${BASH_VERSION:+bash}\"']"
    project.workflows(f"- name: work\n  provider: bash\n  setup: {setup}\n{_indented(commands)}")
    done = project.dstack("run", "work")
    assert done.out == "bash\none\ntwo\n"


@pytest.mark.parametrize("kind", ["list", "text"])
def test_the_first_failure_ends_the_job_with_its_code(project, kind):
    lines = ["echo before", "(exit 37)", "echo after"]
    text = "[" + ", ".join(f"'{line}'" for line in lines) + "]" if kind == "list" else "|\n    " + "\n    ".join(lines)
    project.workflows(f"- name: work\n  provider: bash\n  commands: {text}")
    done = project.dstack("run", "work", expect=37)
    assert done.out == "before\n"
    assert "exit code 37" in done.err
    assert project.job("work").attempts[0].exit_code == 37


def test_setup_that_fails_ends_the_job_before_its_commands(project):
    project.workflows("- {name: work, provider: bash, setup: ['exit 9'], commands: ['echo never']}")
    assert project.dstack("run", "work", expect=9).out == ""


def test_a_pipe_fails_only_by_its_last_command(project):
    # As in 2023: `set -e` without `pipefail`.
    project.workflows("- {name: work, provider: bash, commands: ['false | true', 'echo on']}")
    assert project.dstack("run", "work").out == "on\n"


def test_a_command_in_the_background_ends_with_the_job(project):
    pid = project.sync / "pid"
    project.workflows(f"""
        - name: work
          provider: bash
          commands:
            - sleep 1000 &
            - echo $! > {pid}
        """)
    project.dstack("run", "work")
    assert not os.path.exists(f"/proc/{int(pid.read_text())}")


def test_a_signal_is_128_and_more(project):
    project.workflows("- {name: work, provider: bash, commands: ['kill -9 $$']}")
    done = project.dstack("run", "work", expect=137)
    assert "signal 9" in done.err


@pytest.mark.parametrize(
    "env",
    ["env: ['GIVEN=a b', TAKEN]", "environment: ['GIVEN=a b', TAKEN]"],
    ids=["env", "environment"],
)
def test_env_is_given_or_taken_from_the_caller(project, env):
    project.workflows(f"- {{name: work, provider: bash, {env}, commands: ['echo \"$GIVEN/$TAKEN/$OTHER/\"']}}")
    hostile = 'x"$(touch canary)'
    done = project.dstack("run", "work", env={"TAKEN": hostile, "OTHER": "secret", "GIVEN": "not this"})
    assert done.out == f"a b/{hostile}//\n"


def test_env_may_be_a_mapping(project):
    project.workflows("- {name: work, provider: bash, env: {A: a b, N: 0.10}, commands: ['echo \"$A/$N\"']}")
    assert project.dstack("run", "work").out == "a b/0.10\n"


def test_a_variable_that_the_caller_has_not_got_is_told_before_anything_runs(project):
    project.workflows("- {name: work, provider: bash, env: [NOT_THERE], commands: ['true']}")
    done = project.dstack("run", "work", expect=65)
    assert "NOT_THERE" in done.err
    assert "workflows.yaml:2" in done.err
    assert project.runs() == []


@pytest.mark.parametrize("folder", [None, "deep/er"])
def test_artifacts_of_deps_are_at_the_same_paths(project, folder):
    place = f"working_dir: {folder}, " if folder else ""
    project.write(f"{folder or '.'}/code.txt", "code")
    project.workflows(f"""
        - {{name: make, provider: bash, {place}artifacts: [{{path: ./data}}, model.bin],
           commands: ['echo 1 > data/one', 'ln -s one data/link', 'mkdir data/empty', 'echo m > model.bin']}}
        - {{name: use, provider: bash, {place}deps: [{{workflow: make}}],
           commands: ['cat code.txt data/link model.bin', 'test -d data/empty', 'pwd']}}
        """)
    done = project.dstack("run", "use")
    lines = [line.removeprefix("use  | ") for line in done.out.splitlines()]
    assert lines[:2] == ["code1", "m"]
    assert lines[2].endswith(f"/code/{folder}" if folder else "/code")


def test_an_artifact_folder_is_empty_at_the_start_whatever_the_checkout_has(project):
    project.write("out/stale", "from the working tree")
    project.workflows("- {name: work, provider: bash, artifacts: [./out], commands: ['ls -A out', 'echo 1 > out/new']}")
    assert project.dstack("run", "work").out == ""
    assert [path.name for path in project.artifact("work", "out").iterdir()] == ["new"]
    assert (project.root / "out" / "stale").read_text() == "from the working tree"


def test_a_stale_file_in_the_place_of_an_artifact_folder(project):
    project.write("out", "a file of the working tree")
    project.workflows("- {name: work, provider: bash, artifacts: [out/], commands: ['test -d out', 'touch out/x']}")
    project.dstack("run", "work")


def test_an_artifact_may_be_a_file(project):
    project.write("metrics.json", "stale")
    commands = "test ! -e metrics.json; echo {} > metrics.json"
    project.workflows(f"- {{name: work, provider: bash, artifacts: [metrics.json], commands: ['{commands}']}}")
    project.dstack("run", "work")
    assert project.artifact("work", "metrics.json").read_text() == "{}\n"


def test_an_artifact_that_the_job_did_not_make_fails_it(project):
    project.workflows("- {name: work, provider: bash, artifacts: [model.bin], commands: ['true']}")
    done = project.dstack("run", "work", expect=None)
    assert done.code != 0
    assert "did not make its artifact model.bin" in done.err
    assert project.statuses() == {"work": "failed"}


def test_a_failed_job_leaves_its_artifacts_and_log(project):
    project.workflows(
        "- {name: work, provider: bash, artifacts: [out, never.bin], commands: ['echo 1 > out/x; echo said', 'exit 4']}"
    )
    project.dstack("run", "work", expect=4)
    assert (project.artifact("work", "out") / "x").read_text() == "1\n"
    assert project.log("work") == "said\n"


def test_what_a_job_does_to_its_inputs_reaches_nobody_else(project):
    project.workflows("""
        - {name: make, provider: bash, artifacts: [data], commands: ['echo whole > data/x; chmod 444 data/x']}
        - {name: spoil, provider: bash, deps: [make], artifacts: [done],
           commands: ['chmod u+w data/x; echo broken > data/x']}
        - {name: use, provider: bash, deps: [make, spoil], commands: ['cat data/x']}
        """)
    assert "use   | whole" in project.dstack("run", "use").out


def test_ports_are_free_and_usable(project):
    serve = (
        "import os, socket, urllib.request; ports = [int(os.environ[f'PORT_{i}']) for i in (0, 1)];"
        " [socket.create_server(('127.0.0.1', port)).close() for port in ports]; print(len(set(ports)))"
    )
    project.write("serve.py", serve)
    project.workflows("- {name: work, provider: bash, ports: 2, commands: ['python serve.py', 'echo \"[$PORT_2]\"']}")
    assert project.dstack("run", "work").out == "2\n[]\n"


def test_templates_are_filled_in(project):
    project.workflows("""
        - name: work
          provider: bash
          env: {NAME: 'run ${{ run.name }}'}
          commands: ['echo ${{ run.name }} "$NAME" ${{ run.args }} $DSTACK_RUN $DSTACK_JOB']
        """)
    done = project.dstack("run", "work", "--", "-x", "two words")
    run = project.run()
    assert done.out == f"{run} run {run} -x two words {run} work\n"


def test_a_failed_attempt_is_tried_again_as_often_as_asked(project):
    project.workflows("""
        - name: work
          provider: bash
          retry: {attempts: 3, on: [failure]}
          commands: ['echo try ${{ job.attempt }}', 'test ${{ job.attempt }} = 2']
        """)
    done = project.dstack("run", "work")
    assert done.out == "try 1\ntry 2\n"
    assert [attempt.status for attempt in project.job("work").attempts] == ["failed", "done"]


def test_after_the_last_attempt_the_job_has_failed(project):
    project.workflows(
        "- {name: work, provider: bash, retry: {attempts: 2, on: [failure]}, commands: ['exit 1${{ job.attempt }}']}"
    )
    project.dstack("run", "work", expect=12)
    assert [attempt.exit_code for attempt in project.job("work").attempts] == [11, 12]


def test_a_job_that_runs_too_long_is_ended_and_has_failed(project):
    project.workflows(
        "- {name: work, provider: bash, max_duration: 1s, artifacts: [out], commands: ['echo 1 > out/x', 'sleep 1000']}"
    )
    done = project.dstack("run", "work", expect=1)
    assert "max_duration" in done.err
    assert (project.artifact("work", "out") / "x").exists()


def test_nothing_of_a_finished_run_stays_in_the_work_folder(project):
    lock = "mkdir -p out/a; touch out/a/b; chmod 500 out/a; mkdir x; touch x/y; chmod 0 x"
    project.workflows(f"- {{name: work, provider: bash, artifacts: [out], commands: ['{lock}']}}")
    project.dstack("run", "work")
    work = project.home / "work"
    project.wait_for(lambda: not [p for p in work.rglob("*") if p.is_file()], "the runner to leave nothing")


def test_outside_of_git_it_runs_as_well(cold_project):
    folder = cold_project.folder / "plain"
    folder.mkdir()
    (folder / "data.txt").write_text("plain\n")
    assert cold_project.dstack("run", "bash", "-c", "cat data.txt", cwd=folder).out == "plain\n"


def _indented(text: str) -> str:
    lines = text.strip("\n").splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(f"  {line[margin:]}" for line in lines)


@pytest.mark.parametrize("path", ["link/out", "link"])
def test_an_artifact_behind_a_link_out_of_the_repository_harms_nothing(project, path):
    outside = project.folder / "precious"
    (outside / "out").mkdir(parents=True)
    (outside / "out" / "x").write_text("kept")
    (project.root / "link").symlink_to(outside)
    project.workflows(f"- {{name: work, provider: bash, artifacts: [{path}], commands: ['echo 1 > {path}/x']}}")
    done = project.dstack("run", "work", expect=None)
    assert (outside / "out" / "x").read_text() == "kept"
    assert (done.code == 0) == (path == "link")  # a link in the very place of the artifact gives way to it
    assert (project.root / "link").is_symlink()


def test_folders_may_have_any_name(cold_project):
    folder = cold_project.folder / 'it\'s $(touch canary); a "project" ü'
    folder.mkdir()
    (folder / "file").write_text("read\n")
    env = {"DSTACK_HOME": str(folder / "home of 'dstack'")}
    done = cold_project.dstack("run", "bash", "-c", "cat file; pip --version", cwd=folder, env=env)
    assert done.out.startswith("read\npip ")
    assert not list(cold_project.folder.rglob("canary"))


def test_from_a_folder_inside_the_project_it_is_the_same(project):
    project.write("deep/er/file", "x")
    project.workflows("- {name: work, provider: bash, commands: ['cat deep/er/file']}")
    assert project.dstack("run", "work", cwd=project.root / "deep" / "er").out == "x"


def test_a_job_reads_nothing_from_the_terminal(project):
    assert project.dstack("run", "bash", "-c", "cat; echo end").out == "end\n"


def test_a_job_that_closes_its_output_still_has_an_end(project):
    done = project.dstack("run", "bash", "-c", "exec >&- 2>&-; sleep 0.3; exit 4", expect=4)
    assert done.out == ""


def test_a_job_has_the_users_umask_and_what_is_dstacks_is_private(project):
    before = os.umask(0o027)
    try:
        done = project.dstack("run", "bash", "-c", "umask; mkdir made; stat -c %a made ..")
        assert done.out.split() == ["0027", "750", "700"]
    finally:
        os.umask(before)
    kept = [path for path in (project.home / "store").rglob("*") if path.stat().st_mode & 0o077]
    assert kept == []
