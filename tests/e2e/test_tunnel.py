"""What jobs on machines elsewhere serve is reached from here, by whoever may, and by nobody else."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
import subprocess
import urllib.request

import pexpect
import pytest
from aws_box import aws, aws_box
from elsewhere import IMAGE, Elsewhere, elsewhere
from weed import weed

from dstack_core._ledger import documents
from dstack_core._ledger.entrances import Entrance, admitted, entrance_key, find_entrance

__all__ = ["aws", "aws_box", "elsewhere", "weed"]

SERVE = f"""
- name: serve
  provider: bash
  image: {IMAGE}
  ports: {{web: 8123}}
  env: {{COLOUR: "dark red"}}
  commands: ["echo hello > index.html", "exec httpd -f -p $DSTACK_HOST:$PORT_0"]
"""

NEXT_RUNNER = """
import pathlib, subprocess
from dstack_core._runner.sshd import Sshd

def started():
    server = Sshd(pathlib.Path("/root/other"), "root")
    server.admit([pathlib.Path("/root/k.pub").read_text().strip()])
    server.start()
    return server

subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/k"], check=True)
first = started()
options = ["-o", "StrictHostKeyChecking=no", "-o", "LogLevel=QUIET", "-i", "/root/k", "-p", str(first.port)]
come = ["ssh", *options, "root@127.0.0.1", "echo in; exec sleep 1000"]
visitor = subprocess.Popen(come, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
print(visitor.stdout.readline().decode(), flush=True)
first.stop()
visitor.wait(30)
print("ended")
second = started()
print("same" if (second.port, second.host_key) == (first.port, first.host_key) else "other")
second.stop()
"""
"""On a machine: whoever is there goes with the run's server, and the next one is known by the same key."""


@pytest.fixture
def limits() -> dict[str, str]:
    return {"lease": "120s"}


def got(url: str) -> str:
    """What is served there; empty if nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def line_with(stream, text: str) -> str:
    said = []
    for line in stream:
        said.append(line)
        if text in line:
            return line
    raise AssertionError(f"nothing said {text}, but:\n{''.join(said)}")


@pytest.fixture
def teammate(elsewhere: Elsewhere) -> dict[str, str]:
    """The environment of somebody else who has the same remote."""
    home = elsewhere.project.folder / "teammate"
    home.mkdir(mode=0o700)
    shutil.copy(elsewhere.project.home / "config.yaml", home)
    return {"DSTACK_HOME": str(home), "DSTACK_USER": "teammate"}


def test_a_job_elsewhere_is_reached_by_whoever_may_and_by_nobody_else(elsewhere: Elsewhere, teammate: dict[str, str]):
    """Through a cut of the network, and with all that a machine must not let through."""
    project = elsewhere.project
    project.workflows(SERVE)
    following = project.start("run", "-r", "serve")
    url = re.search(r"http://\S+", line_with(following.stderr, "answers at"))[0]
    assert got(url) == "hello\n"
    (run,) = elsewhere.runs()
    (machine,) = elsewhere.machines(run)

    # The network is cut, and is back.
    elsewhere.aws.cut(machine.handle, True)
    assert "the way to serve is cut off" in line_with(following.stderr, "cut off")
    elsewhere.aws.cut(machine.handle, False)
    assert line_with(following.stderr, "the way") == "warning: the way to serve is open again\n"
    assert got(url) == "hello\n"

    # Somebody else, with a key of their own; the port here is taken.
    assert len(admitted(elsewhere.store, run)) == 1
    opening = project.start("open", "--no-browser", run, env=teammate)
    assert line_with(opening.stderr, "somebody here has port 8123")
    theirs = opening.stdout.readline().strip().removeprefix("web: ")
    assert theirs != url
    assert got(theirs) == "hello\n"
    assert len(admitted(elsewhere.store, run)) == 2
    line_with(opening.stderr, "Open as long as this command runs")
    opening.send_signal(signal.SIGINT)
    project.end(opening)
    assert not got(theirs)

    _check_what_is_let_through(elsewhere, run, machine)
    _check_shells(elsewhere, run, teammate)
    done = elsewhere.aws.run(machine.handle, "/var/lib/dstack/venv/bin/python", "-c", NEXT_RUNNER)
    assert done.out.split() == ["in", "ended", "same"]

    # Who has no key, and who is not the machine.
    entrance = find_entrance(elsewhere.store, run, machine.id)
    other = project.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    false = dataclasses.replace(entrance, host_key=" ".join(other.with_suffix(".pub").read_text().split()[:2]))
    documents.update(elsewhere.store, Entrance, entrance_key(run, machine.id), lambda _: false)
    for command in (["open", "--no-browser", run], ["ssh", run, "--", "true"]):
        done = project.dstack(*command, expect=77, env=teammate)
        assert done.err.count("error:") == 1
        assert "is not the machine of the run: it shows another host key" in done.err

    project.dstack("stop", "--abort", "-y", run)
    project.end(following, 130)
    assert not got(url)
    elsewhere.wait_for(lambda: {m.status for m in elsewhere.machines(run)} == {"gone"}, "the machine to leave")
    assert (project.home / "ssh" / run / "key").stat().st_mode & 0o777 == 0o600
    project.dstack("rm", "-y", run)
    assert not (project.home / "ssh" / run).exists()
    assert [info.key for info in elsewhere.store.list(f"runs/{run}/")] == [f"runs/{run}/run.json"]


def _check_what_is_let_through(elsewhere: Elsewhere, run: str, machine):
    """Nothing listens but the server, and what only the machine itself reaches; and by it, nothing else is reached."""
    entrance = find_entrance(elsewhere.store, run, machine.id)
    listening = elsewhere.aws.run(machine.handle, "ss", "-ltnH").out.split("\n")
    places = {line.split()[3].rpartition(":")[::2] for line in listening if line}
    assert {port for place, port in places if place not in ("127.0.0.1", "127.0.0.11")} == {str(entrance.port)}
    host, port = next(way for way in elsewhere.aws.ways(machine.handle))
    folder = elsewhere.project.home / "ssh" / run

    def ssh(*words: str) -> subprocess.CompletedProcess[str]:
        known = f"UserKnownHostsFile={folder}/known-{machine.id}"
        pinned = ["-o", known, "-o", f"HostKeyAlias={machine.id}", "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]
        command = ["ssh", "-F", "none", *pinned, "-p", str(port), "-l", entrance.user, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    allowed = ["-i", str(folder / "key"), "-o", "ExitOnForwardFailure=yes"]
    assert ssh(*allowed, host, "echo in").stdout == "in\n"
    assert "Permission denied (publickey)" in ssh("-o", "IdentityFile=none", host, "true").stderr
    assert "remote port forwarding failed" in ssh(*allowed, "-R", "0:127.0.0.1:1", host, "true").stderr
    address = elsewhere.aws.instance(machine.handle)["PrivateIpAddress"]
    assert "administratively prohibited" in ssh(*allowed, "-W", f"{address}:{entrance.port}", host).stderr


def _check_shells(elsewhere: Elsewhere, run: str, teammate: dict[str, str]):
    """In the job's environment and working folder, with its exit code, also at a terminal."""
    look = 'cat index.html; echo "$COLOUR"; exit 7'
    done = elsewhere.project.dstack("ssh", run, "--", "sh", "-c", look, expect=7)
    assert done.out == "hello\ndark red\n"
    shell = elsewhere.project.terminal("ssh", run, "serve", env=teammate)
    shell.sendline('tty > /dev/null && echo "it is $COLOUR"')
    shell.expect("it is dark red")
    shell.sendline("exit 3")
    shell.expect(pexpect.EOF)
    shell.wait()  # it may not have ended yet, and `close` would kill it
    shell.close()
    assert shell.exitstatus == 3
