"""Secrets reach the job that uses them, and nobody and nothing else. A canary is looked for everywhere."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import urllib.parse

import psutil
import pytest

from .conftest import DSTACK

CANARY = 'c4n4ry/"v4lu3"&é'
KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA1\nx\nq0m7yZ3\n-----END KEY-----\n"
SHOWS = "import base64, json, os, urllib.parse as u"


def forms(value: str) -> list[bytes]:
    """How a value may look in what is left of a run."""
    raw = value.encode()
    encoded = [base64.b64encode(b"x" * n + raw)[4 if n else 0 : -4] for n in range(3)]
    return [raw, *encoded, urllib.parse.quote(value).encode(), json.dumps(value)[1:-1].encode()]


def add(project, name: str, value: str, command: str = "add") -> None:
    done = subprocess.run(
        [DSTACK, "secrets", command, name],
        input=value.encode(), cwd=project.root, env=project.env, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert value.encode() not in done.stdout + done.stderr


def left(project, value: str) -> list[str]:
    """Files that have the value in any form; but for the store of secrets."""
    found = []
    for top in (project.home, project.root):
        for path in top.rglob("*"):
            if path.is_file() and path.name != "secrets.json":
                data = path.read_bytes()
                found += [f"{path}: {form!r}" for form in forms(value) if form in data]
    return found


@pytest.fixture
def secrets(project):
    add(project, "CANARY", CANARY)
    add(project, "KEY", KEY + "\n")  # one line break is the shell's
    return project


def test_a_job_has_its_secrets_and_its_log_has_not(secrets):
    project = secrets
    project.write(
        "show.py",
        f"""{SHOWS}
raw = os.environ["TOKEN"]
print("raw", raw)
print("json", json.dumps({{"token": raw}}))
print("url", u.quote(raw), u.quote_plus(raw), u.quote(raw, safe=""))
for n in range(3):
    print("base64", base64.b64encode(b"x" * n + raw.encode() + b"yy").decode())
print(os.environ["KEY"])
for line in os.environ["KEY"].splitlines():
    print(">", line)
print("split ", end="", flush=True)
for c in raw:
    os.write(1, c.encode())
