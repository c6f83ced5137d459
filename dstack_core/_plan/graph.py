"""The order of a DAG: what a target needs and no more, each after what it needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from dstack_core.errors import InputError


def ordered(
    targets: Sequence[str], needs: Callable[[str], Sequence[str]], where: Callable[[str], str | None]
) -> list[str]:
    """The targets and what they need, directly or not, in an order that respects `needs`.

    `needs` is asked once for each name. Equal answers give an equal order. No recursion: a chain may be of any length.

    Raises:
        InputError: a cycle; the message names it, `where` gives the place of its first workflow.
    """
    done: dict[str, None] = {}
    for target in targets:
        # From the target to where we are.
        path: dict[str, Iterator[str]] = {} if target in done else {target: iter(needs(target))}
        while path:
            name, rest = next(reversed(path.items()))
            need = next(rest, None)
            if need is None:
                del path[name]
                done[name] = None
            elif need in path:
                raise _cycle(need, list(path), where)
            elif need not in done:
                path[need] = iter(needs(need))
    return list(done)


def close_matches(name: str, names: Collection[str]) -> str | None:
    """`did you mean train or train-2?`, or None when nothing is close."""
    import difflib

    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else None


def _cycle(first: str, path: list[str], where: Callable[[str], str | None]) -> InputError:
    names = [*path[path.index(first) :], first]
    if len(names) > 12:
        names = [*names[:6], f"... {len(names) - 12} more ...", *names[-6:]]
    return InputError(
        f"workflows depend on each other in a circle: {' -> '.join(names)}",
        hint=f"remove one of these deps, e.g. {names[1]} from the deps of {first}",
        where=where(first),
    )
