"""A machine with Debian's own systemd and cloud-init, which the other machines of the tests have stand-ins for.

A container whose first process is systemd, without a network. What it has of the host's kernel files is as Docker
leaves it, read-only, except for its control groups; so there is no udev in it, which would speak for all of the host's
devices.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import cloud_image
import pytest

from dstack_core.testing.waiting import until

PACKAGES = ("bash", "ca-certificates", "cloud-init", "curl", "dbus", "procps", "systemd", "systemd-sysv")
WITHOUT = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale")
PATIENCE = 120.0
CONFIG = """datasource_list: [NoCloud]
network: {config: disabled}
cloud_init_modules: [seed_random, write_files]
cloud_config_modules: []
cloud_final_modules: [scripts_per_once, scripts_per_boot, scripts_per_instance, scripts_user]
"""
"""Of cloud-init: what runs scripts, in Debian's order, and nothing that wants an SSH server or a network."""
INIT = """
grep ' /sys/fs/cgroup' /proc/mounts | while read -r _ folder _; do mount -o remount,bind,rw "$folder"; done
exec /lib/systemd/systemd --show-status=no
"""
OPTIONS = (
    "--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--cap-drop=SYS_TIME", "--cap-drop=SYS_MODULE", "--network=none",
    "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--cgroupns=private",
    "--tmpfs=/run:exec", "--tmpfs=/tmp", "--env=container=docker", "--tty",
)  # fmt: skip
T = TypeVar("T")


class SystemdMachine:
    """One of an engine; it boots when it is made."""

    def __init__(self, host: str, folder: Path, user_data: str) -> None:
        self._host = host
        archive = cloud_image.disk(PACKAGES, WITHOUT)
        image = f"dstack-test-systemd:{archive.stem}"
        if not self.docker("images", "--quiet", image):
            self.docker("import", str(archive), image)
        self.name = self.docker("create", *OPTIONS, image, "/bin/sh", "-c", INIT)
        seed = folder / "lib" / "cloud" / "seed" / "nocloud"
        seed.mkdir(parents=True)
        (seed / "user-data").write_text(user_data)
        (seed / "meta-data").write_text("instance-id: i-1\n")
        config = folder / "95_test.cfg"
        config.write_text(CONFIG)
        self.docker("cp", f"{folder}/lib", f"{self.name}:/var/")
        self.docker("cp", str(config), f"{self.name}:/etc/cloud/cloud.cfg.d/")
        self.start()

    def docker(self, *words: str) -> str:
        done = subprocess.run(["docker", "-H", self._host, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"docker {words[0]}: {done.stderr}")
        return done.stdout.strip()

    def start(self) -> None:
        """Boot it; again, with what is on its disk."""
        self.docker("start", self.name)

    def run(self, *command: str) -> str:
        """What a command on it says, whatever it exits with; nothing if the machine is off."""
        done = subprocess.run(
            ["docker", "-H", self._host, "exec", self.name, *command], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def unit(self, name: str) -> dict[str, str]:
        """What its systemd says of a unit."""
        return dict(line.split("=", 1) for line in self.run("systemctl", "show", name).splitlines() if "=" in line)

    def console(self) -> str:
        return self.docker("logs", self.name)

    def is_on(self) -> bool:
        return self.docker("inspect", "--format={{.State.Running}}", self.name) == "true"

    def wait_for(self, condition: Callable[[], T], what: str) -> T:
        story = lambda: f"{self.run('journalctl', '--no-pager')}\n{self.console()}"  # noqa: E731
        return until(condition, what, PATIENCE, pause=0.1, story=story)

    def remove(self) -> None:
        """Pull the plug, and throw the disk away."""
        self.docker("rm", "--force", "--volumes", self.name)


@pytest.fixture
def systemd_machine(engine: str, tmp_path: Path) -> Iterator[Callable[[str], SystemdMachine]]:
    """Makes such machines, which boot with some user data."""
    cloud_image.require_programs()
    made: list[SystemdMachine] = []

    def make(user_data: str) -> SystemdMachine:
        folder = tmp_path / f"machine{len(made)}"
        folder.mkdir()
        made.append(SystemdMachine(engine, folder, user_data))
        return made[-1]

    yield make
    for machine in made:
        machine.remove()
