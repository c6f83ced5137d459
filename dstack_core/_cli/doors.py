"""Ways to what jobs serve: addresses on this machine, wherever the jobs run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dstack_core._cli.context import Context
from dstack_core._engine.access import TOKEN, read_token
from dstack_core._engine.executors import label
from dstack_core.errors import NotFoundError, ReachError
from dstack_core.home import dstack_home

if TYPE_CHECKING:
    from dstack_core._cli.tunnel import Tunnel
    from dstack_core._ledger.records import JobRecord
    from dstack_core.models import JobSpec

HOST: Final = "127.0.0.1"
PATIENCE: Final = 0.1
"""Seconds in which whoever accepts a connection for a server that is not there hangs up again, on one machine."""

FAR_PATIENCE: Final = 1.0
"""The same through a tunnel: a way there and back."""


@dataclass(frozen=True)
class Address:
    """Where one port of a job is reached from here.

    Attributes:
        port: of this machine.
        name: of the port, None if it has none.
        page: path and query of what is opened there, with the token: for the eyes of whoever asked.
        patience: seconds that it takes to see that nobody answers.
    """

    job: str
    port: int
    name: str | None = None
    page: str = ""
    patience: float = PATIENCE

    @property
    def title(self) -> str:
        """What answers, for people."""
        return f"{self.job} ({self.name})" if self.name else self.job

    @property
    def url(self) -> str:
        """Without what lets one in."""
        return f"http://{HOST}:{self.port}"

    @property
    def opened(self) -> str:
        """To be opened in a browser."""
        return self.url + self.page

    def answers(self) -> bool:
        """Whether somebody listens there. A relay (Docker's, ssh's) accepts connections, too, and hangs up."""
        import socket  # only where a job has ports

        try:
            with socket.create_connection((HOST, self.port), timeout=PATIENCE) as probe:
                probe.settimeout(self.patience)
                return bool(probe.recv(1))
        except TimeoutError:
            return True  # it waits for a question
        except OSError:
            return False


class Doors:
    """The ways to the jobs of one context's runs; `close` ends those that need somebody to keep them open."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[tuple[str, str, int], tuple[Address, ...]] = {}
        self._tunnels: dict[tuple[str, str], tuple[int, Tunnel]] = {}
        self._last: dict[tuple[str, str], tuple[int, ...]] = {}
        self._ended: list[str] = []

    def addresses(self, record: JobRecord, spec: JobSpec) -> tuple[Address, ...]:
        """One for each port of a job that runs; empty when it cannot be reached (yet). Never waits for a network.

        Raises:
            ReachError: its machine cannot be reached (this goes on trying), or is somebody's own computer.
            CredentialsError: its machine does not let us in, or is not who it should be.
            DstackError: the backend does not make a way, or there is no OpenSSH.
        """
        key = (record.run, record.job, len(record.attempts))
        if key not in self._known:
            found = self._found(record, spec)
            if not found:
                return ()
            self._known[key] = found
        return self._known[key]

    @property
    def held(self) -> bool:
        """Whether one of them is only open while this command runs."""
        return bool(self._tunnels)

    def news(self) -> list[str]:
        """What has happened to the ways since the last question: cut off, open again."""
        said, self._ended = self._ended, []
        return [*said, *(message for _, tunnel in self._tunnels.values() for message in tunnel.news())]

    def leave(self, run: str, job: str) -> None:
        """The job's attempt is over. The next one is reached at the same ports of this computer, if they are free."""
        if (run, job) in self._tunnels:
            _, tunnel = self._tunnels.pop((run, job))
            self._last[run, job] = tunnel.local or self._last.get((run, job), ())
            tunnel.close()
            self._ended += tunnel.news()

    def close(self) -> None:
        """Nothing that was opened here is left."""
        for run, job in list(self._tunnels):
            self.leave(run, job)
        self._known.clear()

    def _found(self, record: JobRecord, spec: JobSpec) -> tuple[Address, ...]:
        if not record.machine or not record.ports:
            return ()
        if self._context.backend.distant:
            tunnel = self._tunnel(record, spec)
            if tunnel.failure:
                raise tunnel.failure
            token: str | None = tunnel.told
            ports, patience = tunnel.local, FAR_PATIENCE
        else:
            if not (dstack_home() / "work" / record.machine).exists():
                raise ReachError(
                    f"{record.job} of {record.run} runs on another computer, which lets nobody in",
                    hint="open it where it was started; or start it on a remote with machines of its own",
                )
            token, ports, patience = None, record.ports, PATIENCE
        named = zip(ports, spec.ports, strict=False)
        found = [Address(record.job, port, asked.name, "", patience) for port, asked in named]
        if found and spec.page:
            found[0] = replace(found[0], page=_page(record, spec, token))
        return tuple(found)

    def _tunnel(self, record: JobRecord, spec: JobSpec) -> Tunnel:
        """The one to this attempt."""
        from dstack_core._cli.tunnel import Tunnel
        from dstack_core._cli.way import Way

        key, attempt = (record.run, record.job), len(record.attempts)
        if key in self._tunnels and self._tunnels[key][0] != attempt:
            self.leave(*key)
        if key not in self._tunnels:
            asked = [[number for number in (port.local, port.number) if number] for port in spec.ports]
            last = self._last.get(key)
            wanted = [[port] for port in last] if last else asked
            secret = label(str(record.machine), record.job, attempt) if spec.page else ""
            way = Way(self._context, record.run, str(record.machine))
            self._tunnels[key] = (attempt, Tunnel(way, record.job, record.ports, wanted, secret))
        return self._tunnels[key][1]


def _page(record: JobRecord, spec: JobSpec, token: str | None) -> str:
    """Path and query. `token`: what its machine has said; None: it is this one, and to be asked."""
    from dstack_core._workflow.template import fill, references

    if not any(reference.name == TOKEN for reference in references(spec.page)):
        return fill(spec.page, {}, "plain")
    if token is None:
        with contextlib.suppress(NotFoundError):
            token = read_token(label(str(record.machine), record.job, len(record.attempts)))
    return fill(spec.page, {TOKEN: token}, "plain") if token else ""
