"""`dstack ps` with many finished runs in the store, as a multiple of the same with none.

python bench/ps.py [--full] [--runs N] [--rounds N]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from unittest import mock

from measure import DSTACK, Report, by_turns, command, options, project, ratio, scratch


def fill(home: Path, repo: str, count: int) -> None:
    """Runs that finished, recorded as a run is; but nobody waits for the disk each time."""
    from dstack_local.store import FolderStore

    from dstack_core._ledger.records import RunRecord
    from dstack_core._ledger.runs import create_run, finish_run

    store = FolderStore({"path": str(home / "store")})
    now = time.time()
    with mock.patch("os.fsync"):
        for number in range(count):
            moment = now - 60 * (count - number)
            draft = RunRecord("", repo, "bench", f"train-{number % 20}", "0" * 64, moment, "local", branch="main")
            finish_run(store, create_run(store, draft).value.name, "done", 0, moment + 5)
    os.sync()


def main() -> int:
    chosen = options(__doc__, runs=(10_000, 10_000, "finished runs"), rounds=(15, 31, "rounds"))
    report = Report()
    with scratch() as folder:
        here = project(folder / "project", "workflows: []\n")
        (here / ".git" / "config").write_text('[remote "origin"]\n  url = https://example.org/bench/repo.git\n')
        fill(folder / "many", "bench/repo", chosen.runs)
        acts = {
            f"ps{last} {case}": command([DSTACK, "ps", *last.split()], here, DSTACK_HOME=str(folder / case))
            for case in ("none", "many")
            for last in ("", " -n 20")
        }
        times = by_turns(chosen.rounds, acts)
        for last in ("", " -n 20"):
            medians, minima = ratio(times, f"ps{last} many", f"ps{last} none")
            what = f"dstack ps{last}, {chosen.runs:,} finished runs / none"
            report.row(
                what, medians, 1.5, note=f"minima {minima:.2f} x ({min(times[f'ps{last} none']):.3f} s with none)"
            )
    return report.code


if __name__ == "__main__":
    sys.exit(main())
