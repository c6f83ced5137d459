#!/usr/bin/python3
"""The first process of a machine of the tests: does what firmware, an init system and cloud-init do on a real one.

On the first boot it runs the user data, on every boot what is in /var/lib/cloud/scripts/per-boot; it starts the Docker
engine when the image has one, ends the machine when a program says so, and buries processes whose parents died.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import selectors
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

METADATA = "http://169.254.169.254"
GATEWAY = "172.31.0.1"
PIPE = Path("/run/vm-init")
SYSRQ = Path("/run/sysrq")
CLOUD = Path("/var/lib/cloud")
OUTPUT = Path("/var/log/cloud-init-output.log")
IMAGES = Path("/opt/box/images")
CLOCK = "/etc/faketimerc"
GRACE = 5.0
"""Seconds that processes get to end by themselves when the machine goes down."""
REBOOT = 64
"""Exit code that asks for the machine to be started again."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def say(text: str) -> None:
    print(f"vm-init: {text}", flush=True)


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def prepare() -> None:
    """Make the kernel's files what they are on a machine, and keep this machine from ending the one that it is on."""
    for path in [
        "/sys",
        *(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if " /sys/fs/cgroup" in line),
    ]:
        run("mount", "-o", "remount,bind,rw", path)
    for pipe in (PIPE, SYSRQ):
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
    trigger = Path("/proc/sysrq-trigger")
    if trigger.exists() and not trigger.is_fifo():
        run("mount", "--bind", str(SYSRQ), str(trigger))  # an `o` there would end the real machine


