"""Progress of several transfers that follow one another."""

import pytest

from dstack_core._runner import transfer


@pytest.fixture
def reports(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0)
    return []


def test_transfers_add_up(reports):
    whole = transfer.Transfer(lambda *report: reports.append(report))
    first = whole.next()
    first(0, 10)
    first(10, 10)
    second = whole.next()
    second(5, 20)
    assert reports == [(0, 10), (10, 10), (15, 30)]


def test_what_is_known_beforehand_is_counted_once(reports):
    whole = transfer.Transfer(lambda *report: reports.append(report), total=30)
    whole.next()(4, 4)  # the code, whose size nobody knew
    whole.next(known=True)(10, 10)
    whole.next(known=True)(20, 20)
    assert reports == [(4, 34), (14, 34), (34, 34)]


def test_a_short_transfer_is_not_worth_a_report(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 3600)
    reports = []
    transfer.Transfer(lambda *report: reports.append(report)).next()(1, 2)
    assert reports == []
