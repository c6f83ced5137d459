"""The values that travel between core and plugins: plain frozen dataclasses, JSON both ways (`dstack_core.codec`).

They are not pydantic models because the runner and `dstack ps` use them, and neither can afford pydantic's import.
pydantic checks what people write (workflow files, settings) before it becomes one of these.

Units: memory and sizes are bytes, durations are seconds, times are seconds since the epoch (UTC).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_EXTENSION: Final = re.compile(r"\.[0-9]*[A-Za-z][A-Za-z0-9]*\Z")
"""With a letter in it: `0.1`, `v2.5-small` have none, and are what values of a matrix look like."""


@dataclass(frozen=True)
class Gpu:
    """GPUs of one kind: that a job asks for, or that a machine has.

    Attributes:
        name: as the vendor writes it, e.g. `V100`.
        memory: bytes per GPU.
        devices: of an offer, the indices that these GPUs have on the machine; empty: 0 to `count` - 1.
    """

    count: int = 1
    name: str | None = None
    memory: int | None = None
    devices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Requirements:
    """What a job asks of its machine. None: no demand.

    Attributes:
        cpu: virtual CPUs; a job that asks for none is counted as one when jobs run side by side.
        memory: bytes.
        shm_size: bytes of /dev/shm.
        interruptible: a spot machine will do.
        disk: bytes of the machine's disk.
        max_price: USD per hour that the machine may cost at most.
        instance_types: names of the offers that will do; empty: any.
    """

    cpu: float | None = None
    memory: int | None = None
    gpu: Gpu | None = None
    shm_size: int | None = None
    interruptible: bool = False
    disk: int | None = None
    max_price: float | None = None
    instance_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArtifactSpec:
    """A folder or file that a job produces, relative to its working folder, or absolute where it runs.

    A `path` that ends in `/`, or whose last part has no extension (`0.1` has none), is a folder: it exists, empty,
    when the job starts. `mount`: saved continuously while the job runs, and there again when a new attempt starts.
    """

    path: str
    mount: bool = False

    @property
    def folder(self) -> bool:
        """Whether it is declared as a folder: `data/`, `data`, `lr-0.1`; but `model.pt` may be either."""
        name = posixpath.basename(posixpath.normpath(self.path)).lstrip(".")
        return self.path.endswith("/") or not _EXTENSION.search(name)


@dataclass(frozen=True)
class RegistryAuth:
    """Who asks a registry for an image. Either may hold `${{ secrets.NAME }}`, which only the runner fills in."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Port:
    """A port that a job serves something at.

    Attributes:
        number: where the job listens; None: at any that is free. Either way it is the job's `PORT_n`.
        local: where the user wants to reach it on their own machine; None: at the same number, if that is free.
        name: what it is called where its address is told.
    """

    number: int | None = None
    local: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Dep:
    """Whose artifacts a workflow needs. `kind` is `workflow` or `tag`; `repo` is `OWNER/REPO`, None: this one."""

    kind: str
    name: str
    repo: str | None = None

    def __str__(self) -> str:
        name = f"{self.repo}/{self.name}" if self.repo else self.name
        return f":{name}" if self.kind == "tag" else name


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is tried again. `attempts` counts all tries, the first included."""

    attempts: int = 1
    on: tuple[str, ...] = ("interrupted",)
    backoff: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One combination of the values of a workflow's `matrix`; it is a job of its own.

    Attributes:
        workflow: name of the workflow with the matrix.
        values: text by key, as the workflow file has it.
        max_parallel: how many cells of that workflow may run at once in a run; None: no limit.
    """

    workflow: str
    values: Mapping[str, str]
    max_parallel: int | None = None


@dataclass(frozen=True)
class Workflow:
    """One entry of `workflows:`, checked, with the command line's overrides applied.

    Attributes:
        properties: what belongs to the provider alone (`commands`, `setup`, ...), as YAML gave it, after the
            provider's own schema accepted it.
        env: values may hold `${{ }}` templates; the runner fills them in.
        inputs: globs of the repository's files that this workflow depends on; None: all of them.
        cell: which cell of its `matrix` it is; `name` is then that of the cell.
        executor: name of the executor that it must run with; None: the one that suits it.
        where: `file:line:column` of the entry, or None for a workflow made on the command line.
    """

    name: str
    provider: str
    help: str | None = None
    deps: tuple[Dep, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    ports: tuple[Port, ...] = ()
    working_dir: str | None = None
    artifacts: tuple[ArtifactSpec, ...] = ()
    resources: Requirements = Requirements()
    inputs: tuple[str, ...] | None = None
    image: str | None = None
    registry_auth: RegistryAuth | None = None
    executor: str | None = None
    retry: Retry = Retry()
    max_duration: float | None = None
    args: tuple[str, ...] = ()
    remote: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)
    cell: Cell | None = None
    where: str | None = None


