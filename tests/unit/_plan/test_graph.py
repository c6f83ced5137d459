"""The order of a DAG: respects deps, minimal, deterministic, names its cycles."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstack_core._plan.graph import ordered
from dstack_core.errors import InputError


def order(graph, target):
    asked = []

    def needs(name):
        asked.append(name)
        return graph[name]

    names = ordered([target], needs, lambda name: f"file:{name}")
    assert sorted(asked) == sorted(names), "each is asked once, and nothing that is not needed"
    return names


@st.composite
def dags(draw):
    count = draw(st.integers(1, 30))
    names = [f"w{n}" for n in range(count)]
    random.Random(draw(st.integers(0, 999))).shuffle(names)
    return names, {
        name: draw(st.lists(st.sampled_from(names[:n]), max_size=4)) if n else [] for n, name in enumerate(names)
    }


def reachable(graph, target):
    found, todo = set(), [target]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += graph[name]
    return found


@given(dags(), st.data())
def test_order_respects_deps_and_has_just_what_the_target_needs(dag, data):
    names, graph = dag
    target = data.draw(st.sampled_from(names))
    result = order(graph, target)
    place = {name: n for n, name in enumerate(result)}
    assert result[-1] == target
    assert len(place) == len(result)
    assert set(place) == reachable(graph, target)
    assert all(place[need] < place[name] for name in result for need in graph[name])
    assert order(graph, target) == result


@given(dags(), st.data())
def test_every_back_edge_is_found_and_the_cycle_named_is_one(dag, data):
    names, graph = dag
    target = names[-1]
    needed = sorted(reachable(graph, target))
    above = data.draw(st.sampled_from(needed))
    below = data.draw(st.sampled_from(sorted(reachable(graph, above))))
    graph[below] = [*graph[below], above]
    with pytest.raises(InputError) as caught:
        order(graph, target)
    cycle = caught.value.message.rpartition(": ")[2].split(" -> ")
    assert cycle[0] == cycle[-1]
    if not any(name.startswith("...") for name in cycle):
        assert all(b in graph[a] for a, b in itertools.pairwise(cycle))
    assert caught.value.where == f"file:{cycle[0]}"


def test_message_of_a_cycle():
    with pytest.raises(InputError, match=r"in a circle: a -> b -> a$"):
        order({"t": ["a"], "a": ["b"], "b": ["a"]}, "t")
    with pytest.raises(InputError, match=r"in a circle: a -> a$"):
        order({"a": ["a"]}, "a")
    ring = {str(n): [str((n + 1) % 100)] for n in range(100)}
    with pytest.raises(
        InputError, match=r"0 -> 1 -> 2 -> 3 -> 4 -> 5 -> \.\.\. 89 more \.\.\. -> 95 -> .* -> 99 -> 0$"
    ):
        order(ring, "0")


def test_a_chain_longer_than_the_recursion_limit():
    chain = {str(n): [str(n - 1)] if n else [] for n in range(20_000)}
    assert order(chain, "19999") == [str(n) for n in range(20_000)]
