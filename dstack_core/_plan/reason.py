"""Why a job runs, in words: what differs from the newest result of its workflow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dstack_core._ledger.traces import Input, Trace, Watched
from dstack_core._plan.watch import Code, is_workflow_file

MOST_NAMES: Final = 3
"""Changed paths that are named when there are more than that many, less one: `a, b and 5 more`."""

_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
_LONGEST = 40


@dataclass(frozen=True)
class Now:
    """A job as it would run now."""

    definition: Mapping[str, Any]
    inputs: Sequence[Input] | None
    watched: Watched
    snapshot: str


def why_run(latest: Trace | None, now: Now, code: Callable[[str], Code | None], *, gone: bool = False) -> str:
    """The reason of a job that runs. `gone`: an equal result was found, but not its artifacts."""
    if latest is None:
        return GONE if gone else "never run"
    return "; ".join(differences(latest, now, code)) or (GONE if gone else "nothing equal is stored")


GONE: Final = "its artifacts are no longer stored, or damaged"


def differences(then: Trace, now: Now, code: Callable[[str], Code | None]) -> list[str]:
    """What is not as it was, the most telling first. Inputs that are not known yet (None) are not compared."""
    found = list(_definition(then.definition, now.definition))
    if now.inputs is not None:
        found += _inputs(then.inputs, now.inputs)
    return found + list(_code(then, now, code))


def _definition(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if then.get("format") != now["format"]:
        yield "recorded by another version of dstack"
        return
    if (then.get("argv"), then.get("script")) != (now["argv"], now["script"]):
        yield "command changed"
    yield from _env(then.get("env", {}), now["env"])
    if then.get("args") != now["args"]:
        yield f"args: {_shown(' '.join(then.get('args', [])))} -> {_shown(' '.join(now['args']))}"
    for field in ("provider", "python", "image", "working_dir", "ports", "executor"):
        if then.get(field) != now[field]:
            yield f"{field.replace('_', ' ')} {_shown(then.get(field))} -> {_shown(now[field])}"
    if then.get("image") == now["image"] and then.get("image_digest") != now["image_digest"]:
        yield f"image {'changed' if now['image_digest'] else 'not known'}: {_shown(now['image'])}"
    if then.get("artifacts") != now["artifacts"]:
        yield "artifacts changed"


def _env(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*then, *now}):
        if then.get(name) == now.get(name):
            continue
        # Values go to terminals and tickets; a name that sounds like a secret does not take its value there.
        if _SECRET.search(name):
            yield f"env {name} changed"
        else:
            yield f"env {name}: {_shown(then.get(name))} -> {_shown(now.get(name))}"


def _inputs(then: Sequence[Input], now: Sequence[Input]) -> Iterator[str]:
    before, after = _trees(then), _trees(now)
    found: dict[str, list[str]] = {"changed": [], "is new": [], "is gone": []}
    for dep in after:
        if dep not in before:
            if after[dep]:
                found["is new"].append(dep)
        elif before[dep] != after[dep]:
            found["changed"].append(dep)
    found["is gone"] += (dep for dep in before if dep not in after and before[dep])
    for what, deps in found.items():
        if len(deps) <= MOST_NAMES:
            yield from (f"input {dep} {what}" for dep in deps)
        else:  # the cells of a matrix may be many
            yield f"inputs {listed(deps)} {what.replace('is ', 'are ')}"


def _trees(inputs: Sequence[Input]) -> dict[str, list[tuple[str, str]]]:
    return {taken.dep: [(artifact.path, artifact.tree) for artifact in taken.artifacts] for taken in inputs}


def _code(then: Trace, now: Now, code: Callable[[str], Code | None]) -> Iterator[str]:
    if now.watched.code and then.watched.code == now.watched.code:
        return
    changed = _changed_paths(then, now, code)
    note = f" ({whole(then.watched)})" if then.watched.hindrance else ""
    if changed is None:
        yield f"code changed{note}"
    elif changed:
        yield f"code changed: {listed(changed)}{note}"
    elif then.watched.kind != now.watched.kind:
        yield "inputs declared anew"


def _changed_paths(then: Trace, now: Now, code: Callable[[str], Code | None]) -> list[str] | None:
    """None: unknown."""
    present = code(now.snapshot)
    if then.watched.kind == "paths":
        new = () if then.watched.observed else (path for path in now.watched.paths if path not in then.watched.paths)
        recorded = then.watched.paths.items()
        gone = [path for path, digest in recorded if not present or present.digest(path) != digest]
        # Of a folder's entries, say which; that needs the old snapshot.
        old = code(then.snapshot) if present and any("/" in (path[0], path[-1]) for path in gone) else None
        return sorted({*new, *(named for path in gone for named in _members(path, old, present))})
    old = code(then.snapshot)
    if present is None or old is None:
        return None
    watches = now.watched.paths.__contains__ if now.watched.kind == "paths" else lambda path: not is_workflow_file(path)
    either = {*old.paths, *present.paths}
    return sorted(path for path in either if watches(path) and old.paths.get(path) != present.paths.get(path))


def _members(path: str, old: Code | None, present: Code | None) -> list[str]:
    """The paths that make a recorded path another, see `watch`."""
    if path[0] != "/" != path[-1]:
        return [path]
    if old is None or present is None:
        return [f"another {path[2:]}" if path.startswith("//") else f"what is in {path.rstrip('/') or '.'}"]
    return [member.partition("\0")[2] for member in old.members(path) ^ present.members(path)]


def whole(watched: Watched) -> str:
    """Why all of the code counts for a job that could not be observed."""
    return f"all of the code counts: {watched.hindrance}"


def listed(paths: Sequence[str]) -> str:
    """`a, b, c` or `a, b and 4 more`."""
    if len(paths) <= MOST_NAMES:
        return ", ".join(map(_plain, paths))
    named = paths[: MOST_NAMES - 1]
    return f"{', '.join(map(_plain, named))} and {len(paths) - len(named)} more"


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    text = _plain(str(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _plain(text: str) -> str:
    """`text` without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
