"""`${{ name }}` in the texts of a workflow. The runner fills them in: no yaml, no pydantic here.

Only filling in imports `shell`, which is slow to import and which planning has no use for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from dstack_core._suggest import close_match
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from dstack_core._workflow import shell

Value = str | Sequence[str]
"""A list stands for several arguments; where only one text can stand, they are joined by spaces."""

NAMES: Final = ("run.name", "run.args", "run.workflow", "run.repo", "run.user", "job.name", "job.attempt", "job.token")
"""What can be referred to, beside `job.port_N`, `env.NAME`, `matrix.NAME` and `secrets.NAME`."""

_OPEN: Final = re.compile(r"(\$?)\$\{\{")
_REFERENCE: Final = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*\}\}")
_FAMILIES: Final = (re.compile(r"job\.port_\d{1,3}"), re.compile(r"(?:env|matrix|secrets)\.[A-Za-z_][A-Za-z0-9_]*"))
_ALIASES: Final = {name.replace(".", "_"): name for name in NAMES}


@dataclass(frozen=True)
class Reference:
    """One `${{ name }}`: its canonical name and the span of the text that it replaces."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class _Escape:
    start: int
    end: int


def references(text: str) -> list[Reference]:
    """Every reference of the text, in order.

    Raises:
        InputError: a `${{` that is not closed or names nothing; `where` is `line L, column C` of the text.
    """
    return [span for span in _spans(text) if isinstance(span, Reference)]


def fill(text: str, values: Mapping[str, Value], quoting: Literal["shell", "plain"] = "shell") -> str:
    """The text with every reference replaced by its value.

    `plain`: as it is, for what no shell reads. `shell`: for a bash or POSIX shell script; the value is data
    whatever it holds, and where it stands: bare, in quotes, in a here-document or a comment.

    Raises:
        InputError: a reference that is not in `values`, or a value that cannot stand where it is used.
    """
    spans = _spans(text)
    if not spans:
        return text
    for span in spans:
        if isinstance(span, Reference) and span.name not in values:
            raise _unknown(text, span.start, span.name, values)
    reduced, inserts = _reduce(text, spans, values)
    from dstack_core._workflow import shell

    return shell.insert(reduced, inserts) if quoting == "shell" else _plain(reduced, inserts)


def fill_known(text: str, values: Mapping[str, str]) -> str:
    """The text with those references replaced that are in `values`; the others, and escapes, stay as they are.

    Raises:
        InputError: as `references` does.
    """
    parts, end = [], 0
    for reference in references(text):
        if reference.name in values:
            parts += [text[end : reference.start], values[reference.name]]
            end = reference.end
    return "".join([*parts, text[end:]])


def escape(text: str) -> str:
    """Text that `fill` gives back as it was, for what is not meant as a template."""
    return text.replace("${{", "$${{")


def _reduce(
    text: str, spans: Iterable[Reference | _Escape], values: Mapping[str, Value]
) -> tuple[str, list[shell.Insert]]:
    """The text without the escapes' first `$`, and what to put into it."""
    from dstack_core._workflow import shell

    parts: list[str] = []
    inserts: list[shell.Insert] = []
    end = dropped = 0
    for span in spans:
        if isinstance(span, Reference):
            inserts.append(shell.Insert(span.start - dropped, span.end - dropped, span.name, values[span.name]))
        else:
            parts.append(text[end : span.start])
            end = span.start + 1
            dropped += 1
    return "".join([*parts, text[end:]]), inserts


def _plain(text: str, inserts: Iterable[shell.Insert]) -> str:
    parts, end = [], 0
    for item in inserts:
        parts += [text[end : item.start], item.value if isinstance(item.value, str) else " ".join(item.value)]
        end = item.end
    return "".join([*parts, text[end:]])


def _spans(text: str) -> list[Reference | _Escape]:
    found: list[Reference | _Escape] = []
    position = 0
    while opened := _OPEN.search(text, position):
        if opened[1]:
            found.append(_Escape(opened.start(), position := opened.end()))
            continue
        closed = _REFERENCE.match(text, opened.end())
        if not closed:
            raise InputError(
                "`${{` without a name and `}}`",
                where=_where(text, opened.start()),
                hint="write `${{ run.name }}`; for the characters themselves: `$${{`",
            )
        name = _ALIASES.get(closed[1], closed[1])
        if name not in NAMES and not any(family.fullmatch(name) for family in _FAMILIES):
            raise _unknown(text, opened.start(), name, NAMES)
        found.append(Reference(name, opened.start(), position := closed.end()))
    return found


def _unknown(text: str, start: int, name: str, known: Iterable[str]) -> InputError:
    close = close_match(name, known)
    hint = (
        f"did you mean `{close}`?"
        if close
        else "known are: " + ", ".join([*NAMES, "job.port_0", "env.NAME", "matrix.NAME", "secrets.NAME"])
    )
    return InputError(f"unknown reference `${{{{ {name} }}}}`", where=_where(text, start), hint=hint)


def _where(text: str, start: int) -> str:
    before = text[:start]
    return f"line {before.count(chr(10)) + 1}, column {start - before.rfind(chr(10))}"