def fetch_settings() -> dict[str, Any]:
    """What the cloud knows of this machine. Asked until it answers: the cable may be plugged in late."""
    while True:
        try:
            with urllib.request.urlopen(f"{METADATA}/_box/boot", timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            time.sleep(0.02)


def open_ports(ports: list[int]) -> None:
    """Send what goes to these ports of this machine to the cloud's gateway, which relays it."""
    rules = ["*nat"]
    rules += [f"-A OUTPUT -d 127.0.0.1 -p tcp --dport {port} -j DNAT --to-destination {GATEWAY}" for port in ports]
    rules += ["-A POSTROUTING -s 127.0.0.1 ! -o lo -j MASQUERADE", "COMMIT", ""]
    subprocess.run(["iptables-restore", "--noflush"], input="\n".join(rules), text=True, check=True)


def start_docker(images: list[str]) -> None:
    """The engine, with these images in it."""
    Path("/var/run/docker.pid").unlink(missing_ok=True)
    with open("/var/log/docker.log", "ab") as log:
        subprocess.Popen(["dockerd", "--storage-driver=overlay2"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    if not images:
        return
    while subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        time.sleep(0.05)
    for image in images:
        run("docker", "load", "--quiet", "--input", str(IMAGES / image))


def stand_in_for_nvidia() -> None:
    """What the engine runs before a container that asks for GPUs. This one gives none."""
    hook = Path("/usr/local/bin/nvidia-container-runtime-hook")
    hook.write_text("#!/bin/sh\ncat > /dev/null\n")
    hook.chmod(0o755)


def set_environment(variables: dict[str, Any]) -> None:
    """As /etc/environment: for whatever is started on this machine."""
    lines = "".join(f'{name}="{value}"\n' for name, value in variables.items())
    Path("/etc/environment").write_text(f"PATH={PATH}\n{lines}")
    os.environ.clear()
    os.environ.update({"PATH": PATH, "LANG": "C.UTF-8", **variables})


def set_clock(offset: str) -> None:
    """Make every program see another time; later changes of the file are seen too."""
    Path(CLOCK).write_text(offset)
    Path("/etc/ld.so.preload").write_text("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1\n")
    os.environ.update({"FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"})


def scripts(user_data: bytes) -> list[Path]:
    """What is to run on this boot, in order."""
    found = []
    done = CLOUD / "instance" / "user-data-ran"
    if not done.exists():
        (CLOUD / "scripts" / "per-boot").mkdir(parents=True, exist_ok=True)
        found = keep_user_data(user_data)
        done.touch()
    return [*sorted((CLOUD / "scripts" / "per-boot").iterdir()), *found]


def keep_user_data(data: bytes) -> list[Path]:
    """The user data as a script, if it is one."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    script = CLOUD / "instance" / "scripts" / "part-001"
    script.parent.mkdir(parents=True, exist_ok=True)
    if not data.startswith(b"#!"):
        say("the user data is no script" if data else "no user data")
        return []
    script.write_bytes(data)
    script.chmod(0o700)
    return [script]


class Init:
    """Runs scripts one after the other, and waits for orders."""

    def __init__(self, todo: list[Path]) -> None:
        self._todo = todo
        self._current: int | None = None
        self._end: tuple[float, dict[str, Any]] | None = None
        # What scripts say goes to a log and to the console, also from processes that they leave behind.
        self._tee = subprocess.Popen(["tee", "-a", OUTPUT], stdin=subprocess.PIPE, preexec_fn=ignore_end)
        self._selector = selectors.DefaultSelector()
        for pipe in (PIPE, SYSRQ):
            # Read and write, so that it is never at its end.
            self._selector.register(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), selectors.EVENT_READ, pipe)
        wake, self._wake = os.pipe()
        for end in (wake, self._wake):
            os.set_blocking(end, False)
        self._selector.register(wake, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(self._wake)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def serve(self) -> None:
        while True:
            self._bury()
            self._next()
            left = None if self._end is None else max(self._end[0] - time.monotonic(), 0)
            for key, _ in self._selector.select(left):
                data = os.read(key.fd, 65536)
                if key.data is None and {*data} & {signal.SIGTERM, signal.SIGINT}:
                    self._finish({"do": "off", "force": False})
                self._obey(key.data, data.decode(errors="replace"))
            if self._end and time.monotonic() >= self._end[0]:
                self._finish(self._end[1])

    def _finish(self, order: dict[str, Any]) -> None:
        if self._tee.stdin:
            self._tee.stdin.close()
        finish(order)

    def _obey(self, source: Path | None, text: str) -> None:
        if source == SYSRQ and {*text} & {"o", "b"}:
            self._finish({"do": "reboot" if "b" in text else "off", "force": True})
        for line in text.splitlines() if source == PIPE else []:
            order = json.loads(line)
            say(f"told to {order}")
            self._end = None if order["do"] == "cancel" else (time.monotonic() + order["delay"], order)

    def _bury(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._current:
                say(f"a script ended with {os.waitstatus_to_exitcode(status)}")
                self._current = None

    def _next(self) -> None:
        while self._todo and self._current is None:
            script = self._todo.pop(0)
            said = self._tee.stdin
            try:
                self._current = subprocess.Popen(
                    [script], stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/"
                ).pid
            except OSError as error:
                say(f"a script cannot be run: {error}")


def ignore_end() -> None:
    """Go on while the machine goes down, until nobody is left who says anything."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def finish(order: dict[str, Any]) -> None:
    """The end of the machine, or of this boot."""
    if not order["force"]:
        say("going down")
        ignore_end()
        everyone(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and alone() is False:
            time.sleep(0.01)
    everyone(signal.SIGKILL)
    os._exit(REBOOT if order["do"] == "reboot" else 0)


def everyone(number: int) -> None:
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        return


def alone() -> bool:
    """Whether no other process is left."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def main() -> None:
    prepare()
    settings = fetch_settings()
    open_ports(settings["ports"])
    set_environment(settings["environment"])
    if settings.get("clock"):
        set_clock(settings["clock"])
    if settings.get("nvidia"):
        stand_in_for_nvidia()
    if settings["docker"]:
        start_docker(settings["images"])
    Init(scripts(base64.b64decode(settings["user_data"]))).serve()


if __name__ == "__main__":
    main()
