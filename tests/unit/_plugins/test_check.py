"""Which plugins may be imported, decided from metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from dstack_core._plugins.check import Policy, check
from dstack_core._plugins.listing import Listed, list_plugins

numbers = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
clauses = st.lists(st.tuples(st.sampled_from([">=", "<=", "<", ">", "==", "!=", "~="]), numbers), max_size=3)


def plugin(*requires: str, name: str = "x", distribution: str = "dstack-x") -> Listed:
    return Listed(name, "x", distribution, "1.0", requires)


@given(clauses, numbers)
def test_ranges_are_those_of_packaging(clauses, core):
    clauses = [(op, version) for op, version in clauses if op != "~=" or "." in version]
    specifier = ",".join(op + version for op, version in clauses)
    listed = plugin(f"dstack-core{specifier}")
    taken = SpecifierSet(specifier).contains(core, prereleases=True)
    assert (check(listed, [listed], Policy(), core).state == "ok") is taken


@pytest.mark.parametrize(
    ("requirement", "core", "state"),
    [
        ("dstack-core>=0.1,<0.2", "0.1.0.dev3", "incompatible"),
        ("dstack-core>=0.1.dev0", "0.1.0.dev3", "ok"),
        ("dstack-core>=0.1,<0.2", "0.1.5rc1", "ok"),
        ("Dstack_Core (>=0.1)", "0.1", "ok"),
        ("dstack-core[testing]>=9; extra == 'test'", "0.1", "ok"),
        ("dstack-core>=9; python_version > '3'", "0.1", "incompatible"),
        ("dstack-core", "0.1", "ok"),
        ("dstack-core-thing>=9", "0.1", "ok"),
    ],
)
def test_requirement(requirement, core, state):
    listed = plugin(requirement)
    assert check(listed, [listed], Policy(), core).state == state


def test_disabled_twin_is_no_duplicate():
    one, other = plugin(distribution="dstack-one"), plugin(distribution="dstack-other")
    both = [one, other]
    assert check(one, both, Policy()).state == "duplicate"
    assert check(one, both, Policy(disabled=frozenset({"dstack_other"}))).state == "ok"
    assert check(other, both, Policy(disabled=frozenset({"dstack_other"}))).state == "disabled"
    assert check(other, both, Policy(allowed=frozenset({"dstack-one"}))).state == "disabled"


def test_listing_survives_broken_metadata(site, monkeypatch):
    before = list_plugins()
    monkeypatch.syspath_prepend(site.folder)
    site.add("good")
    (site.folder / "bad-1.dist-info").mkdir()
    (site.folder / "bad-1.dist-info" / "entry_points.txt").write_bytes(b"[dstack.plugins]\n\xff\xfe = x\n")
    (site.folder / "odd-1.dist-info").mkdir()
    (site.folder / "odd-1.dist-info" / "entry_points.txt").write_text("[dstack.plugins]\nnonsense\n[other]\ngood = y\n")
    found = {p.name: p for p in list_plugins() if p not in before}
    assert found.keys() == {"good", "nonsense"}
    assert found["good"].requires == ("dstack-core>=0.1,<99",)
    assert (found["nonsense"].version, found["nonsense"].value) == ("unknown", "")
