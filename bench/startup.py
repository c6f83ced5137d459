"""How long `dstack` takes to start, with 20 more plugins installed, as a multiple of `python -c "import click"`.

    python bench/startup.py [rounds]

Prints one line a command: the ratio of medians, and of minima. The commands are timed by turns, so that a busy
machine slows all of them alike. Exits with 1 when a ratio of medians is above 3.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGINS = 20
LIMIT = 3.0
SOURCE = """
from dstack_core.hookspecs import Entry, hookimpl

@hookimpl
def dstack_providers():
    return [Entry("{name}", "A provider", dict)]
"""


def install(folder: Path) -> None:
    """Fake distributions with one provider each."""
    for number in range(PLUGINS):
        name = f"extra{number}"
        info = folder / f"dstack_{name}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: dstack-{name}\nVersion: 1.0\nRequires-Dist: dstack-core<99,>=0.1\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[dstack.plugins]\n{name} = dstack_{name}\n")
        (folder / f"dstack_{name}.py").write_text(SOURCE.format(name=name))


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as root:
        site = Path(root) / "site"
        site.mkdir()
        install(site)
        environ = {**os.environ, "PYTHONPATH": str(site), "DSTACK_HOME": f"{root}/home"}
        dstack = [str(Path(sys.executable).parent / "dstack")]
        commands = {"import click": [sys.executable, "-c", "import click"]}
        for args in (["--help"], ["ps"], ["run", "--help"], ["plugins"]):
            # `plugins` last and untimed: it fills the catalog, as on a machine that is in use.
            done = subprocess.run([*dstack, *args], env=environ, capture_output=True, cwd=root)
            if done.returncode == 0 and args != ["plugins"]:
                commands["dstack " + " ".join(args)] = [*dstack, *args]
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True, cwd=root)
                times[name].append(time.perf_counter() - start)
    unit = times.pop("import click")
    print(f"import click: median {statistics.median(unit) * 1000:.0f} ms, {PLUGINS} extra plugins, {rounds} rounds")
    worst = 0.0
    for name, taken in times.items():
        ratio = statistics.median(taken) / statistics.median(unit)
        worst = max(worst, ratio)
        print(f"{name}: {ratio:.2f} x (of minima: {min(taken) / min(unit):.2f} x)")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
