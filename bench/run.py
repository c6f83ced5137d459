"""What dstack adds to a job: one job from start to exit, a fan-out, a chain. Ratios to things measured in the same run.

python bench/run.py [--jobs 1000] [--chain 100] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(command: list[str], **options) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    return time.perf_counter() - started


def project(folder: Path, workflows: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ".dstack").mkdir(parents=True)
    (folder / ".dstack" / "workflows.yaml").write_text(workflows)
    (folder / "train.py").write_text("print('hello')\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def single(folder: Path, env: dict[str, str], rounds: int) -> None:
    """One `true` job, attached, to exit; interleaved with `import click`, of both the median."""
    here = project(folder, "workflows:\n- {name: noop, provider: bash, commands: ['true']}\n")
    dstack = [str(Path(sys.executable).with_name("dstack")), "run", "noop"]
    timed(dstack, cwd=here, env=env)
    pairs = [(timed(dstack, cwd=here, env=env), timed([sys.executable, "-c", "import click"])) for _ in range(rounds)]
    run, click = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"one `true` job, attached, to exit: {run * 1000:.0f} ms = {run / click:.1f} x `import click` "
        f"({click * 1000:.0f} ms); must be <= 8"
    )


def many(folder: Path, env: dict[str, str], count: int, chain: bool) -> None:
    """Jobs that do nothing, and the same commands in a plain bash loop."""

    def entry(number: int) -> str:
        dep = f", deps: [job{number - 1}]" if chain and number else ""
        return f"- {{name: job{number}, provider: bash, commands: ['true']{dep}}}\n"

    last = f"job{count - 1}" if chain else "all"
    everything = ", ".join(f"job{i}" for i in range(count))
    fan_in = "" if chain else f"- {{name: all, provider: bash, commands: ['true'], deps: [{everything}]}}\n"
    here = project(folder, "workflows:\n" + "".join(map(entry, range(count))) + fan_in)
    dstack = str(Path(sys.executable).with_name("dstack"))
    started = time.perf_counter()
    shown = subprocess.run([dstack, "run", last], cwd=here, env=env, check=True, capture_output=True, text=True)
    took = time.perf_counter() - started
    loop = timed(["bash", "-c", f"for i in $(seq {count}); do bash -e -c true; done"])
    per_job = (took - loop) / count * 1000
    print(
        f"{'chain' if chain else 'fan-out'} of {count} no-op jobs, from start to exit: {took:.2f} s "
        f"(bash loop {loop:.2f} s): {per_job:.1f} ms a job above the loop; must be <= 15, aim 5"
    )
    name = re.search(r"^(\S+-\S+-\d+)$", shown.stderr, re.MULTILINE)
    if name:
        print(f"   {name[1]}: peak memory of the runner {peak(env, name[1])}")


def peak(env: dict[str, str], run: str) -> str:
    """What the runner recorded of itself as it left."""
    (record,) = (Path(env["DSTACK_HOME"]) / "store" / "objects" / "machines" / run).glob("*.json")
    return f"{json.loads(record.read_bytes())['peak_memory'] / 1e6:.0f} MB (must be < 300)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--chain", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        env = {**os.environ, "DSTACK_HOME": f"{temporary}/home", "NO_COLOR": "1", "DSTACK_DISABLED_PLUGINS": "notify"}
        single(Path(temporary) / "single", env, arguments.rounds)
        many(Path(temporary) / "fan", env, arguments.jobs, chain=False)
        many(Path(temporary) / "chain", env, arguments.chain, chain=True)


if __name__ == "__main__":
    main()
