"""A job in its container, from start to removal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from dstack_core.errors import DstackError, JobError
from dstack_core.executor import Execution, LostError, Task
from dstack_docker.engine import Engine, has_program, ignoring_missing
from dstack_docker.stream import Stream

ASK: Final = ["sh", "-c", "kill -TERM -1; kill -CONT -1"]
"""Inside the container: a signal to everything but its first process, which only waits for the others."""
ANSWER: Final = 5.0
"""Seconds for an engine to say that it has killed a container."""
FLUSH: Final = 1.0
"""Seconds for the last output of a job that was ended."""
BY_ENGINE: Final = (137, 143)
"""Exit codes of what an engine ends when it is stopped itself."""
NO_PROGRAM: Final = 127
"""Exit code of who could not start a program."""
LEAVING: Final = 0.5
"""Seconds from the end of its containers to the end of an engine that is stopped."""
GONE: Final = "the Docker engine stopped while the job ran"


class DockerExecution(Execution):
    """A container. One thread moves its output, then waits for its end. `ended` is called once, before the removal."""

    def __init__(
        self, engine: Engine, container: str, task: Task, digest: str, ended: Callable[[], None] | None
    ) -> None:
        self.image_digest = digest
        self._engine = engine
        self._container = container
        self._ended = ended
        self._memory = task.requirements.memory
        self._image = task.image
        self._lock = threading.Lock()
        self._closed = False
        self._removal: threading.Thread | None = None
        self._over = threading.Event()
        self._code: int | None = None
        self._asked = False
        self._killed = False
        self._lost: str | None = None
        self._out_of_memory = False
        self._lacks_shell = False
        ask = {"stdout": 1, "stderr": 1, "stream": 1}
        with engine.speaking("the container's output cannot be had"):
            self._stream = Stream(engine.patient.attach_socket(container, ask), task.stdout, task.stderr)
        self._watcher = threading.Thread(target=self._watch, name=f"container {container[:12]}", daemon=True)

    def begin(self) -> None:
        """Start the container. Raises JobError."""
        try:
            with self._engine.speaking("the container does not start"):
                self._engine.api.start(self._container)
        except JobError:
            self._stream.drop()
            raise
        self._watcher.start()

    def wait(self, timeout: float | None = None) -> int | None:
        """See `Execution.wait`."""
        self._over.wait(timeout)
        if self._code is None and self._lost:
            raise LostError(self._lost)
        return self._code

    def stop(self) -> None:
        """See `Execution.stop`."""
        with self._lock, suppress(DockerException, RequestException, JobError):
            if self._closed or self._over.is_set():
                return
            self._asked = True
            api = self._engine.api
            try:
                asking = api.exec_create(self._container, ASK, stdout=False, stderr=False)
                api.exec_start(asking["Id"], detach=True)
            except APIError:  # perhaps it may not have one more process; or it has just ended
                api.kill(self._container, "SIGTERM")

    def close(self) -> None:
        """See `Execution.close`. One that has ended by itself is removed by a thread, for which a second call waits."""
        with self._lock:
            if self._closed:
                if self._removal:
                    self._removal.join()
                return
            ended = self._over.is_set() and not self._lost
            if not ended:
                self._kill()
            with suppress(DockerException, RequestException, DstackError):
                if self._ended:
                    self._ended()
            self._removal = threading.Thread(target=self._remove, name=f"removal {self._container[:12]}", daemon=True)
            self._removal.start()
            if not ended:
                self._removal.join()
            self._closed = True

    def cause(self) -> str | None:
        """See `Execution.cause`."""
        if self._out_of_memory:
            return f"out of memory (limit {_size(self._memory)})" if self._memory else "out of memory"
        return f"the image {self._image} has no `sh`, with which every job begins" if self._lacks_shell else None

    # --- how it ended -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """In the thread: all output first, then the exit code."""
        try:
            self._stream.run()
            self._note_end()
        except (DockerException, RequestException, DstackError) as error:
            self._note_loss(error)
        except BaseException as error:  # whoever waits must not do so for ever
            self._lost = f"its end could not be told: {error!r}"
            raise
        finally:
            self._over.set()

    def _note_end(self) -> None:
        self._engine.patient.wait(self._container)  # a job may close its output and work on
        state = self._engine.api.inspect_container(self._container)["State"]
        if not self._stream.whole and not self._killed:
            self._lost = "its output was cut off, as when the Docker engine is restarted"
            return
        code = int(state["ExitCode"])
        self._out_of_memory = bool(state.get("OOMKilled")) and code != 0
        if code in BY_ENGINE and not (self._out_of_memory or self._asked or self._killed) and self._is_leaving():
            self._lost = GONE
            self._engine.await_return()
        else:
            self._lacks_shell = code == NO_PROGRAM and not has_program(self._engine, self._container, "sh")
            self._code = code

    def _is_leaving(self) -> bool:
        """Whether the engine ended the container because it ends itself."""
        time.sleep(LEAVING)
        return not self._engine.answers()

    def _note_loss(self, error: Exception) -> None:
        missing = isinstance(error, APIError) and error.status_code == 404
        if self._killed:
            self._code = 137
        elif missing:
            self._lost = "somebody removed its container"
        else:
            back = self._engine.await_return()
            self._lost = GONE if back else f"{GONE}, and is not back"

    def _kill(self) -> None:
        self._killed = True
        killing = threading.Thread(target=self._send_kill, daemon=True)
        killing.start()
        killing.join(ANSWER)  # an engine answers when it has handed on the last output, so perhaps never
        if not self._over.wait(FLUSH):  # nobody reads its last output: whoever closes it may be who should
            self._stream.close()
            self._over.wait(FLUSH)
        killing.join()
        if self._code is None:
            self._code = 137

    def _send_kill(self) -> None:
        with suppress(DockerException, RequestException, JobError):
            ignoring_missing(lambda: self._engine.api.kill(self._container))

    def _remove(self) -> None:
        """Gone from the engine. An engine that is away gets rid of it when `sweep` or the next executor asks."""
        with suppress(DockerException, RequestException, JobError):
            remove(self._engine, self._container)


def remove(engine: Engine, container: str) -> bool:
    """End and remove a container with its anonymous volumes; whether it was there."""
    return ignoring_missing(lambda: engine.api.remove_container(container, v=True, force=True))


def finish(engine: Engine, container: str, task: Task) -> int:
    """Run a container that helps a job to its end, and remove it; its exit code. Raises JobError."""
    with engine.speaking("a helper of the job does not start"):
        try:
            engine.api.start(container)
            return _await(engine, container, task)
        finally:
            remove(engine, container)


def _await(engine: Engine, container: str, task: Task) -> int:
    """The exit code; meanwhile whoever waits is told, so that it can leave."""
    codes: list[int] = []

    def wait() -> None:
        with suppress(DockerException, RequestException):
            codes.append(int(engine.patient.wait(container)["StatusCode"]))

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    while waiter.is_alive():
        waiter.join(0.2)
        task.progress(0, 0)
    if not codes:
        raise LostError(GONE)
    return codes[0]


def _size(count: int) -> str:
    for unit, factor in (("GB", 1000**3), ("MB", 1000**2)):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} B"
