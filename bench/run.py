"""What dstack adds to a job: one job from start to exit, a fan-out, a chain.

    python bench/run.py [--full] [--jobs N] [--chain N] [--rounds N]

A fan-out or a chain is compared with the same commands in a plain bash loop. Beside it stands what the disk alone
takes for what a job has to leave on it: its claim, log, end, trace, and the copy of its trace. A disk that takes 4 ms
for a file that survives a power cut allows no chain of 15 ms a job.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure import DSTACK, IMPORT_CLICK, Report, by_turns, command, options, project, ratio, scratch, spent, timed

RECORDS = 5
"""Durable writes that a job costs."""
LOOK = 20
"""Jobs' worth of them that are timed in each round."""


def single(folder: Path, rounds: int, report: Report) -> None:
    """One `true` job, attached, to exit."""
    here = project(folder, "workflows:\n- {name: noop, provider: bash, commands: ['true']}\n")
    times = by_turns(rounds, {"run": command([DSTACK, "run", "noop"], here), "click": command(IMPORT_CLICK)})
    medians, minima = ratio(times, "run", "click")
    report.row("one `true` job, attached, from start to exit / import click", medians, 8, note=f"minima {minima:.1f} x")


def many(folder: Path, count: int, chain: bool, rounds: int, report: Report) -> None:
    """Jobs that do nothing: the median of so many runs, each beside a loop."""

    def entry(number: int) -> str:
        dep = f", deps: [job{number - 1}]" if chain and number else ""
        return f"- {{name: job{number}, provider: bash, commands: ['true']{dep}}}\n"

    last = f"job{count - 1}" if chain else "all"
    everything = ", ".join(f"job{i}" for i in range(count))
    fan_in = "" if chain else f"- {{name: all, provider: bash, commands: ['true'], deps: [{everything}]}}\n"
    here = project(folder, "workflows:\n" + "".join(map(entry, range(count))) + fan_in)
    run = command([DSTACK, "run", "--force", last], here)
    loop = command(["bash", "-c", f"for i in $(seq {count}); do bash -e -c true; done"])
    above, disk = [], []
    for _ in range(rounds):
        above.append(spent(run) - spent(loop))
        disk.append(1000 * timed(lambda: leave_on_disk(folder.parent / "disk", RECORDS * LOOK)) / LOOK)
    wall, cpu = (1000 * statistics.median(seconds) / count for seconds in zip(*above, strict=True))
    what = "chain" if chain else "fan-out"
    best = 1000 * min(seconds[0] for seconds in above) / count
    note = f"median of {rounds}, best {best:.1f} ms; processor time {cpu:.1f} ms a job above the loop's"
    note += f"; the disk alone {statistics.median(disk):.1f} ms"
    report.row(f"{what} of {count:,}, a job above a bash loop (aim: 5 ms)", wall, 15, unit="ms", note=note)
    report.row("  its runner's peak memory", peak(folder), 300, unit="MB")


def leave_on_disk(folder: Path, count: int) -> None:
    """So many small files, each whole on the disk before the next: written, synced, renamed, its folder synced."""
    folder.mkdir(exist_ok=True)
    place = os.open(folder, os.O_RDONLY)
    for number in range(count):
        with open(folder / "draft", "wb") as draft:
            draft.write(b"x" * 1000)
            draft.flush()
            os.fsync(draft.fileno())
            os.rename(folder / "draft", folder / str(number))
        os.fsync(place)
    os.close(place)


def peak(folder: Path) -> float:
    """What the runner recorded of itself as it left, megabytes."""
    shown = subprocess.run([DSTACK, "ps", "--json"], cwd=folder, check=True, stdout=subprocess.PIPE)
    (run,) = json.loads(shown.stdout)
    (record,) = (Path(os.environ["DSTACK_HOME"]) / "store" / "objects" / "machines" / run["run"]).glob("*.json")
    return float(json.loads(record.read_bytes())["peak_memory"]) / 1e6


def main() -> int:
    chosen = options(
        __doc__, jobs=(1000, 1000, "jobs side by side"), chain=(100, 100, "jobs in a row"), rounds=(7, 15, "rounds")
    )
    report = Report()
    with scratch() as folder:
        single(folder / "single", chosen.rounds, report)
        many(folder / "fan", chosen.jobs, False, 3, report)
        many(folder / "chain", chosen.chain, True, 7, report)
    return report.code


if __name__ == "__main__":
    sys.exit(main())
