"""How soon a printed line is on an attached terminal, and what the follower costs while nothing is printed.

    python bench/terminal.py [--full] [--lines N] [--idle SECONDS]

The job prints its own clock, `dstack` writes to a terminal (a pty), and the reader of that notes when each line came.
On a busy machine part of the time is spent waiting for a processor: what a line takes from a plain program through a
pipe to such a terminal is measured, too.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from measure import DSTACK, Report, options, project, scratch

JOB = """
import sys, time
lines, pause, idle = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
time.sleep(1)
for _ in range(lines):
    print(f"at {time.time():.6f} at", flush=True)
    time.sleep(pause)
time.sleep(idle)
"""
STAMP = re.compile(rb"at (\d+\.\d+) at")


def watch(args: list[str], here: Path) -> tuple[list[float], float]:
    """Seconds that each line took to a pty, and processor seconds of the command."""
    leader, follower = os.openpty()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(args, cwd=here, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    delays: dict[bytes, float] = {}  # a line may be drawn more than once
    rest = b""
    while data := _read(leader):
        now = time.time()
        rest += data
        for stamp in STAMP.findall(rest):
            delays.setdefault(stamp, now - float(stamp))
        rest = rest[-80:]
    process.wait()
    os.close(leader)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return list(delays.values()), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 1 << 16)
    except OSError:  # nobody has the terminal open any more
        return b""


def workflow(lines: int, idle: float) -> str:
    """A job that prints `lines` lines, 0.23 s apart (which is no multiple of any pause between looks), then nothing."""
    return f"workflows:\n- {{name: talk, provider: bash, commands: ['python3 talk.py {lines} 0.23 {idle}']}}\n"


def tell(what: str, delays: list[float], lines: int, report: Report) -> None:
    """Half of the lines were sooner than the first figure, 99 of 100 sooner than the second."""
    assert len(delays) == lines, f"{len(delays)} of {lines} lines came"
    ordered = sorted(1000 * delay for delay in delays)
    median, late = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    report.row(f"a line to the terminal of {what}", median, 100, unit="ms", note=f"99 of 100: {late:.0f} ms")


def main() -> int:
    chosen = options(__doc__, lines=(60, 200, "lines"), idle=(20, 60, "seconds without output"))
    report = Report()
    with scratch() as folder:
        here = project(folder / "project", workflow(chosen.lines, 0))
        (here / "talk.py").write_text(JOB)
        piped = f"{sys.executable} talk.py {chosen.lines} 0.23 0 | cat"
        plain = sorted(watch(["bash", "-c", piped], here)[0])
        usual, most = (1000 * plain[place] for place in (len(plain) // 2, -1))
        report.note(f"a line of a plain program through a pipe: {usual:.0f} ms, at most {most:.0f} ms")
        tell("dstack run", watch([DSTACK, "run", "talk"], here)[0], chosen.lines, report)
        (here / "talk.py").write_text(JOB + "# again\n")
        run = subprocess.run([DSTACK, "run", "-d", "talk"], cwd=here, check=True, capture_output=True, text=True)
        name = re.findall(r"[a-z]+-[a-z]+-\d+", run.stdout + run.stderr)[0]
        tell("dstack logs -a", watch([DSTACK, "logs", "-a", name], here)[0], chosen.lines, report)

        costs = []
        for idle in (0, chosen.idle):
            here = project(folder / f"idle{idle}", workflow(0, idle))
            (here / "talk.py").write_text(JOB)
            costs.append(watch([DSTACK, "run", "talk"], here)[1])
        share = 100 * (costs[1] - costs[0]) / chosen.idle
        report.row("processor time of the follower while nothing is printed", share, 5, unit="%")
    return report.code


if __name__ == "__main__":
    sys.exit(main())