@dataclass(frozen=True)
class JobSpec:
    """What to run: a provider's answer. Everything that changes the result is in here.

    Attributes:
        argv: the command, without secrets: other users can read it. When `script` is not empty, the path of a
            private file that holds it is appended. `${{ run.args }}` alone stands for as many arguments as there are.
        image_command: `argv` are arguments of the image's own entry point, or it has its own if there are
            none; it works in the image's own folder, unless a `working_dir` is given.
        script: program text for `argv`; `${{ }}` templates are filled in by the runner, quoted for a shell.
        env: added to the job's environment; templates are filled in as they are.
        working_dir: relative to the root of the checkout; None: the root.
        ports: what it serves something at: PORT_0, PORT_1, ... in its environment.
        page: what is opened at its first port, `/lab?token=${{ job.token }}`. The command that tells the address fills
            in the token, which the runner makes for each attempt, and nothing else; empty: the address alone.
        edits: people change the checkout while the job runs: that is saved all the while, for `dstack code pull`, and
            is there again when a new attempt starts.
        executor: name of the executor that it needs; None: the one that suits it. Planning fills it in.
        image_digest: what `image` was when the run was planned, `sha256:...`; None: not known. A provider leaves it.
        reusable: False for what is run for its own sake (an IDE): never reused.
    """

    argv: tuple[str, ...]
    script: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    python: str | None = None
    image: str | None = None
    working_dir: str | None = None
    ports: tuple[Port, ...] = ()
    artifacts: tuple[ArtifactSpec, ...] = ()
    requirements: Requirements = Requirements()
    retry: Retry = Retry()
    max_duration: float | None = None
    executor: str | None = None
    reusable: bool = True
    image_digest: str | None = None
    registry_auth: RegistryAuth | None = None
    page: str = ""
    edits: bool = False
    image_command: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text in which the runner fills in `${{ }}`."""
        auth = (self.registry_auth.username, self.registry_auth.password) if self.registry_auth else ()
        return (self.script, *self.env.values(), *self.argv, *auth)


@dataclass(frozen=True)
class Artifact:
    """A saved artifact: `path` as the job declared it (normalised, without `./`), and the digest of its tree."""

    path: str
    tree: str
    files: int = 0
    size: int = 0


@dataclass(frozen=True)
class Offer:
    """A machine shape that a backend can give now. `price` is USD per hour, 0.0 for a machine that is there anyway.

    `zone`: the part of `region` that it would be in, where a region has parts. `disk`: bytes that it would come with.
    """

    backend: str
    name: str
    cpu: float
    memory: int
    gpu: Gpu | None = None
    spot: bool = False
    region: str | None = None
    price: float = 0.0
    zone: str | None = None
    disk: int | None = None

    @property
    def place(self) -> str | None:
        """Where the machine would be, as closely as it is known: its zone, else its region."""
        return self.zone or self.region


@dataclass(frozen=True)
class Bundle:
    """What a machine that is another computer starts from: a `.tar.gz` of the wheels of core and of the plugins that
    its runner needs, exactly those that are installed here, and of whatever they need.

    Attributes:
        url: where it can be had for an hour, by whoever knows the address.
        digest: SHA-256 of the archive, in hexadecimal digits: to be checked before anything of it is used.
        size: of the archive, in bytes.
    """

    url: str
    digest: str
    size: int


@dataclass(frozen=True)
class Launch:
    """What a backend needs to start a machine whose record is already in the store.

    Attributes:
        machine: the machine's id: random, also the idempotency token and the label that finds it again.
        run: the run that it is started for.
        argv: starts the runner, on a machine where this Python environment exists; elsewhere, `argv[0]` is the
            interpreter of the environment that was made from `bundle`.
        env: what the runner's environment must have in addition.
        bundle: for backends whose machines are other computers (`Backend.distant`).
        config: what is to be `config.yaml` in the dstack folder of such a machine. It holds no secret.
        lease: seconds after which such a machine ends itself unless its runner has extended its life.
        max_duration: seconds after which it ends itself in any case; None: none.
        report: where it may put (by HTTP, for an hour) what it said, if it ends without a runner's having worked.
        store: id of the artifact store that has the machine's record: a label, so that who has another store, and
            cannot see the record, leaves the machine alone.
    """

    machine: str
    run: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    bundle: Bundle | None = None
    config: str = ""
    lease: float = 600.0
    max_duration: float | None = None
    report: str | None = None
    store: str = ""


@dataclass(frozen=True)
class RunEvent:
    """A run began or ended. `status` is the run's status, e.g. `done`."""

    run: str
    workflow: str
    status: str
    time: float


@dataclass(frozen=True)
class JobEvent:
    """A job's status changed. `attempt` counts from 1; 0 for a job that is never tried (reused, skipped)."""

    run: str
    job: str
    status: str
    attempt: int
    time: float
    exit_code: int | None = None
