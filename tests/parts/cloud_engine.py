"""The Docker engine whose containers are the machines: in a network namespace of its own, which is all that they see.

Nothing of it is in the network of this machine: no bridge, no rule, no route. So several can run at a time with the
same addresses, machines reach nothing but what is relayed to them, and all of it goes when the engine ends.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from cloud_network import GATEWAY, METADATA, SUBNET
from docker_engine import PATIENCE, answers, close_engine

NETWORK = "machines"


class MachineEngine:
    """A dockerd in a folder. `pid` also names its network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        folder.mkdir(parents=True)
        (folder / "config").write_text("{}")  # not the machine's own
        daemon = [
            "dockerd", "--storage-driver=overlay2", "--bridge=none", f"--data-root={folder}/data",
            f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", f"--host={self.host}",
            f"--containerd-namespace=box{os.urandom(4).hex()}", f"--config-file={folder}/config",
        ]  # fmt: skip
        ready = f'ip link set lo up && ip address add {METADATA}/32 dev lo && exec "$@"'
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # Ended by the kernel when this process is killed.
                ["setpriv", "--pdeathsig=TERM", "unshare", "--net", "sh", "-c", ready, "sh", *daemon],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait()
            self._make_network()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def command(self, *words: str, stdin: Path | None = None) -> str:
        """What `docker` says to these arguments."""
        with open(stdin or os.devnull, "rb") as given:
            done = subprocess.run(["docker", "-H", self.host, *words], stdin=given, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def close(self) -> None:
        """End it with all its machines."""
        close_engine(self.pid, self.folder, "")

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not answers(self.host):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _make_network(self) -> None:
        self.command("network", "create", f"--subnet={SUBNET}", f"--gateway={GATEWAY}", NETWORK)
