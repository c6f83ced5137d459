"""Saving and restoring artifacts against `cp -r`; a snapshot of a git tree against `git status`.

    python bench/content.py [--full] [--files N] [--large MIB] [--tree N] [--rounds N]

Each save and restore is a process of its own, whose peak memory is measured, too. `cp -r` leaves what it wrote in
memory, for the system to write out some time; a save has it on the disk when it returns (`cp -r` and `sync`: in the
notes).
"""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from measure import DSTACK, Report, by_turns, command, options, project, run_python, scratch, timed

TRANSFER = """
import re, sys, time
from pathlib import Path
from dstack_core._content.tree import restore_tree, save_tree
from dstack_local.store import FolderStore

act, store, place, digest = sys.argv[1:]
start = time.perf_counter()
if act == "save":
    digest = save_tree(FolderStore({"path": store}), Path(place)).digest
else:
    restore_tree(FolderStore({"path": store}), digest, Path(place))
took = time.perf_counter() - start
# Not what `getrusage` says: that is also about the process which this one was forked from.
peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]
print(took, int(peak) / 1024, digest)
"""
ROWS = {"save": "saving", "restore": "restoring"}


class Transferred(NamedTuple):
    """Seconds, MiB at most, and the tree."""

    seconds: float
    peak: float
    digest: str


def transfer(act: str, store: Path, place: Path, digest: str = "") -> Transferred:
    """Save or restore, in a process of its own."""
    seconds, peak, digest = run_python(TRANSFER, act, store, place, digest).split()
    return Transferred(float(seconds), float(peak), digest)


def make_small(folder: Path, count: int) -> None:
    """Files of 1 KB, a thousand in each folder."""
    for i in range(count):
        if i % 1000 == 0:
            (folder / f"{i // 1000}").mkdir(parents=True)
        (folder / f"{i // 1000}" / f"file-{i}.bin").write_bytes(os.urandom(1024))


def make_large(folder: Path, mib: int) -> None:
    """One file."""
    folder.mkdir()
    with (folder / "large.bin").open("wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))


def have_memory(size: int) -> None:
    """So many bytes of it, just freed, for whoever is measured next: the host of a virtual machine takes back what
    lies free, and whoever touches that first waits for it, three times as long as the copy itself."""
    take = "import mmap, sys; mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_POPULATE)"
    run_python(take, str(min(size, os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 2)))


def copy(source: Path, target: Path) -> float:
    """`cp -r`; seconds."""
    return timed(command(["cp", "-r", source, target]))


def trees(name: str, source: Path, work: Path, rounds: int, report: Report) -> None:
    """`cp -r` and ours by turns; everything that was written is on the disk before the next one starts."""
    times: dict[str, list[float]] = {}
    peaks = {"save": 0.0, "restore": 0.0}
    size = sum(file.stat().st_size for file in source.rglob("*")) + (64 << 20)

    def note(what: str, seconds: float) -> None:
        times.setdefault(what, []).append(seconds)
        os.sync()

    def ours(act: str, what: str, place: Path, digest: str = "") -> str:
        have_memory(size)
        done = transfer(act, work / "store", place, digest)
        peaks[act] = max(peaks[act], done.peak)
        note(what, done.seconds)
        return done.digest

    def cp() -> None:
        os.sync()
        have_memory(size)
        copied = copy(source, work / "copy")
        synced = timed(os.sync)
        note("cp", copied)
        note("cp and sync", copied + synced)
        shutil.rmtree(work / "copy")
        os.sync()

    for number in range(rounds):
        os.environ["DSTACK_HOME"] = str(work / "home")
        cp()
        digest = ours("save", "save", source)
        ours("save", "again", source)
        cp()
        ours("restore", "restore", work / "restored", digest)
        ours("save", "elsewhere", work / "restored")
        if number == 0:
            subprocess.run(["diff", "-r", source, work / "restored"], check=True)
        for folder in ("restored", "store", "home"):
            shutil.rmtree(work / folder)
    middle = {what: statistics.median(taken) for what, taken in times.items()}
    for act, doing in ROWS.items():
        minima = min(times[act]) / min(times["cp"])
        note_ = (
            f"{middle[act]:.2f} s, minima {minima:.2f} x; {middle[act] / middle['cp and sync']:.2f} x `cp -r` and sync"
        )
        report.row(f"{doing} {name} / cp -r", middle[act] / middle["cp"], 1.5, note=note_)
        report.row("  peak memory", peaks[act], 256, unit="MiB")
    report.row("  saving it again, same folder / first", 100 * middle["again"] / middle["save"], 5, unit="%")
    elsewhere = 100 * middle["elsewhere"] / middle["save"]
    report.note(f"  the same content from a new folder, which has to be read: {elsewhere:.0f} % of the first")


def uploads(name: str, source: Path, work: Path, report: Report) -> None:
    """As a user does it: `dstack tags add -a PATH`, twice, from start to exit."""
    here = project(work / "project", "workflows: []\n")
    tag = command([DSTACK, "tags", "add", "-f", "data", "-a", source], here)
    first, again = timed(tag), timed(tag)
    report.row(f"dstack tags add -a, twice, {name}: second / first", 100 * again / first, 5, unit="%")
    shutil.rmtree(work / "home")


def snapshots(root: Path, count: int, rounds: int, report: Report) -> None:
    """The second look, and those after it."""
    from dstack_core._content.snapshot import scan_snapshot

    make_small(root, count)
    (root / ".gitignore").write_text("*.tmp\n")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["config", "gc.auto", "0"], ["add", "."], ["commit", "-qm", "all"], ["status"]):
        subprocess.run([*git, *arguments], check=True, stdout=subprocess.DEVNULL)
    first = timed(lambda: scan_snapshot(root))
    acts: dict[str, Callable[[], object]] = {"status": command([*git, "status"]), "scan": lambda: scan_snapshot(root)}
    times = by_turns(rounds, acts)
    status, again = (statistics.median(times[name]) for name in acts)
    minima = min(times["scan"]) / min(times["status"])
    note = f"{again:.3f} s, minima {minima:.2f} x; the first look {first / status:.1f} x"
    report.row(f"snapshot of {count:,} unchanged files / git status", again / status, 2, note=note)


def main() -> int:
    chosen = options(
        __doc__,
        files=(5_000, 100_000, "files of 1 KB"),
        large=(256, 4096, "MiB of one file"),
        tree=(10_000, 50_000, "files of a git repository"),
        rounds=(3, 5, "rounds"),
    )
    report = Report()
    with scratch() as work:
        if chosen.tree:
            snapshots(work / "tree", chosen.tree, 3 * chosen.rounds, report)
            shutil.rmtree(work / "tree")
        for name, size, make in (
            (f"{chosen.files:,} files of 1 KB", chosen.files, make_small),
            (f"one file of {chosen.large:,} MiB", chosen.large, make_large),
        ):
            if size:
                make(work / "source", size)
                trees(name, work / "source", work, chosen.rounds, report)
                uploads(name, work / "source", work, report)
                shutil.rmtree(work / "source")
    return report.code


if __name__ == "__main__":
    sys.exit(main())
