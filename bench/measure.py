"""What the scripts of this folder share: timing by turns, scratch projects, and figures with their limits.

The machine that measures may be busy with other things, so nothing here is a time alone. Whatever is compared is timed
by turns in one run, which slows all of it alike, and medians are compared. `Spent.cpu` counts what the processors did
for a command, also in the runner that it left behind; that is much the same on a busy machine.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

DSTACK = str(Path(sys.executable).with_name("dstack"))
IMPORT_CLICK = [sys.executable, "-c", "import click"]
"""The unit of start-up: what every program with a command line made with click takes at least."""

_PASSING = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPROFILEIMPORTTIME")
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def options(doc: str | None, **sizes: tuple[int, int, str]) -> argparse.Namespace:
    """The command line: `--full`, and one option for each of `sizes`: by default, with `--full`, and what it is."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="at the sizes that the limits are about; takes minutes")
    for name, (usual, full, what) in sizes.items():
        parser.add_argument(f"--{name}", type=int, help=f"{what} (default: {usual:,}; with --full: {full:,})")
    chosen = parser.parse_args()
    for name, (usual, full, _) in sizes.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, full if chosen.full else usual)
    return chosen


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes at the end, and with it the `$DSTACK_HOME` of everything that is started meanwhile."""
    with tempfile.TemporaryDirectory(prefix="dstack-bench-") as folder:
        os.environ["DSTACK_HOME"] = f"{folder}/home"
        os.environ["NO_COLOR"] = "1"
        os.environ["DSTACK_DISABLED_PLUGINS"] = "notify"  # it may be installed here, and users choose it
        for name in _PASSING:  # nobody's start is slowed down by such a variable in everyday life
            os.environ.pop(name, None)
        yield Path(folder)


def project(folder: Path, workflows: str) -> Path:
    """A new repository with these workflows."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ".dstack").mkdir(parents=True)
    (folder / ".dstack" / "workflows.yaml").write_text(workflows)
    (folder / "train.py").write_text("print('hello')\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def command(args: Sequence[str | Path], cwd: Path | None = None, **environ: str) -> Callable[[], object]:
    """Runs a command that must succeed, its output thrown away."""
    env = {**os.environ, **environ} if environ else None
    quiet = subprocess.DEVNULL
    return lambda: subprocess.run(args, check=True, cwd=cwd, env=env, stdout=quiet, stderr=quiet, stdin=quiet)


def by_turns(rounds: int, acts: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each, by name; all are done once before, unmeasured."""
    for act in acts.values():
        act()
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            times[name].append(timed(act))
    return times


def ratio(times: Mapping[str, Sequence[float]], name: str, unit: str) -> tuple[float, float]:
    """How much longer one took than the other: by medians, by minima."""
    ours, theirs = times[name], times[unit]
    return statistics.median(ours) / statistics.median(theirs), min(ours) / min(theirs)


class Spent(NamedTuple):
    """Seconds on the clock, and of processor time."""

    wall: float
    cpu: float

    def __sub__(self, other: object) -> Spent:
        assert isinstance(other, Spent)
        return Spent(self.wall - other.wall, self.cpu - other.cpu)


def spent(act: Callable[[], object]) -> Spent:
    """What `act` takes until it returns, and all processes that it leaves behind (a runner) take until they end."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)  # without it (not Linux), what is left behind is not counted
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = timed(act)
    while _reap():
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _reap() -> bool:
    try:
        return os.wait() is not None
    except ChildProcessError:
        return False


class Report:
    """Prints figures as they come; `code` is the exit code: 1 when one was above its limit."""

    def __init__(self) -> None:
        self.code = 0

    def row(self, what: str, value: float, limit: float, *, unit: str = "x", note: str = "") -> None:
        """A figure, and what it must not exceed."""
        self.code |= value > limit
        verdict = "ok" if value <= limit else "ABOVE"
        shown, bound = (f"{number:.3g} {unit}" for number in (value, limit))
        print(f"{what:<64} {shown:>10}  <= {bound:<8} {verdict:<6} {note}".rstrip(), flush=True)

    def note(self, text: str) -> None:
        """Something that has no limit."""
        print(text, flush=True)


def run_python(code: str, *args: Any) -> str:
    """What a Python program of its own prints; `args` are its `sys.argv[1:]`."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
