"""The process executor beyond the contract: the job's environment, Python, pip, GPUs, and what tries to get away."""

from __future__ import annotations

import ensurepip
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dstack_local import children as tidying
from dstack_local import interpreter, processes, python_env
from dstack_local.interpreter import Interpreter
from dstack_local.process import ProcessExecutor

from dstack_core.errors import JobError
from dstack_core.testing.executor import BEAT, Jobs
from dstack_core.testing.waiting import until

SHOW = 'python -c "import json, os; print(json.dumps(dict(os.environ)))"'
SHELL_S_OWN = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    jobs = Jobs(ProcessExecutor({}), tmp_path / "a b'c")
    yield jobs
    jobs.close()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "dstacktiny-1.0-py3-none-any.whl"
    info = "dstacktiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("dstacktiny.py", "def main(): print('tiny')\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: dstacktiny\nVersion: 1.0\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\ndstacktiny = dstacktiny:main\n")
        file.writestr(f"{info}/RECORD", f"dstacktiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def test_the_environment_exactly(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    kept = {
        "HOME": "/home/of me", "USER": "me", "LOGNAME": "me", "SHELL": "/bin/zsh", "LANG": "de_DE.UTF-8", "TZ": "UTC",
        "LC_ALL": "C", "https_proxy": "http://p:1", "NO_PROXY": "x", "SSL_CERT_FILE": "/c", "SSL_CERT_DIR": "/d",
        "REQUESTS_CA_BUNDLE": "/e", "CURL_CA_BUNDLE": "/f", "NODE_EXTRA_CA_CERTS": "/g", "PIP_INDEX_URL": "http://i",
        "UV_INDEX_URL": "http://u", "CUDA_HOME": "/cuda", "NVIDIA_X": "1", "XDG_CACHE_HOME": "/cache",
        "LD_LIBRARY_PATH": "/lib64", "DSTACK_MACHINE": "m-1",
    }  # fmt: skip
    dropped = {
        "PIP_TARGET": "/t", "PIP_USER": "1", "PIP_PREFIX": "/p", "PIP_REQUIRE_VIRTUALENV": "1", "PYTHONPATH": "/x",
        "PYTHONHOME": "/y", "AWS_SECRET_ACCESS_KEY": "s", "SSH_AUTH_SOCK": "/s", "PYTHONSTARTUP": "/z", "DISPLAY": ":0",
        "VIRTUAL_ENV": "/v", "TMPDIR": "/tmp", "TERM": "xterm", "LD_PRELOAD": "", "UV_SYSTEM_PYTHON": "1",
        "DSTACK_RUNNER": "m-1",
    }  # fmt: skip
    path = os.environ["PATH"]
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in {**kept, **dropped, "PATH": f"/v/bin:{path}", "DSTACK_HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    job = jobs.start(SHOW, env={"LR": "0.1"}, gpus=(0, 2))
    assert job.ended() == 0
    scratch = str(job.root.parent / "scratch")
    found = json.loads(job.out.read_text())
    hidden = f"{sys.prefix}/bin" if sys.prefix != sys.base_prefix else ""
    folders = [f"{scratch}/env/bin", *(f for f in path.split(":") if f and f != hidden)]
    assert {k: v for k, v in found.items() if k not in SHELL_S_OWN} == {
        **kept, "LR": "0.1", "PATH": ":".join(folders), "VIRTUAL_ENV": f"{scratch}/env", "TMPDIR": f"{scratch}/tmp",
        "TERM": "dumb", "PYTHONUNBUFFERED": "1", "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "CUDA_VISIBLE_DEVICES": "0,2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "DSTACK_ATTEMPT": job.label,
        "DSTACK_CACHE": str(home / "cache" / "jobs"),
    }  # fmt: skip


def test_the_job_may_set_anything_but_its_mark(jobs: Jobs) -> None:
    values = {"LD_PRELOAD": "", "HOME": "/h", "TERM": "xterm", "PYTHONPATH": "/p", "DSTACK_ATTEMPT": "other"}
    job = jobs.start(SHOW, env=values)
    assert job.ended() == 0
    found = json.loads(job.out.read_text())
    assert {name: found[name] for name in values} == {**values, "DSTACK_ATTEMPT": job.label}


def test_gpus_are_counted_among_the_caller_s(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    script = "echo $CUDA_VISIBLE_DEVICES"
    assert jobs.run(script, gpus=(0, 2))[1] == "3,7\n"
    assert jobs.run(script, gpus=())[1] == "\n"
    assert jobs.run(script)[1] == "3,5,7\n"


def test_what_a_job_installs_is_its_own(jobs: Jobs, wheel: Path) -> None:
    install = f"pip install --no-index '{wheel}' > log && dstacktiny && python -c 'import dstacktiny'"
    assert jobs.run(install) == (0, "tiny\n")
    missing = "python -c 'import dstacktiny' 2>/dev/null || echo missing"
    assert jobs.run(missing)[1] == "missing\n"
    for python in (sys.executable, interpreter.running().executable):
        assert subprocess.run([python, "-c", "import dstacktiny"], capture_output=True).returncode == 1


@pytest.mark.parametrize("pip", ["pip", "pip3", f"pip3.{sys.version_info[1]}", "python -m pip", "python3 -m pip"])
def test_every_pip_is_the_job_s(jobs: Jobs, wheel: Path, pip: str) -> None:
    job = jobs.start(f"{pip} install --no-index '{wheel}'")
    assert job.ended() == 0
    lib = job.root.parent / "scratch" / "env" / "lib"
    assert list(lib.glob("python*/site-packages/dstacktiny.py"))


def test_pip_can_be_upgraded(jobs: Jobs) -> None:
    wheels = sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(ensurepip.__file__).parent / "_bundled"
    (bundled,) = Path(wheels).glob("pip-*.whl")
    upgrade = f"pip install --no-index --force-reinstall '{bundled}' > log && pip --version"
    job = jobs.start(upgrade)
    assert job.ended() == 0, job.err.read_text()
    assert f"from {job.root.parent}/scratch/env/lib" in job.out.read_text()
    assert "/cache/pip-" in jobs.run("pip --version")[1]


def test_a_cache_in_use_is_not_an_old_one(jobs: Jobs, home: Path) -> None:
    jobs.run("true")
    os.utime(home / "cache" / "jobs", (0, 0))
    jobs.run("true")
    assert (home / "cache" / "jobs").stat().st_mtime > 0


def test_the_seed_is_made_once(jobs: Jobs, home: Path) -> None:
    python_env._seeds.clear()
    (first, second) = (jobs.run("pip --version") for _ in range(2))
    assert first == second
    seeds = list((home / "cache").glob("pip-*"))
    assert len(seeds) == 1
    assert not os.stat(seeds[0] / "pip" / "__init__.py").st_mode & 0o222


def test_the_seed_is_made_again_when_it_was_removed(jobs: Jobs, home: Path) -> None:
    python_env._seeds.clear()
    first = jobs.run("pip --version")
    (seed,) = (home / "cache").glob("pip-*")
    seed.rename(seed.with_name("gone"))
    assert jobs.run("pip --version") == first
    assert seed.is_dir()


def test_a_python_without_pip_says_so(tmp_path: Path) -> None:
    fake = tmp_path / "python with 'quotes'"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    python_env.make(str(tmp_path / "env"), Interpreter(str(fake), "3.99.1", "python3.99"))
    pip = subprocess.run([tmp_path / "env" / "bin" / "pip", "install", "x"], capture_output=True, text=True)
    assert pip.returncode == 1
    assert "python3-venv" in pip.stderr
    assert str(fake) in pip.stderr


def test_a_python_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, answer in (("broken", "exit 1"), ("good", "printf '/opt/python3.99\\n3.99.4\\npython3.99\\n'")):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "python3.99"
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/broken:{tmp_path}/good:/usr/bin:/bin")
    for wanted in ("3.99", "3.99.4"):
        assert interpreter.find(wanted) == Interpreter("/opt/python3.99", "3.99.4", "python3.99")
    with pytest.raises(JobError):
        interpreter.find("3.99.5")


def test_the_running_python_is_preferred(jobs: Jobs) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert interpreter.find(None) == interpreter.find(version) == interpreter.find("3") == interpreter.running()
    show = "python -c 'import sys; print(*sys.version_info[:2], sep=\".\")'"
    assert jobs.run(show, python=version) == (0, version + "\n")


def test_an_absent_python_names_what_there_is(jobs: Jobs) -> None:
    with pytest.raises(JobError, match=r"Python 3\.98 is not on this machine \(found: .*3\.") as failure:
        jobs.start("true", python="3.98")
    assert "3.98" in (failure.value.hint or "")
    with pytest.raises(JobError, match="not a version"):
        jobs.start("true", python="3.x; rm")


def test_packages_of_the_user_are_not_seen(jobs: Jobs) -> None:
    assert jobs.run("python -c 'import pytest' 2>/dev/null || echo missing")[1] == "missing\n"


def test_groups_inside_the_session_end(jobs: Jobs) -> None:
    beat = BEAT.format(file="beat")
    job = jobs.start(f"set -m; ({beat}) & while [ ! -e beat ]; do sleep 0.01; done; exit 0")
    assert job.ended() == 0
    assert processes.marked(f"DSTACK_ATTEMPT={job.label}") == []


def test_a_daemon_without_mark_ends_with_the_last_job(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSTACK_MACHINE", "m-1")
    script = "(env -i setsid sh -c 'echo $$ > pid; exec sleep 600' &) ; while [ ! -s pid ]; do sleep 0.01; done"
    other = jobs.start("sleep 600")
    job = jobs.start(script)
    assert job.ended() == 0
    pid = int((job.root / "pid").read_text())
    other.execution.close()
    assert not processes.alive(pid)


def test_stop_reaches_daemons(jobs: Jobs) -> None:
    daemon = "trap 'echo asked > asked; exit' TERM; : > ready; while :; do sleep 0.01; done"
    job = jobs.start(f'(setsid sh -c "{daemon}" &) ; trap "" TERM; sleep 600')
    until((job.root / "ready").exists, "the daemon was ready")
    job.execution.stop()
    until((job.root / "asked").exists, "the daemon was asked")


def states(mark: str) -> list[str]:
    return [found.state for pid in processes.marked(mark) if (found := processes.status(pid))]


def test_a_stopped_process_ends(jobs: Jobs) -> None:
    job = jobs.start("kill -STOP $$; sleep 600")
    until(lambda: states(f"DSTACK_ATTEMPT={job.label}") == ["T"], "the job was stopped")
    job.execution.stop()
    assert job.ended() == 143


def children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(map(int, file.read().split()))


def test_a_job_leaves_no_zombies(jobs: Jobs) -> None:
    before = children()
    for _ in range(5):
        jobs.run("(sleep 0 &) ; (setsid sleep 600 &) ; sleep 0.02")
    assert children() - before == set()


def zombies() -> set[int]:
    return {pid for pid in children() if (found := processes.status(pid)) and found.state == "Z"}


@pytest.mark.parametrize("daemon", ["(true &)", "(setsid -f sh -c '(true &) ; exit' &)"], ids=["session", "others"])
def test_a_running_job_leaves_no_zombies(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, daemon: str) -> None:
    monkeypatch.setattr(tidying, "TIDY", 0.01)
    monkeypatch.setattr(tidying, "OTHERS", 0.05)
    before = zombies()
    job = jobs.start(f"for i in $(seq 20); do {daemon}; done; : > made; sleep 600")
    until((job.root / "made").exists, "the daemons were started")
    until(lambda: len(zombies() - before) >= 20, "they had ended")
    until(lambda: job.execution.wait(0.01) is None and not zombies() - before, "they were reaped")


def test_the_exit_code_of_a_child_is_left_to_who_waits_for_it(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "TIDY", 0.0)
    own = [subprocess.Popen(["sh", "-c", "exit 7"], start_new_session=new) for new in (False, True)]
    until(lambda: {process.pid for process in own} <= zombies(), "the children had ended")
    job = jobs.start("exit 9")
    other = jobs.start("sleep 600")
    until(lambda: job.execution.wait(0) == 9, "the job had ended")
    for _ in range(20):
        assert other.execution.wait(0.001) is None
    assert [process.wait() for process in own] == [7, 7]
    assert job.ended() == 9


def test_daemons_that_just_start_do_not_escape(jobs: Jobs) -> None:
    labels = []
    for _ in range(60):
        job = jobs.start("(setsid sleep 600 &) ; (setsid -f sleep 600)")
        assert job.ended() == 0
        labels.append(job.label)
    assert [label for label in labels if processes.marked(f"DSTACK_ATTEMPT={label}")] == []


def test_without_a_subreaper_daemons_are_found_by_their_mark(jobs: Jobs) -> None:
    assert isinstance(jobs.executor, ProcessExecutor)
    jobs.executor._children._reaps = False
    job = jobs.start("(setsid sleep 600 &) ; sleep 600 & exit 0")
    assert job.ended() == 0
    assert processes.marked(f"DSTACK_ATTEMPT={job.label}") == []
