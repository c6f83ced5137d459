"""Logs come back byte for byte and once, whatever the store does; a gap is told from an end and from not yet."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._content import logs, logwriting
from dstack_core._content.logs import LogCursor, LogEntry, LogReader, LogWriter
from dstack_core.errors import InputError, StoreError


def output(entries: list[LogEntry], stream: str = "o") -> bytes:
    return b"".join(e.data for e in entries if e.stream == stream)


def everything(store, prefix: str = "logs/a") -> list[LogEntry]:
    return list(LogReader(store, prefix).read_all())


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(st.tuples(st.sampled_from("oe"), st.binary(max_size=300)), max_size=20),
    exit_code=st.one_of(st.none(), st.integers(0, 255)),
    limit=st.sampled_from([7, 64 * 1024]),
)
def test_any_bytes_come_back(growing_store, writes, exit_code, limit):
    growing_store.objects.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logwriting, "ENTRY_LIMIT", limit)
        writer = LogWriter(growing_store, "logs/a")
        for stream, data in writes:
            writer.write(stream, data)
        writer.close(exit_code)
    entries = everything(growing_store)
    for stream in "oe":
        assert output(entries, stream) == b"".join(d for s, d in writes if s == stream)
    assert [e.seq for e in entries] == list(range(len(entries)))
    assert entries[-1].stream == "x"
    assert entries[-1].data == (b"-" if exit_code is None else str(exit_code).encode())


def test_long_lines_all_values_and_characters_cut_in_two(log_store):
    writer = LogWriter(log_store, "logs/a")
    line = bytes(range(256)) * 4096
    snowman = "\u2603".encode()
    for data in (line, b"\r 10%", b"\r 20%", snowman[:1], snowman[1:], b"\x1b[31m", b"no newline"):
        writer.write("o", data)
    writer.close(0)
    entries = everything(log_store)
    assert output(entries) == line + b"\r 10%\r 20%" + snowman + b"\x1b[31mno newline"
    assert max(len(e.data) for e in entries) == logwriting.ENTRY_LIMIT


def test_output_is_there_before_the_end(log_store):
    writer = LogWriter(log_store, "logs/a")
    reader = LogReader(log_store, "logs/a")
    assert reader.read() == ([], LogCursor(), False)
    cursor = None
    for i in range(3):
        writer.write("o", b"%d\n" % i)
        seen = []

        def arrived(seen=seen) -> bool:
            nonlocal cursor
            batch = reader.read(cursor)
            cursor = LogCursor.parse(str(batch.cursor))
            seen += batch.entries
            assert not batch.ended
            return bool(seen)

        wait_for(arrived)
        assert output(seen) == b"%d\n" % i
    writer.close(3)
    batch = reader.read(cursor)
    assert batch.ended
    assert [(e.stream, e.data) for e in batch.entries] == [("x", b"3")]


def test_an_empty_log_costs_one_write_and_no_thread(growing_store, memory_store):
    for store in (growing_store, memory_store):
        before = threading.active_count()
        writer = LogWriter(store, "logs/a")
        assert threading.active_count() == before
        writer.close(0)
        assert len(store.calls) == 1
        writer.close(0)
        assert len(store.calls) == 1
        assert [e.stream for e in everything(store)] == ["x"]


def test_short_output_costs_one_write(growing_store):
    writer = LogWriter(growing_store, "logs/a")
    writer.write("o", b"hi\n")
    writer.close(0)
    assert len(growing_store.writes()) <= 2


def test_a_closed_log_takes_nothing(growing_store):
    writer = LogWriter(growing_store, "logs/a")
    with pytest.raises(ValueError, match="stream"):
        writer.write("x", b"0")
    writer.close(0)
    with pytest.raises(ValueError, match="closed"):
        writer.write("o", b"late")


def test_lines_can_be_found_with_grep(growing_store):
    writer = LogWriter(growing_store, "logs/a")
    writer.write("o", b"needle in a line\n")
    writer.close(1)
    (data,) = growing_store.objects.values()
    assert b"\nneedle in a line\n" in data
    assert data.endswith(b"x 1\n1\n")


@pytest.mark.parametrize("trouble", ["fail", "lost", "torn"])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_nothing_is_lost_or_doubled_when_the_store_fails(growing_store, memory_store, trouble, when):
    store = growing_store if trouble == "torn" or when == "later" else memory_store
    writer = LogWriter(store, "logs/a")
    if when == "later":
        writer.write("o", b"before\n")
        wait_for(lambda: store.objects)
    setattr(store, trouble, 2 if trouble == "fail" else 1)
    writer.write("o", b"during\n")
    writer.write("e", b"during, too\n")
    wait_for(lambda: not getattr(store, trouble))
    writer.write("o", b"after\n")
    writer.close(0)
    entries = everything(store)
    assert output(entries) == (b"before\n" if when == "later" else b"") + b"during\nafter\n"
    assert output(entries, "e") == b"during, too\n"
    assert [e.seq for e in entries] == list(range(len(entries)))


def test_much_output_waits_on_disk_while_the_store_is_down(growing_store, home):
    growing_store.fail = 10**9
    writer = LogWriter(growing_store, "logs/a")
    lines = [os.urandom(30_000) for _ in range(400)]
    for line in lines:
        writer.write("o", line)
    assert writer._waiting._recent_size <= 3 * logwriting._MEMORY
    growing_store.fail = 0
    writer.close(0)
    assert output(everything(growing_store)) == b"".join(lines)
    assert list(home.iterdir()) == [], "the file has no name"


def test_a_log_that_cannot_be_ended_says_so(growing_store):
    growing_store.fail = 10**9
    writer = LogWriter(growing_store, "logs/a")
    writer.write("o", b"x")
    with pytest.raises(StoreError, match="the store is down"):
        writer.close(0, timeout=0.3)


def test_many_threads_write(log_store):
    writer = LogWriter(log_store, "logs/a")

    def write(name: int) -> None:
        for i in range(500):
            writer.write("oe"[name % 2], b"<%d %d>" % (name, i))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    writer.close(0)
    entries = everything(log_store)
    assert [e.seq for e in entries] == list(range(3001))
    for name in range(6):
        mine = [e.data for e in entries if e.data.startswith(b"<%d " % name)]
        assert mine == [b"<%d %d>" % (name, i) for i in range(500)]
    assert [e.time for e in entries] == sorted(e.time for e in entries)


def segments(store) -> list[str]:
    return [info.key for info in store.list("logs/a/")]


def written(store, monkeypatch, lines: int = 60) -> list[LogEntry]:
    """A log of several segments."""
    monkeypatch.setattr(logwriting, "SEGMENT_LIMIT", 200)
    monkeypatch.setattr(logwriting._Segments, "delay", 0.01)
    writer = LogWriter(store, "logs/a")
    for i in range(lines):
        writer.write("o", b"line %03d\n" % i)
        if i % 10 == 9:
            line = b"line %03d" % i
            wait_for(lambda line=line: any(line in store.read(k).data for k in segments(store)))
    writer.close(0)
    assert len(segments(store)) >= 4
    return everything(store)


def test_a_log_of_many_segments_is_one_log(log_store, monkeypatch):
    entries = written(log_store, monkeypatch)
    assert output(entries) == b"".join(b"line %03d\n" % i for i in range(60))
    # From any place, in any steps.
    for start in range(0, len(entries), 7):
        cursor = LogCursor()
        monkeypatch.setattr(logs, "_AT_ONCE", 300)
        seen: list[LogEntry] = []
        reader = LogReader(log_store, "logs/a")
        while len(seen) < start:
            batch = reader.read(cursor)
            seen += batch.entries
            cursor = batch.cursor
        assert seen + list(reader.read_all(cursor)) == entries


def test_a_lost_segment_is_a_gap(log_store, monkeypatch):
    entries = written(log_store, monkeypatch)
    log_store.delete(segments(log_store)[1])
    found = everything(log_store)
    (gap,) = [e for e in found if e.stream == "gap"]
    lost = int(gap.data)
    assert lost >= 1
    assert found[: gap.seq] == entries[: gap.seq]
    assert found[gap.seq + 1 :] == entries[gap.seq + lost :]


def test_the_first_segment_is_lost(log_store, monkeypatch):
    written(log_store, monkeypatch)
    log_store.delete(segments(log_store)[0])
    found = everything(log_store)
    assert (found[0].stream, found[0].seq) == ("gap", 0)
    assert found[-1].stream == "x"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), value=st.integers(1, 255), seed=st.integers(0, 5))
def test_a_damaged_byte_costs_few_entries_and_is_told(growing_store, at, value, seed):
    chance = random.Random(seed)
    growing_store.objects.clear()
    writer = LogWriter(growing_store, "logs/a")
    for i in range(40):
        writer.write("o", b"%d " % i + chance.randbytes(chance.randrange(60)) + b"\n")
    writer.close(0)
    good = everything(growing_store)
    key = segments(growing_store)[0]
    data = growing_store.objects[key]
    at %= len(data) - 20  # the end marker itself may be the one that is hit: then the log has no end
    growing_store.objects[key] = data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]
    found = everything(growing_store)
    gaps = [e for e in found if e.stream == "gap"]
    kept = [e for e in found if e in good]
    assert len(kept) >= len(good) - 45
    if len(kept) < len(good) and found[-1].stream == "x":
        changed = [e for e in found if e not in good and e.stream != "gap"]
        assert gaps or changed


def test_what_is_not_there_yet_is_no_gap(growing_store):
    whole = LogWriter(growing_store, "logs/a")
    whole.write("o", b"first\n")
    whole.write("o", b"second\n")
    whole.close(0)
    key = segments(growing_store)[0]
    data = growing_store.objects[key]
    reader = LogReader(growing_store, "logs/a")
    for end in range(len(data)):
        growing_store.objects[key] = data[:end]
        batch = reader.read()
        assert not batch.ended
        assert all(e.stream == "o" for e in batch.entries)
        growing_store.objects[key] = data
        rest = reader.read(batch.cursor)
        assert rest.ended
        assert output(batch.entries + rest.entries) == b"first\nsecond\n"


def test_since(log_store, monkeypatch):
    clock = iter(range(10**12, 10**15, 1000))
    monkeypatch.setattr(logwriting.time, "time_ns", lambda: next(clock) * 1_000_000)
    entries = written(log_store, monkeypatch)
    monkeypatch.undo()
    reader = LogReader(log_store, "logs/a")
    for wanted in (0, entries[0].time, entries[17].time, entries[17].time + 1, entries[-1].time, 2 * 10**15):
        cursor = reader.start(wanted)
        found = list(reader.read_all(cursor, since=wanted))
        assert found == [e for e in entries if e.time >= wanted or e.stream == "x"]
    assert reader.start(entries[40].time).segment > 1


@pytest.mark.parametrize("token", ["", "1", "1.2", "0.0.0", "1.0.0.0", "a.b.c", "-1.0.0", "1.0.0\n", "\u0661.0.0"])
def test_a_token_that_is_none(token):
    with pytest.raises(InputError):
        LogCursor.parse(token)


WRITER = """
import sys, time
from dstack_core._content.logs import LogWriter
from dstack_local.store import FolderStore
writer = LogWriter(FolderStore({"path": sys.argv[1]}), "logs/a")
i = 0
while True:
    writer.write("o", b"%d\\n" % i)
    print(i, time.monotonic(), flush=True)
    i += 1
    time.sleep(0.001)
