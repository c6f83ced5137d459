"""Ways to what jobs serve: addresses on this machine, wherever the jobs run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dstack_core._cli.context import Context
from dstack_core._engine.access import TOKEN, read_token
from dstack_core._engine.executors import label
from dstack_core.errors import NotFoundError

if TYPE_CHECKING:
    from dstack_core._ledger.records import JobRecord
    from dstack_core.models import JobSpec, Port

HOST: Final = "127.0.0.1"
PATIENCE: Final = 0.1
"""Seconds in which whoever accepts a connection for a server that is not there hangs up again, on one machine."""


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

    def addresses(self, record: JobRecord, spec: JobSpec) -> tuple[Address, ...]:
        """One for each port of a job that runs; empty when it cannot be reached (yet)."""
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
        return False

    def close(self) -> None:
        """Nothing that was opened here is left."""
        self._known.clear()

    def _found(self, record: JobRecord, spec: JobSpec) -> tuple[Address, ...]:
        if self._context.backend.distant or not record.machine:
            return ()
        found = [_address(record.job, port, asked) for port, asked in zip(record.ports, spec.ports, strict=False)]
        if found and spec.page:
            found[0] = replace(found[0], page=_page(record, spec))
        return tuple(found)


def _address(job: str, port: int, asked: Port) -> Address:
    return Address(job, port, asked.name)


def _page(record: JobRecord, spec: JobSpec) -> str:
    from dstack_core._workflow.template import fill, references

    values = {}
    if any(reference.name == TOKEN for reference in references(spec.page)):
        try:
            values[TOKEN] = read_token(label(str(record.machine), record.job, len(record.attempts)))
        except NotFoundError:
            return ""
    return fill(spec.page, values, "plain")
