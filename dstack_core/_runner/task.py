"""From a planned job to a task: templates filled in, ports and secrets given."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from dstack_core._engine.access import TOKEN, make_token
from dstack_core._engine.capacity import Share
from dstack_core._engine.executors import label
from dstack_core._plan.job import PlannedJob
from dstack_core._runner.host import Host
from dstack_core._runner.output import Output
from dstack_core._runner.workspace import Workspace
from dstack_core.errors import JobError
from dstack_core.executor import Task
from dstack_core.models import RegistryAuth

SECRET: Final = "secrets."  # noqa: S105  the beginning of a reference
MARK: Final = "${{"
"""Where a template begins. Few jobs have any, and the module that fills them in is slow to import."""
_ARGS: Final = re.compile(r"\s*\$\{\{\s*run[._]args\s*\}\}\s*")


class Values:
    """What `${{ }}` templates of one attempt stand for, and which of it is secret."""

    def __init__(self, host: Host, job: PlannedJob, attempt: int) -> None:
        self._host = host
        self._job = job
        self._attempt = attempt
        self._secrets: dict[str, str] = {}
        for text in job.spec.texts:
            for name in _references(text):
                if name.startswith(SECRET) and name not in self._secrets:
                    self._secrets[name] = self._secret(name.removeprefix(SECRET))

    @property
    def label(self) -> str:
        """Marks what the executor starts."""
        return label(self._host.machine.id, self._job.name, self._attempt)

    @property
    def umask(self) -> int:
        """The user's."""
        return self._host.umask

    @property
    def masked(self) -> list[bytes]:
        """Secrets: they must not appear in the log."""
        secret = (*self._secrets.values(), *self._token.values())
        return [value.encode("utf-8", "surrogateescape") for value in secret]

    @functools.cached_property
    def _token(self) -> Mapping[str, str]:
        """What lets people in, if the job asks for that: made for this attempt. Not for `argv`, which anybody reads."""
        spec = self._job.spec
        if not any(TOKEN in _references(text) for text in (spec.script, *spec.env.values(), spec.page)):
            return {}
        return {TOKEN: make_token(self.label)}

    @functools.cached_property
    def ports(self) -> tuple[int, ...]:
        """Ports of this machine, one for each that the job asks for. Raises JobError."""
        if not self._job.spec.ports:
            return ()
        from dstack_core._runner.ports import choose_ports

        return choose_ports(self._job.spec.ports, apart=self._is_apart)

    @property
    def _is_apart(self) -> bool:
        return self._host.executor(self._job.spec.executor).own_ports

    @property
    def _listen_at(self) -> str:
        """Where only this machine reaches the job: in a network of its own, that is any address there."""
        return "0.0.0.0" if self._is_apart else "127.0.0.1"  # noqa: S104

    @property
    def inner_ports(self) -> tuple[int, ...]:
        """Where the job listens."""
        return tuple(asked.number or port for asked, port in zip(self._job.spec.ports, self.ports, strict=True))

    @functools.cached_property
    def env(self) -> dict[str, str]:
        """The job's environment: what dstack tells it, then its own."""
        told = {
            "DSTACK_RUN": self._host.run.name,
            "DSTACK_JOB": self._job.name,
            "DSTACK_MACHINE": self._host.machine.id,
            **({"DSTACK_HOST": self._listen_at} if self.ports else {}),
            **{f"PORT_{i}": str(port) for i, port in enumerate(self.inner_ports)},
        }
        values = {**self._templates, **self._token}
        return {**told, **{name: _filled(text, values, "plain") for name, text in self._job.spec.env.items()}}

    def _secret(self, name: str) -> str:
        value = self._host.secret(name)
        if not value:  # whatever the store thinks: with an empty one a job would run as if it had none
            raise JobError(f"the secret {name} is empty", hint=f"dstack secrets update {name}")
        return value

    def script(self) -> str:
        """The program text, every value quoted for the shell."""
        env = {f"env.{name}": value for name, value in self.env.items()}
        return _filled(self._job.spec.script, {**self._templates, **self._token, **env}, "shell")

    def argv(self) -> tuple[str, ...]:
        """The command."""
        return tuple(word for text in self._job.spec.argv for word in self._words(text))

    def _words(self, text: str) -> Sequence[str]:
        if MARK in text and _ARGS.fullmatch(text):
            return self._job.spec.args
        return [_filled(text, self._templates, "plain")]

    def registry_auth(self) -> RegistryAuth | None:
        """Who asks for the image."""
        auth = self._job.spec.registry_auth
        if auth is None:
            return None
        return RegistryAuth(*(_filled(text, self._templates, "plain") for text in (auth.username, auth.password)))

    @functools.cached_property
    def _templates(self) -> Mapping[str, str | list[str]]:
        run = self._host.run
        return {
            "run.name": run.name,
            "run.args": list(self._job.spec.args),
            "run.workflow": run.workflow,
            "run.repo": run.repo,
            "run.user": run.user,
            "job.name": self._job.name,
            "job.attempt": str(self._attempt),
            **{f"job.port_{i}": str(port) for i, port in enumerate(self.inner_ports)},
            **{f"matrix.{key}": value for key, value in (self._job.cell.values if self._job.cell else {}).items()},
            **self._secrets,
        }


def _references(text: str) -> list[str]:
    if MARK not in text:
        return []
    from dstack_core._workflow.template import references

    return [reference.name for reference in references(text)]


def _filled(text: str, values: Mapping[str, str | Sequence[str]], quoting: Literal["shell", "plain"]) -> str:
    if MARK not in text:
        return text
    from dstack_core._workflow.template import fill

    return fill(text, values, quoting)


def fill_task(
    job: PlannedJob,
    workspace: Workspace,
    values: Values,
    share: Share,
    output: Output,
    spare: Path,
    progress: Callable[[int, int], None],
) -> Task:
    """Ready to start. `progress` is told of downloads, as `Task.progress` is."""
    spec = job.spec
    return Task(
        label=values.label,
        argv=values.argv(),
        root=workspace.root,
        scratch=workspace.scratch,
        spare=spare,
        working_dir=spec.working_dir or ".",
        stdout=output.stdout,
        stderr=output.stderr,
        script=workspace.write_script(values.script()),
        env=values.env,
        python=spec.python,
        image=spec.image,
        image_digest=spec.image_digest,
        registry_auth=values.registry_auth(),
        requirements=spec.requirements,
        umask=values.umask,
        gpus=share.gpus,
        ports=values.ports,
        inner_ports=values.inner_ports,
        places=workspace.places,
        image_command=spec.image_command,
        image_folder=spec.image_command and spec.working_dir is None,
        progress=progress,
    )
