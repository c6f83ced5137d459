"""What the end of an attempt means for its job."""

import time

import pytest

from dstack_core._engine.outcome import INTERRUPTIONS, Ending, after
from dstack_core._ledger.records import Attempt
from dstack_core.models import Retry


def attempts(*statuses):
    return [Attempt(n, "m", 0.0, status) for n, status in enumerate(statuses, 1)]


@pytest.mark.parametrize("status", ["done", "stopped", "aborted", "failed"])
def test_without_a_policy_the_ending_is_the_status(status):
    assert after(Ending(status, reason="so"), attempts(status), Retry()).status == status


def test_a_lost_machine_is_not_a_failure():
    following = after(Ending("interrupted", reason="gone"), attempts("interrupted"), Retry(attempts=1, on=("failed",)))
    assert (following.status, following.reason) == ("interrupted", "gone")


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


def test_machines_lost_for_ever_end_in_failure():
    following = after(Ending("interrupted"), attempts(*["interrupted"] * INTERRUPTIONS), Retry())
    assert following.status == "failed"
    assert "lost 10 times" in following.reason
