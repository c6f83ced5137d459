"""How long `dstack` takes to start, with 20 more plugins installed, as a multiple of `python -c "import click"`.

python bench/startup.py [--full] [--rounds N]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure import DSTACK, IMPORT_CLICK, Report, by_turns, command, options, ratio, scratch

PLUGINS = 20
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
    chosen = options(__doc__, rounds=(15, 31, "rounds"))
    report = Report()
    with scratch() as root:
        site = root / "site"
        site.mkdir()
        install(site)
        os.environ["PYTHONPATH"] = str(site)
        # Fills the catalog, as on a machine that is in use.
        subprocess.run([DSTACK, "plugins"], check=True, stdout=subprocess.DEVNULL, cwd=root)
        commands = [["--help"], ["ps"], ["run", "--help"]]
        acts = {" ".join(args): command([DSTACK, *args], root) for args in commands}
        times = by_turns(chosen.rounds, {"click": command(IMPORT_CLICK, root), **acts})
    report.note(f"import click: {statistics.median(times['click']) * 1000:.0f} ms; {PLUGINS} extra plugins")
    for name in acts:
        medians, minima = ratio(times, name, "click")
        report.row(f"dstack {name} / import click (aim: 2 x)", medians, 3, note=f"minima {minima:.2f} x")
    return report.code


if __name__ == "__main__":
    sys.exit(main())
