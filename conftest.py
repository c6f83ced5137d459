"""What holds for every test here: time proves nothing, and on the CI machine nothing is skipped for want of a part."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

# Here, before any test module imports the suites: afterwards it is too late.
pytest.register_assert_rewrite("dstack_core.testing")

# A machine that is busy makes no test wrong.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell starts what it puts into the background with SIGINT ignored, and every process of a test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A conformance suite skips what its subject need not offer. Every other skip is for want of something.
SUITES = os.path.join("dstack_core", "testing") + os.sep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped on the CI machine."""
    return _checked((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that was skipped on the CI machine."""
    return _checked((yield))


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _checked(report: Report) -> Report:
    if os.environ.get("CI") != "true" or not report.skipped or not isinstance(report.longrepr, tuple):
        return report  # an expected failure counts as skipped, and has a traceback
    where, reason = str(report.longrepr[0]), report.longrepr[2]
    if SUITES not in where:
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} would be skipped, and CI skips nothing: {reason}"
    return report


LONG = 1000  # seconds
HEAVY = {"aws_box", "browser", "engine"}  # fixtures: machines, a browser, containers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each worker begins with its share of the long tests, whole modules of them, and ends with short ones. Of these
    one that has nothing left takes some from another, so that all of them end at the same time."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        if _weight(item):
            modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for module in sorted(modules.values(), key=_sum, reverse=True):
        min(shares, key=_sum).extend(module)
    short = [item for item in items if not _weight(item)]
    count, items[:] = len(items), []
    for left, share in zip(range(workers, 0, -1), shares, strict=True):
        room = max(0, (count - len(items)) // left - len(share))  # workers get as many tests each, in this order
        items += share + short[:room]
        del short[:room]
    items += short


def _sum(items: list[pytest.Item]) -> int:
    return sum(map(_weight, items))


def _weight(item: pytest.Item) -> int:
    """About how many seconds it may take, 0 for few."""
    limit = item.get_closest_marker("timeout")
    if limit is not None and float(limit.args[0]) >= LONG:
        return 100
    heavy = not HEAVY.isdisjoint(getattr(item, "fixturenames", ()))
    return 10 if heavy else 3 * ("e2e" in item.path.parts)
