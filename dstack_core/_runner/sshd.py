"""The machine's own OpenSSH server as a child of the runner: with a port, a host key and a configuration of its own.

Whoever has an admitted key is who the runner is. Nothing but that and ways to ports of the machine itself is let
through. The machine's usual SSH server, if it has one, is left alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dstack_core.errors import JobError

PATIENCE: Final = 10.0
"""Seconds for a server to listen."""
PLACES: Final = "/usr/local/sbin:/usr/sbin:/sbin"
CONFIG: Final = """\
Port {port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
AllowUsers {user}
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitEmptyPasswords no
UsePAM {pam}
AllowTcpForwarding local
PermitOpen 127.0.0.1:*
GatewayPorts no
AllowStreamLocalForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitUserEnvironment no
PermitUserRC no
PrintMotd no
PrintLastLog no
LoginGraceTime 20
ClientAliveInterval 15
ClientAliveCountMax 4
"""
INSTALL: Final = """\
[ ! -d /run/systemd/system ] || systemctl mask ssh.service ssh.socket sshd.service
export DEBIAN_FRONTEND=noninteractive
umask 022
dnf install -qy openssh-server || { apt-get update -qq && apt-get install -qqy --no-install-recommends openssh-server; }
"""
"""What it brings is not to be started by itself: that server would listen, too, and with other rules."""
TIED: Final = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
"""Started so, it ends with the thread that started it, however that ends (Linux)."""


class Sshd:
    """One server. Its folder keeps key and port, so that the next runner of this machine has the same.

    Attributes:
        port: where it listens.
    """

    def __init__(self, folder: Path, user: str) -> None:
        self._folder = folder
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def host_key(self) -> str:
        """Its public key, without comment."""
        return " ".join((self._folder / "host_key.pub").read_text().split()[:2])

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.poll() is None

    def admit(self, keys: Iterable[str]) -> None:
        """Let the owners of these keys in, and nobody else who comes from now on."""
        draft = self._folder / "authorized_keys.new"
        draft.write_text("".join(f"restrict,port-forwarding,pty {key}\n" for key in keys))
        draft.chmod(0o600)
        draft.replace(self._folder / "authorized_keys")

    def start(self) -> None:
        """Listen. Installs the server if the machine has none. Raises JobError, OSError."""
        program = _program()
        if not (self._folder / "host_key").exists():
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self._folder / "host_key")]
            subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks its helpers in
        for port in (self._last_port(), 0, 0):
            self.port = _free(port)
            if self._listens(program):
                (self._folder / "port").write_text(str(self.port))
                return
        raise JobError(f"no SSH server starts: {self._last_words()}")

    def stop(self) -> None:
        """Take nobody in any more, and end the sessions of those who are: the machine may be another run's next."""
        if self._process is not None:
            sessions = _children(self._process.pid)
            self._process.terminate()
            self._process.wait()
            for pid in sessions:  # each leads a session of its own
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGTERM)

    def _listens(self, program: str) -> bool:
        locked = _is_locked(self._user)
        text = CONFIG.format(port=self.port, folder=self._folder, user=self._user, pam="yes" if locked else "no")
        (self._folder / "config").write_text(text)
        command = [program, "-D", "-f", str(self._folder / "config"), "-E", str(self._folder / "log")]
        self._process = subprocess.Popen(
            [sys.executable, "-c", TIED, *command] if sys.platform == "linux" else command,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while self.runs and time.monotonic() < deadline:
            if _is_server(self.port):
                return True
            time.sleep(0.05)
        self.stop()
        return False

    def _last_port(self) -> int:
        try:
            return int((self._folder / "port").read_text())
        except (OSError, ValueError):
            return 0

    def _last_words(self) -> str:
        try:
            return (self._folder / "log").read_text(errors="replace").strip().splitlines()[-1]
        except (OSError, IndexError):
            return "it does not say why"


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _program() -> str:
    """The server, which has to be called by its full path. Raises JobError."""
    path = f"{os.environ.get('PATH', os.defpath)}:{PLACES}"
    if not (found := shutil.which("sshd", path=path)):
        done = subprocess.run(["bash", "-c", INSTALL], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        found = shutil.which("sshd", path=path)
        if not found:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise JobError(f"there is no SSH server, and none can be installed: {said[-1] if said else 'no reason'}")
    return found


def _free(port: int) -> int:
    for wanted in (port, 0):
        try:
            with socket.create_server(("", wanted)) as server:
                return int(server.getsockname()[1])
        except OSError:
            continue
    raise JobError("this machine has no free port")


def _is_server(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False


def _is_locked(user: str) -> bool:
    """Whether the account has a password that says so: then only PAM knows that a key is as good as ever."""
    try:
        entries = [line.split(":") for line in Path("/etc/shadow").read_text().splitlines()]
    except OSError:
        return False
    return any(entry[0] == user and entry[1].startswith("!") for entry in entries if len(entry) > 1)
