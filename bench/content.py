"""Saving and restoring against `cp -r`, and a snapshot against `git status`: ratios, all in one run.

    python bench/content.py                                  # small, a few seconds
    python bench/content.py --files 100000 --large 4096 --tree 50000

`--files`: files of 1 KB; `--large`: MiB of one file; `--tree`: files of a git repository; `--sync`: `cp` is followed by
`sync`, as a store makes everything durable and `cp` alone nothing. Peak memory is of this process.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 3


def timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def make_small(folder: Path, count: int) -> None:
    for i in range(count):
        if i % 1000 == 0:
            (folder / f"{i // 1000}").mkdir(parents=True)
        (folder / f"{i // 1000}" / f"file-{i}.bin").write_bytes(os.urandom(1024))


def make_large(folder: Path, mib: int) -> None:
    folder.mkdir()
    with (folder / "large.bin").open("wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))


def copy(source: Path, target: Path, sync: bool) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)
    if sync:
        os.sync()


def trees(name: str, source: Path, work: Path, sync: bool) -> None:
    """Alternate `cp` with ours, and take the best of each: file systems have moods."""
    from dstack_local.store import FolderStore

    from dstack_core._content.tree import restore_tree, save_tree

    best: dict[str, float] = {}

    def take(what: str, seconds: float) -> None:
        best[what] = min(seconds, best.get(what, seconds))

    for i in range(ROUNDS):
        os.environ["DSTACK_HOME"] = str(work / f"home{i}")
        store = FolderStore({"path": str(work / "store")})
        digests: list[str] = []

        def save(store: FolderStore = store, digests: list[str] = digests) -> None:
            digests.append(save_tree(store, source).digest)

        os.sync()
        take("cp", timed(lambda: copy(source, work / "copy", sync)))
        os.sync()
        take("first", timed(save))
        take("again", timed(save))
        os.sync()
        take("restore", timed(lambda store=store, d=digests: restore_tree(store, d[0], work / "restored")))
        subprocess.run(["diff", "-r", source, work / "restored"], check=True)
        for folder in ("copy", "restored", "store", f"home{i}"):
            shutil.rmtree(work / folder)
    cp, first = best["cp"], best["first"]
    print(
        f"{name}: cp -r {cp:.2f} s; save {first / cp:.2f} x ({first:.2f} s), restore {best['restore'] / cp:.2f} x "
        f"({best['restore']:.2f} s); again {100 * best['again'] / first:.1f} % of it ({best['again']:.3f} s)"
    )


def snapshots(root: Path, count: int) -> None:
    from dstack_core._content.snapshot import scan_snapshot

    make_small(root, count)
    (root / ".gitignore").write_text("*.tmp\n")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["config", "gc.auto", "0"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *arguments], check=True)
    time.sleep(0.2)
    first = timed(lambda: scan_snapshot(root))
    scan_snapshot(root)
    status = min(
        timed(lambda: subprocess.run([*git, "status"], check=True, stdout=subprocess.DEVNULL)) for _ in range(5)
    )
    again = min(timed(lambda: scan_snapshot(root)) for _ in range(5))
    print(
        f"snapshot of {count} files: git status {status:.3f} s; unchanged {again / status:.2f} x ({again:.3f} s), "
        f"first {first / status:.2f} x ({first:.3f} s)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--large", type=int, default=64, help="MiB")
    parser.add_argument("--tree", type=int, default=2000)
    parser.add_argument("--sync", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dstack-bench-") as folder:
        work = Path(folder)
        os.environ["DSTACK_HOME"] = str(work / "home")
        if options.files:
            make_small(work / "small", options.files)
            trees(f"{options.files} files of 1 KB", work / "small", work, options.sync)
            shutil.rmtree(work / "small")
        if options.large:
            make_large(work / "large", options.large)
            trees(f"one file of {options.large} MiB", work / "large", work, options.sync)
            shutil.rmtree(work / "large")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB", file=sys.stdout)
        if options.tree:
            snapshots(work / "tree", options.tree)


if __name__ == "__main__":
    main()
