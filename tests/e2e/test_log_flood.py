"""Much output, odd output, a store that is away for a while: every byte arrives, once, in order, in little memory."""

from __future__ import annotations

from dstack_core._content.logs import LogReader
from dstack_core._ledger.runs import log_prefix

FLOOD = """
import os, sys
def out(data, to=1):
    while data:
        data = data[os.write(to, data):]
out(b"".join(b"line %d\\n" % i for i in range(200_000)))
out(b"x" * 1_000_000)  # one line, and no end of it
for percent in range(100):
    out(b"\\r%3d %%" % percent)
out(bytes(range(256)) * 100)
for byte in "\\u2603\\U0001f600".encode():
    out(bytes([byte]))
out(b"\\x1b[2J\\n")
out(b"err\\n" * 1000, to=2)
"""


def expected():
    lines = b"".join(b"line %d\n" % i for i in range(200_000)) + b"x" * 1_000_000
    bars = b"".join(b"\r%3d %%" % percent for percent in range(100))
    return lines + bars + bytes(range(256)) * 100 + "\u2603\U0001f600".encode() + b"\x1b[2J\n"


def test_every_byte_arrives_once_and_in_order(project):
    project.write("flood.py", FLOOD)
    project.workflows(f"- {{name: work, provider: bash, commands: ['{project.gate('g')}', 'python flood.py']}}")
    away = project.faults("runner", at=8, file=project.folder / "changes", **{"raise": "away"})
    project.dstack("run", "work", "-d", env=away)
    project.reached("g")
    run = project.run()
    viewers = []
    for number in range(2):
        with open(project.folder / f"seen{number}", "wb") as file:
            viewers.append(project.start("logs", "-a", run, to=file))
    project.open("g")
    assert project.finished(run).run.status == "done"
    entries = list(LogReader(project.store, log_prefix(run, "work", 1)).read_all())
    assert b"".join(entry.data for entry in entries if entry.stream == "o") == expected()
    assert b"".join(entry.data for entry in entries if entry.stream == "e") == b"err\n" * 1000
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    for number, viewer in enumerate(viewers):
        project.end(viewer)
        assert (project.folder / f"seen{number}").read_bytes().replace(b"err\n", b"") == expected()
    changes = (project.folder / "changes").stat().st_size
    assert changes > 8 + 5, "the store was never away"
    project.wait_for(lambda: project.machines(run)[0].peak_memory, "the machine to end")
    assert project.machines(run)[0].peak_memory < 200 << 20
