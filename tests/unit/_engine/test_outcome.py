"""What the end of an attempt means for its job."""

import time
from dataclasses import replace

import pytest

from dstack_core._engine.outcome import INTERRUPTIONS, LONGEST_WAIT, Ending, after, attempts_allowed
from dstack_core._ledger.records import Attempt
from dstack_core.models import Retry


def attempts(*statuses):
    return [Attempt(n, "m", 0.0, status) for n, status in enumerate(statuses, 1)]


@pytest.mark.parametrize("status", ["done", "stopped", "aborted", "failed"])
def test_without_a_policy_the_ending_is_the_status(status):
    assert after(Ending(status, reason="so"), attempts(status), Retry()).status == status


def test_a_lost_machine_is_not_a_failure():
    for retry in (Retry(), Retry(attempts=3, on=("interrupted",)), Retry(attempts=1, on=("failed", "interrupted"))):
        following = after(Ending("interrupted", reason="gone"), attempts("interrupted"), retry)
        assert (following.status, following.reason, following.not_before) == ("interrupted", "gone", 0.0)


def test_a_lost_machine_is_a_failure_for_whoever_says_so():
    following = after(Ending("interrupted", reason="gone"), attempts("interrupted"), Retry(attempts=3, on=("failed",)))
    assert (following.status, following.reason) == ("failed", "gone, and `retry` is not for that")


def test_a_failure_is_not_tried_again_when_only_interruptions_are():
    retry = Retry(attempts=3, on=("interrupted",))
    assert after(Ending("failed", 1), attempts("failed"), retry).status == "failed"


def test_how_many_attempts_there_may_be():
    tried = attempts("interrupted", "failed")
    assert attempts_allowed(tried, Retry(attempts=3, on=("failed",))) == 4
    assert attempts_allowed(tried, Retry(attempts=3, on=("interrupted",))) is None
    assert attempts_allowed(tried, Retry()) is None


def test_lost_machines_do_not_use_up_retries():
    tried = attempts("interrupted", "failed", "interrupted", "failed")
    assert after(Ending("failed", 1), tried, Retry(attempts=3, on=("failed",))).status == "submitted"


def test_the_last_retry_fails():
    tried = attempts("failed", "failed", "failed")
    assert after(Ending("failed", 1, "exit code 1"), tried, Retry(attempts=3, on=("failed",))).status == "failed"


def test_backoff_doubles():
    retry = Retry(attempts=9, on=("failed",), backoff=100)
    first = after(Ending("failed", 1), attempts("failed"), retry).not_before - time.time()
    third = after(Ending("failed", 1), attempts("failed", "failed", "failed"), retry).not_before - time.time()
    assert 99 < first < 101
    assert 399 < third < 401
    lost = after(Ending("interrupted"), attempts("interrupted", "interrupted"), replace(retry, on=("interrupted",)))
    assert 199 < lost.not_before - time.time() < 201


@pytest.mark.parametrize(("backoff", "longest"), [(100.0, LONGEST_WAIT), (2 * LONGEST_WAIT, 2 * LONGEST_WAIT)])
def test_backoff_does_not_double_for_ever(backoff, longest):
    tried = attempts(*["failed"] * 99)
    wait = after(Ending("failed", 1), tried, Retry(100, ("failed",), backoff)).not_before - time.time()
    assert longest - 1 < wait < longest + 1


def test_machines_lost_for_ever_end_in_failure():
    following = after(Ending("interrupted"), attempts(*["interrupted"] * INTERRUPTIONS), Retry())
    assert following.status == "failed"
    assert "lost 10 times" in following.reason