"""


def test_a_killed_writer_loses_its_last_second_at_most(tmp_path):
    local = pytest.importorskip("dstack_local.store")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        printed = [process.stdout.readline().split() for _ in range(1500)]
        process.kill()
        printed += [line.split() for line in process.stdout if len(line.split()) == 2]
    entries = everything(local.FolderStore({"path": str(tmp_path / "store")}))
    assert [int(e.data) for e in entries] == list(range(len(entries)))
    last = float(printed[-1][1])
    lost = [t for i, t in printed if int(i) >= len(entries)]
    assert all(last - float(t) <= 1.0 for t in lost)
    assert not any(e.stream == "x" for e in entries)


def test_what_was_sent_gives_its_room_on_disk_back(growing_store, monkeypatch):
    monkeypatch.setattr(logwriting, "_MEMORY", 1024)
    monkeypatch.setattr(logwriting, "_FILE", 8 * 1024)
    waiting = logwriting._Waiting()
    files = set()
    for i in range(1000):  # some of it waits all the time
        waiting.put(b"%01023d\n" % i)
        if i > 20:
            assert waiting.take()
        files.update(file for file, _, _ in waiting._groups)
    opened = [file for file in files if not file.closed]
    assert len(opened) < len(files)
    assert sum(os.fstat(file.fileno()).st_size for file in opened) < 100 * 1024
    while waiting.size:
        assert waiting.take()
    assert all(file.closed for file in files)


def test_what_cannot_be_read_back_is_a_gap_and_said(growing_store, monkeypatch):
    monkeypatch.setattr(logwriting, "_MEMORY", 1024)
    growing_store.fail = 10**9
    writer = LogWriter(growing_store, "logs/a")
    for i in range(20):
        writer.write("o", b"%d " % i * 100)
    file, _, _ = writer._waiting._groups[0]
    os.ftruncate(file.fileno(), 10)
    growing_store.fail = 0
    with pytest.raises(StoreError, match="is not there"):
        writer.close(0)
    entries = everything(growing_store)
    assert "gap" in [e.stream for e in entries]
    assert entries[-1].stream == "x"


def test_every_segment_is_made_durable(growing_store, monkeypatch):
    monkeypatch.setattr(logwriting, "SEGMENT_LIMIT", 1000)
    real = growing_store.append
    durable: dict[str, bool] = {}

    def append(key, data, offset, last=False):
        real(key, data, offset, last)
        durable[key] = last

    monkeypatch.setattr(growing_store, "append", append)
    writer = LogWriter(growing_store, "logs/a")
    for _ in range(5):
        writer.write("o", b"x" * 2000)
        wait_for(lambda: not writer._waiting.size)
    writer.close(0)
    assert len(durable) > 2
    assert all(durable.values())


def test_the_first_segment_goes_at_once_and_the_others_gather(store, monkeypatch):
    """Each is an object, and may cost money; but for the first people wait."""
    now = [1000.0]
    monkeypatch.setattr(logwriting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    sink = logwriting._Segments(store, "logs/a")
    assert sink.pause() == logwriting._SOON
    sink.send(b"0 0 o 3\nhi\n\n", False)
    assert sink.pause() == logwriting._LATER
    now[0] += 1000
    assert sink.pause() == logwriting._SOON
