"""Traces on a real folder store: look-up, order, races, crashes, damage."""

import multiprocessing
import time
from dataclasses import replace

import pytest
from dstack_local.store import FolderStore
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dstack_core._ledger import traces
from dstack_core._ledger.keys import LONGEST, segment
from dstack_core._ledger.traces import Input, Trace, Watched
from dstack_core.errors import StoreError
from dstack_core.models import Artifact

TREE = Watched("tree", "c" * 64)
TRACE = Trace(
    "me/repo", "train", "k" * 64, {"env": {"LR": "0.1"}}, (Input("data", (Artifact("d", "1" * 64, 2, 3),)),), TREE,
    "5" * 64, (Artifact("model", "2" * 64),), "run-1", "train", "me", 1_700_000_000.0, 2.5,
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return FolderStore({"path": str(tmp_path / "store")})


def found(store, trace=TRACE, watched=None, now=None):
    """`now`: digests of paths that are not as they were."""

    def again(then):
        return replace(then, paths={path: (now or {}).get(path, digest) for path, digest in then.paths.items()})

    return list(traces.find(store, trace.repo, trace.workflow, trace.key, watched or trace.watched, again))


def at(seconds, **changes):
    return replace(TRACE, finished=TRACE.finished + seconds, **changes)


def test_recorded_is_found_and_is_the_latest(store):
    traces.record(store, TRACE)
    assert found(store) == [TRACE]
    assert traces.latest(store, "me/repo", "train") == TRACE
    assert traces.recorded(store, "me/repo") == {"train"}
    assert traces.recorded(store, "you/repo") == frozenset()


def test_recording_twice_changes_nothing(store):
    traces.record(store, TRACE)
    traces.record(store, TRACE)
    assert found(store) == [TRACE]


def test_newest_first_whatever_the_order_of_recording(store):
    recorded = [at(n, run=f"run-{n}") for n in (3, 1, 2, 0.001, -1e9, 5)]
    for trace in recorded:
        traces.record(store, trace)
    assert found(store) == sorted(recorded, key=lambda t: -t.finished)
    assert traces.latest(store, "me/repo", "train").run == "run-5"


@pytest.mark.parametrize("finished", [-1.0, 0.0, 1e300, 4e9])
def test_any_clock_gives_a_key(store, finished):
    trace = replace(TRACE, finished=finished)
    traces.record(store, trace)
    assert found(store) == [trace]


def test_other_keys_workflows_and_repositories_are_not_found(store):
    traces.record(store, TRACE)
    assert found(store, replace(TRACE, key="j" * 64)) == []
    assert found(store, replace(TRACE, workflow="trai")) == []
    assert found(store, replace(TRACE, repo="me")) == []
    assert traces.latest(store, "me/repo", "trai") is None


def test_ad_hoc_runs_are_nobodys_latest(store):
    trace = replace(TRACE, ad_hoc=True)
    traces.record(store, trace)
    assert found(store) == [trace]
    assert traces.latest(store, "me/repo", "train") is None


def test_only_traces_that_can_match_are_read(store):
    for n in range(30):
        traces.record(store, at(n, watched=Watched("tree", f"{n:064d}")))
    declared = Watched("paths", "", {"a.py": "f 1"})
    traces.record(store, at(40, watched=declared))
    reads = []

    class Counted:
        def __getattr__(self, name):
            return getattr(store, name)

        def read(self, key, *rest):
            reads.append(key)
            return store.read(key, *rest)

    wanted = Watched("tree", f"{7:064d}")
    assert [t.finished - TRACE.finished for t in found(Counted(), watched=wanted)] == [7, 40]
    assert len(reads) == 2, "that of equal code, and the one that recorded paths"
    first, *others = found(store, watched=declared)
    assert first.watched == declared
    assert len(others) == traces.MOST_OTHERS


def test_an_observed_state_is_found_however_old_it_is(store):
    states = [Watched("paths", "", {"a.py": f"f {n % 40}", "/": "x"}, observed=True) for n in range(80)]
    for n, watched in enumerate([*states, Watched("paths", "", {"b.py": "f 1"}, observed=True)]):
        traces.record(store, at(n, watched=watched, run=f"run-{n}"))
    seen = [trace.run for trace in found(store, watched=TREE, now={"a.py": "f 7"})]
    assert seen == ["run-80", "run-79", "run-47", "run-7"], "one of each set of paths, and those that are equal"


def test_the_trace_of_one_job(store):
    for n in range(3):
        traces.record(store, at(n, run=f"run-{n}"))
    assert traces.of_job(store, "me/repo", "train", TRACE.key, "run-1", "train") == at(1, run="run-1")
    assert traces.of_job(store, "me/repo", "train", TRACE.key, "run-1", "data") is None
    assert traces.of_job(store, "me/repo", "train", "j" * 64, "run-1", "train") is None


def test_a_clock_that_ran_ahead_does_not_hold_latest(store):
    ahead = replace(TRACE, finished=time.time() + 1e6, run="ahead")
    now = replace(TRACE, finished=time.time(), run="now")
    traces.record(store, ahead)
    traces.record(store, now)
    assert traces.latest(store, "me/repo", "train") == now
    traces.record(store, replace(TRACE, run="older"))
    assert traces.latest(store, "me/repo", "train") == now


def test_latest_does_not_mix_two_jobs(store):
    traces.record(store, TRACE)
    key = "latest/me%2Frepo/train"
    store.write(key, store.read(key).data.replace(b"{", b'{"colour":"red",', 1))
    traces.record(store, at(1))
    assert b"colour" not in store.read(key).data


@pytest.mark.parametrize("rubbish", [b"", b"{", b"null", b"[]", b"\xff", b'{"repo": 1}', b"[" * 100_000])
def test_damaged_objects_are_passed_over_and_replaced(store, rubbish):
    traces.record(store, TRACE)
    traces.record(store, at(1))
    newer = next(iter(store.list("traces/"))).key
    store.write(newer, rubbish)
    store.write("latest/me%2Frepo/train", rubbish)
    assert found(store) == [TRACE]
    assert traces.latest(store, "me/repo", "train") is None
    traces.record(store, at(-5))
    assert traces.latest(store, "me/repo", "train") == at(-5)


@settings(max_examples=25)
@given(data=st.binary(max_size=60))
def test_any_bytes_in_place_of_a_trace(tmp_path_factory, data):
    store = FolderStore({"path": str(tmp_path_factory.mktemp("s"))})
    traces.record(store, TRACE)
    for info in list(store.list("")):
        store.write(info.key, data)
    assert found(store) == []
    assert traces.latest(store, "me/repo", "train") is None


def test_a_trace_under_another_key_is_not_believed(store):
    traces.record(store, TRACE)
    (info,) = store.list("traces/")
    store.write(info.key.replace("k" * 64, "j" * 64), store.read(info.key).data)
    assert found(store, replace(TRACE, key="j" * 64)) == []


def test_a_newer_dstacks_latest_is_left_alone(store):
    traces.record(store, TRACE)
    key = "latest/me%2Frepo/train"
    theirs = store.read(key).data.replace(b'"format":1', b'"format":99')
    store.write(key, theirs)
    assert traces.latest(store, "me/repo", "train") is None
    traces.record(store, at(1))
    assert store.read(key).data == theirs
    assert len(found(store)) == 2


@pytest.mark.parametrize("fail_at", [0, 1])
def test_a_crash_between_the_writes_leaves_nothing_wrong(store, fail_at):
    traces.record(store, TRACE)
    writes = []

    class Failing:
        def __getattr__(self, name):
            return getattr(store, name)

        def write(self, *args):
            if len(writes) == fail_at:
                raise StoreError("gone")
            writes.append(args)
            return store.write(*args)

    with pytest.raises(StoreError):
        traces.record(Failing(), at(1, run="second"))
    assert traces.latest(store, "me/repo", "train") == TRACE
    assert len(found(store)) == 1 + fail_at
    traces.record(store, at(1, run="second"))
    assert traces.latest(store, "me/repo", "train").run == "second"
    assert len(found(store)) == 2


def _record_many(path, worker, start):
    store = FolderStore({"path": path})
    start.wait()
    for n in range(10):
        # Interleaved times, each worker's own order mixed, so that "last writer wins" would be wrong.
        traces.record(store, at((n * 7 % 10) * 8 + worker, run=f"run-{worker}-{n}"))


def test_latest_is_the_newest_after_a_race_of_8_processes(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(8)
    workers = [spawn.Process(target=_record_many, args=(str(tmp_path / "s"), n, start)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    store = FolderStore({"path": str(tmp_path / "s")})
    recorded = found(store)
    assert len(recorded) == 80
    assert traces.latest(store, "me/repo", "train") == recorded[0] == max(recorded, key=lambda t: t.finished)


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
@example(["", "="])
@example([".", ".."])
@example(["\ud800", "a/../b"])
@example(["ä" * 100, "ä" * 101])
def test_segments_are_valid_and_differ(texts):
    one, two = map(segment, texts)
    assert one != two
    for text in (one, two):
        assert 1 <= len(text) <= LONGEST
        assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-%=")


def test_the_longest_key_fits(store):
    long = replace(TRACE, repo="ä" * 300, workflow="ö" * 300, run="ü" * 300, job="\n" * 300, key="f" * 64)
    traces.record(store, long)
    assert found(store, long) == [long]
    assert max(len(info.key) for info in store.list("")) <= 512