""",
    )
    project.workflows("""
    - name: show
      provider: bash
      env:
        TOKEN: ${{ secrets.CANARY }}
        KEY: ${{ secrets.KEY }}
      commands:
        - python show.py; echo
        - echo "in the script ${{ secrets.CANARY }}" '${{ secrets.CANARY }}' ${{ secrets.CANARY }} >&2
        - printf '%s' "$TOKEN" | sha256sum > out/token; printf '%s' "$KEY" | sha256sum > out/key
        - printf '%s' ${{ secrets.CANARY }} | sha256sum > out/script
      artifacts: [./out]
    """)  # fmt: skip
    project.dstack("run", "show")
    log = project.log("show")
    lines = dict(line.split(" ", 1) for line in log.splitlines() if " " in line)
    assert lines["raw"] == "***"
    assert lines["json"] == '{"token": "***"}'
    assert lines["url"] == "*** *** ***"
    assert lines["split"] == "***"
    assert lines["in"] == "the script *** *** ***"
    assert "\n> ***\n> ***\n> x\n> ***\n> ***\n" in log, "lines of less than four characters are no secret"
    assert [form for value in (CANARY, "MIIEpAIBAAKCAQEA1", "q0m7yZ3") for form in forms(value)
            if form in log.encode()] == []  # fmt: skip
    out = project.artifact("show", "out")
    digest = subprocess.run(["sha256sum"], input=CANARY.encode(), capture_output=True, check=True).stdout
    assert [(out / name).read_bytes() for name in ("token", "script")] == [digest, digest]
    digest = subprocess.run(["sha256sum"], input=KEY.encode(), capture_output=True, check=True).stdout
    assert (out / "key").read_bytes() == digest
    assert left(project, CANARY) == []
    assert left(project, "MIIEpAIBAAKCAQEA1") == []


def test_while_it_runs_nobody_else_has_it(secrets):
    project = secrets
    project.workflows(f"""
    - name: wait
      provider: bash
      env:
        TOKEN: ${{{{ secrets.CANARY }}}}
      commands:
        - echo "${{{{ secrets.CANARY }}}}"
        - sleep 300 & export MINE=1; {project.gate("here")}; kill %1
    """)
    running = project.start("run", "wait")
    project.reached("here")
    with_it, outside, arguments = [], [], []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            environ = process.environ()
            if any(CANARY in value for value in environ.values()):
                (with_it if environ.get("DSTACK_ATTEMPT") else outside).append(process)
            arguments += [a for a in process.cmdline() if CANARY in a and "pytest" not in a]
    assert len(with_it) >= 2, "the job and what it started"
    assert outside == []
    assert arguments == []
    scripts = [p for p in (project.home / "work").rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in scripts)
    project.open("here")
    project.end(running)
    assert left(project, CANARY) == []


def test_a_runner_that_is_killed_leaves_nothing_in_the_end(secrets):
    project = secrets
    project.workflows(f"""
    - name: wait
      provider: bash
      commands:
        - echo "${{{{ secrets.CANARY }}}}"; {project.gate("here")}
    """)
    project.dstack("run", "wait", "-d")
    project.reached("here")
    project.kill_all()
    project.dstack("ps")  # sees that the machine is lost, and starts another
    project.open("here")
    project.finished()
    project.wait_for(lambda: not project.processes(), "the runner to end")
    assert left(project, CANARY) == []


def test_a_secret_that_is_missing_is_told_before_anything_runs(secrets):
    project = secrets
    project.workflows("""
    - name: use
      provider: bash
      env:
        TOKEN: ${{ secrets.CANRY }}
      commands: [touch ran]
    """)
    for command in ("plan", "run"):
        done = project.dstack(command, "use", expect=66)
        assert "`use` uses a secret that is not there: CANRY" in done.err
        assert "did you mean CANARY?" in done.err
        assert "workflows.yaml:2" in done.err
    assert project.runs() == []


def test_a_secret_that_goes_after_the_plan_fails_the_job_before_its_commands(secrets):
    project = secrets
    project.workflows(f"""
    - name: first
      provider: bash
      commands: ['{project.gate("here")}']
    - name: second
      provider: bash
      deps: [first]
      env:
        TOKEN: ${{{{ secrets.CANARY }}}}
      commands: [touch {project.sync}/ran]
    """)
    running = project.start("run", "second")
    project.reached("here")
    project.dstack("secrets", "delete", "CANARY", "-y")
    project.open("here")
    project.end(running, expect=1)
    assert project.job("second").status == "failed"
    assert "there is no secret CANARY" in project.job("second").reason
    assert not (project.sync / "ran").exists()


def test_a_changed_secret_does_not_run_a_job_again(secrets):
    project = secrets
    project.workflows("""
    - name: use
      provider: bash
      env:
        TOKEN: ${{ secrets.CANARY }}
      commands: [mkdir -p out]
      artifacts: [./out]
    """)
    project.dstack("run", "use")
    add(project, "CANARY", "another value", "update")
    assert "reuse" in project.dstack("plan", "use").out


def test_a_file_that_others_can_read_is_not_used(secrets):
    project = secrets
    (project.home / "secrets.json").chmod(0o644)
    project.workflows("""
    - name: use
      provider: bash
      env:
        TOKEN: ${{ secrets.CANARY }}
      commands: ['true']
    """)
    done = project.dstack("run", "use", expect=65)
    assert "others may read or write it" in done.err
    assert "chmod 600" in done.err


def test_a_hidden_prompt(project):
    child = project.terminal("secrets", "add", "TYPED")
    child.expect("Value of TYPED \\(hidden\\):")
    child.sendline("typed-v4lu3")
    child.expect("TYPED: added")
    child.expect("$")
    assert "typed-v4lu3" not in (child.before or "") + (child.after if isinstance(child.after, str) else "")
    assert project.dstack("secrets", "--json").out.count("TYPED") == 1
    assert json.loads((project.home / "secrets.json").read_text())["repos"].popitem()[1] == {"TYPED": "typed-v4lu3"}


def test_eight_processes_add_at_once(project):
    adding = [
        subprocess.Popen([DSTACK, "secrets", "add", f"S{n}"], cwd=project.root, env=project.env,
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for n in range(8)
    ]  # fmt: skip
    for n, process in enumerate(adding):
        process.communicate(b"value %d" % n, timeout=120)
    assert [process.returncode for process in adding] == [0] * 8
    assert [s["name"] for s in json.loads(project.dstack("secrets", "--json").out)] == [f"S{n}" for n in range(8)]
