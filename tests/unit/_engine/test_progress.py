"""Progress: followed change by change, it is what a look at everything would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dstack_core._engine.progress import Progress
from dstack_core._ledger.records import FINISHED, SUCCESS, WAITING

STATUSES = sorted(FINISHED | WAITING | {"downloading", "running", "uploading", "stopping", "aborting"})


@st.composite
def graphs(draw):
    deps = {}
    for n in range(draw(st.integers(0, 8))):
        earlier = sorted(deps)
        deps[f"j{n}"] = tuple(draw(st.lists(st.sampled_from(earlier), max_size=4))) if earlier else ()
    return deps


@st.composite
def histories(draw):
    """A graph and changes that the engine could record: a job leaves WAITING only when what it needs succeeded,
    or when it is skipped or told to end."""
    deps = draw(graphs())
    status = dict.fromkeys(deps, "submitted")
    changes = []
    for _ in range(draw(st.integers(0, 20)) if deps else 0):
        name = draw(st.sampled_from(sorted(deps)))
        if status[name] in FINISHED:
            new = draw(st.sampled_from(STATUSES))  # late news
            changes.append((name, new))
            continue
        startable = all(status[dep] in SUCCESS for dep in deps[name])
        new = draw(st.sampled_from(STATUSES if startable else ["skipped", "stopped", "aborted", "submitted"]))
        changes.append((name, new))
        status[name] = new
    return deps, changes


def naive(deps, status):
    ready = {n for n in deps if status[n] in WAITING and all(status[d] in SUCCESS for d in deps[n])}
    doomed = {n for n in deps if status[n] in WAITING and any(status[d] in FINISHED - SUCCESS for d in deps[n])}
    return ready, doomed, all(s in FINISHED for s in status.values())


@given(histories())
def test_is_what_a_look_at_everything_gives(history):
    deps, changes = history
    progress = Progress(deps, {})
    status = dict.fromkeys(deps, "submitted")
    for name, new in [("", ""), *changes]:
        if name:
            progress.set(name, new)
            status[name] = status[name] if status[name] in FINISHED else new
        ready, doomed, finished = naive(deps, status)
        assert progress.status == status
        assert set(progress.ready) == ready
        assert set(progress.doomed) == doomed
        assert all(status[cause] in FINISHED - SUCCESS and cause in deps[n] for n, cause in progress.doomed.items())
        assert progress.finished is finished
        assert list(progress.waiting) == [n for n in deps if status[n] in WAITING]


@given(histories(), st.randoms(use_true_random=False))
def test_starting_in_the_middle_is_the_same_in_whatever_order_records_are_read(history, random):
    deps, changes = history
    step = Progress(deps, {})
    for name, new in changes:
        step.set(name, new)
    read = list(step.status.items())
    random.shuffle(read)
    once = Progress(deps, dict(read))
    assert (once.status, set(once.ready), set(once.doomed)) == (step.status, set(step.ready), set(step.doomed))
    assert once.finished is step.finished


def outcome(*statuses):
    return Progress({str(n): () for n in range(len(statuses))}, {str(n): s for n, s in enumerate(statuses)}).outcome()


def test_the_worst_status_is_the_outcome():
    assert outcome("done", "reused") == "done"
    assert outcome("done", "stopped", "aborted", "failed", "skipped") == "failed"
    assert outcome("stopped", "aborted", "skipped") == "aborted"
    assert outcome("done", "stopped") == "stopped"
