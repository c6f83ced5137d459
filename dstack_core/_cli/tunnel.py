"""Ports of a machine elsewhere as ports of this computer, for as long as a command runs; the way heals when it breaks.

A thread has an `ssh` that forwards, and starts another when that ends: when the network is cut, the laptop was asleep,
or the machine's own server was started anew. The ports here stay the same.
"""

from __future__ import annotations

import contextlib
import queue
import shlex
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from dstack_core._cli.way import PortTakenError, RefusedError, explain
from dstack_core._engine.access import token_path
from dstack_core._runner.ports import HOST, hold_port
from dstack_core.errors import CredentialsError, DstackError, ReachError

if TYPE_CHECKING:
    from dstack_core._cli.way import Way
    from dstack_core._ledger.entrances import Entrance
    from dstack_core.backend import Address

LOOK: Final = 0.5
"""Seconds between looks for the machine's entrance."""
SHORTEST: Final = 0.5
LONGEST: Final = 10.0
"""Seconds between two tries."""
PATIENCE: Final = 60.0
"""Seconds after which a way that has never been open is a failure; it is tried all the same."""
ENDING: Final = 2.0
"""Seconds for ssh to end when it is asked to."""
LEAVING: Final = 10.0
"""Seconds for the backend to close its way."""
OPEN: Final = b"open"
"""What is heard from the machine when the way is there."""


class Tunnel:
    """One way to one machine.

    Args:
        job: what is reached, for messages.
        wanted: for each port, those of this computer that somebody would like, best first; any other will do, too.
        ports: of the machine, as many.
        token: label of the attempt whose token is wanted, too; empty: none.
    """

    def __init__(
        self, way: Way, job: str, ports: Sequence[int], wanted: Sequence[Sequence[int]], token: str = ""
    ) -> None:
        self._way = way
        self._job = job
        self._ports = ports
        self._wanted = wanted
        self._token = token
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._cut = False
        self.local: tuple[int, ...] = ()
        """Ports of this computer; empty until the way was open once."""
        self.told = ""
        """The token, if one was wanted and there is one."""
        self.failure: DstackError | None = None
        """Why the way is not open, after `PATIENCE`, or if it should not be tried again."""
        self._thread = threading.Thread(target=self._keep, name=f"way to {job}", daemon=True)
        self._thread.start()

    def news(self) -> list[str]:
        """What has happened since the last question, for people."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._news.get_nowait())
        return found

    def close(self) -> None:
        """Nothing of it is left here. Without a network the backend cannot be told, and is not waited for long."""
        self._stopped.set()
        with self._lock:
            if self._process is not None:
                _end(self._process)
        self._thread.join(LEAVING)

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        pause = SHORTEST
        while not self._stopped.is_set():
            since = time.monotonic()
            try:
                self._hold()
            except DstackError as error:
                if self._is_final(error):
                    self.failure = error
                    return
                self._note(error)
            except (OSError, subprocess.SubprocessError) as error:
                self._note(ReachError(f"ssh cannot be used: {error}"))
            if self.local and time.monotonic() - since > LONGEST:
                pause = SHORTEST
            self._stopped.wait(pause)
            pause = min(2 * pause, LONGEST)

    def _is_final(self, error: DstackError) -> bool:
        """A key that is not taken may not have been seen yet; another host key is not tried twice."""
        return isinstance(error, CredentialsError) and not isinstance(error, RefusedError)

    def _note(self, error: DstackError) -> None:
        if self._stopped.is_set():
            return
        if self.local and not self._cut:
            self._cut = True
            self._news.put(f"the way to {self._job} is cut off ({error.message}); trying again")
        elif not self.local and time.monotonic() - self._began > PATIENCE:
            self.failure = error

    def _hold(self) -> None:
        """Open the way, and return or raise when it is broken."""
        entrance = self._way.entrance() if self.local else self._await_entrance()
        if entrance is None:
            return
        with self._way.opened(entrance) as address:
            self._hold_at(entrance, address, self.local or self._choose())

    def _await_entrance(self) -> Entrance | None:
        _ = self._way.folder  # the key has to be there before the machine takes it
        while not self._stopped.is_set():
            if entrance := self._way.entrance():
                return entrance
            self._note(ReachError(f"the machine of {self._job} lets nobody in", hint="what does its log say?"))
            self._stopped.wait(LOOK)
        return None

    def _hold_at(self, entrance: Entrance, address: Address, local: tuple[int, ...]) -> None:
        pairs = zip(local, self._ports, strict=True)
        forwards = [word for here, there in pairs for word in ("-L", f"{HOST}:{here}:{HOST}:{there}")]
        file = shlex.quote(str(token_path(Path(entrance.home), self._token) if self._token else "/dev/null"))
        script = f"echo {OPEN.decode()}; cat -- {file} 2> /dev/null; echo; exec cat"
        command = [*self._way.command(entrance, address, "-T", *forwards), script]
        with self._lock:
            if self._stopped.is_set():
                return
            process = self._process = subprocess.Popen(
                command, cwd=self._way.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl+C is for the command, which ends this
            )  # fmt: skip
        said: list[bytes] = []
        assert process.stderr is not None
        listening = threading.Thread(target=_collect, args=(process.stderr, said), daemon=True)
        listening.start()
        try:
            self._hear(process, local)
            process.wait()
            listening.join(ENDING)
        finally:
            _end(process)
        if not self._stopped.is_set():
            raise explain(b"".join(said).decode(errors="replace"), address)

    def _hear(self, process: subprocess.Popen[bytes], local: tuple[int, ...]) -> None:
        assert process.stdout is not None
        if process.stdout.readline().strip() != OPEN:
            return
        self.told = process.stdout.readline().decode("ascii", "replace").strip()
        self.failure = None
        if not self.local:
            self._tell_of_others(local)
        elif self._cut:
            self._news.put(f"the way to {self._job} is open again")
        self._cut = False
        self.local = local
        process.stdout.read()  # to the end

    def _tell_of_others(self, local: tuple[int, ...]) -> None:
        for here, wanted in zip(local, self._wanted, strict=True):
            if wanted and here != wanted[0]:
                self._news.put(f"somebody here has port {wanted[0]}: {self._job} is at {here}")

    def _choose(self) -> tuple[int, ...]:
        """Free ports of this computer; all at once, so that none is taken twice."""
        with contextlib.ExitStack() as held:
            pairs = zip(self._wanted, self._ports, strict=True)
            free = [hold_port((*wanted, there, 0), held) for wanted, there in pairs]
        if None in free:
            raise PortTakenError("this computer has no free port")
        return tuple(filter(None, free))


def _collect(stream: IO[bytes], said: list[bytes]) -> None:
    said.extend(stream)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
