"""From `dstack run -d` of a JupyterLab to the page, where others have started it before, beside a bare `jupyter lab`.

Both use one installation, which is made by the first start here, unmeasured: it takes half a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from measure import DSTACK, Report, options, project, ratio, scratch, timed

LIMIT = 3.0
WORKFLOWS = "workflows:\n- {name: ide, provider: lab}\n"
BARE = """import sys
sys.path.insert(0, sys.argv.pop(1))
from jupyterlab.labapp import main
main()"""


def page(url: str) -> None:
    """Until it is there, whole."""
    while True:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(url, timeout=60) as answer,
        ):
            assert b"jupyter-config-data" in answer.read()
            return


class Dstack:
    """Starts and ends environments of a project."""

    def __init__(self, folder: Path) -> None:
        self._folder = project(folder, WORKFLOWS)

    def start(self) -> None:
        self._dstack("run", "-d", "ide")
        (newest, *_) = json.loads(self._dstack("ps", "--json"))
        self._run = newest["run"]
        page(self._dstack("open", "--no-browser", self._run).strip())

    def stop(self) -> None:
        self._dstack("stop", "--abort", "-y", self._run)

    def _dstack(self, *arguments: str) -> str:
        return subprocess.run([DSTACK, *arguments], cwd=self._folder, check=True, capture_output=True, text=True).stdout


class Bare:
    """`jupyter lab` by hand, in the same folder that dstack's jobs have it in."""

    def __init__(self, folder: Path, home: Path) -> None:
        (packages,) = (path for path in (home / "cache" / "jobs").glob("jupyterlab-*") if path.is_dir())
        folder.mkdir()
        share = packages / "share" / "jupyter"
        self._folder = folder
        self._packages = str(packages)
        self._env = {**os.environ, "JUPYTER_PATH": str(share), "JUPYTERLAB_DIR": str(share / "lab"),
                     "JUPYTER_CONFIG_PATH": str(packages / "etc" / "jupyter"), "JUPYTER_CONFIG_DIR": str(folder),
                     "JUPYTER_DATA_DIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder)}  # fmt: skip

    def start(self) -> None:
        command = [sys.executable, "-c", BARE, self._packages, "--no-browser", "--allow-root", "--port=0"]
        self._server = subprocess.Popen(
            command, cwd=self._folder, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self._server.stderr
        for line in self._server.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line):
                page(found.group(0))
                return
        raise RuntimeError("jupyter lab did not start")

    def stop(self) -> None:
        assert self._server.stderr
        self._server.terminate()
        self._server.stderr.read()
        self._server.wait()


def main() -> int:
    chosen = options(__doc__, rounds=(3, 7, "starts of each"))
    report = Report()
    with scratch() as folder:
        ours = Dstack(folder / "project")
        ours.start()  # installs it
        ours.stop()
        bare = Bare(folder / "bare", folder / "home")
        ends = {"dstack": ours.stop, "bare": bare.stop}
        times: dict[str, list[float]] = {}
        starts = {"dstack": ours.start, "bare": bare.start}
        for number in range(chosen.rounds + 1):
            for name, start in starts.items():
                took = timed(start)
                ends[name]()
                if number:  # the first is for the caches of the disk
                    times.setdefault(name, []).append(took)
        median, least = ratio(times, "dstack", "bare")
        seconds = {name: sorted(took)[len(took) // 2] for name, took in times.items()}
        note = f"{seconds['dstack']:.2f} s, {seconds['bare']:.2f} s; by minima {least:.2f} x"
        report.row("dstack run -d ide to the page / jupyter lab to the page", median, LIMIT, note=note)
    return report.code


if __name__ == "__main__":
    sys.exit(main())
