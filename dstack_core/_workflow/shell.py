"""Put values into a shell script so that they stay data.

What is written into the script is either a word so plain that no shell sees more in it, or a reference to a variable
that the first line of the script sets: `__dstack_1='...'`. So a value is never program text. Following the quotes
of the script only decides how the reference is written; were it followed wrongly, a value would be split into
words or stay a reference, but not run. `eval` and arithmetic on text remain what they are in any shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dstack_core._workflow.shellscript import WORD_BREAK, Script, in_double, leave_heredocs, scan
from dstack_core.errors import InputError

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+][A-Za-z0-9_./:@%+-]*|-[A-Za-z0-9_./:@%+=-]*", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_KEYWORDS: Final = frozenset(
    "if then else elif fi do done case esac while until for in select function time coproc".split()
)
# Operators of `[[ ]]`: there `-n` is one where it is bare, and a text where it is quoted.
_OPERATOR: Final = re.compile(r"-[A-Za-z]{1,2}", re.ASCII)
# `${name:offset}`, `${name[index]}` and `name[index]=` are calculated, as `(( ))` is.
_INDEX: Final = re.compile(r"[#!]?[A-Za-z0-9_@*]*(?:\[[^\]]*|:(?![-+=?]).*)", re.DOTALL)
_SUBSCRIPT: Final = re.compile(r"[A-Za-z0-9_]\[[^\]\s]*\Z")
_NAME_PART: Final = re.compile(r"[A-Za-z0-9_$]", re.ASCII)


@dataclass(frozen=True)
class Insert:
    """Replace `text[start:end]` by a value: one text, or a list of words."""

    start: int
    end: int
    name: str
    value: str | Sequence[str]


def insert(text: str, inserts: Sequence[Insert]) -> str:
    """The script with every value in its place.

    Raises:
        InputError: a value that cannot stand where it is used.
    """
    script, position = Script(text), 0
    for item in inserts:
        scan(script, position, item.start)
        script.write(_written(script, item))
        position = item.end
    if script.open_heredocs:
        scan(script, position, len(text))
        leave_heredocs(script, len(text))
    else:
        script.write(text[position:])
    settings = "".join(f"{name}={shlex.quote(value)}; " for value, name in script.variables.items())
    return settings + "".join(script.out)


def _written(script: Script, item: Insert) -> str:
    words = [item.value] if isinstance(item.value, str) else list(item.value)
    if any("\0" in word for word in words):
        raise InputError(f"the value of `{item.name}` holds a NUL character")
    kind = script.stack[-1].kind
    if kind == "raw":
        return " ".join(words)
    if kind == "strict":
        return _strict(script, item, words)
    if kind == "arithmetic" or _is_index(script, item):
        return _calculated(item, words)
    if kind in ("bare", "brace") and not (kind == "brace" and in_double(script)):
        return _words(script, item, words)
    if kind not in ("ansi", "heredoc") and len(words) == 1 and _is_plain(script, item, words[0]):
        return words[0]
    joined = " ".join(_variable(script, word) for word in words)
    return {"single": f"'\"{joined}\"'", "ansi": f"'\"{joined}\"$'"}.get(kind, joined) if joined else ""


def _words(script: Script, item: Insert, words: list[str]) -> str:
    """Outside quotes: words of their own at the beginning of a word, else one text joined by spaces."""
    if script.stack[-1].kind == "brace" or script.last not in WORD_BREAK:
        if len(words) != 1 or not _is_plain(script, item, words[0]):
            joined = " ".join(_variable(script, word) for word in words)
            return f'"{joined}"' if words else ""
        return words[0]
    return " ".join(w if _is_plain(script, item, w) else f'"{_variable(script, w)}"' for w in words)


def _strict(script: Script, item: Insert, words: list[str]) -> str:
    if all(_is_plain(script, item, word) for word in words):
        return " ".join(words)
    message = f"the value of `{item.name}` cannot stand in a quoted here-document inside another construct"
    raise InputError(message, hint="take the quotes off its delimiter, or put the value into a variable before")


def _is_index(script: Script, item: Insert) -> bool:
    frame = script.stack[-1]
    if frame.kind == "brace":
        return bool(_INDEX.fullmatch(script.text, frame.start, item.start))
    before = script.text[max(0, item.start - 200) : item.start]
    return frame.kind == "bare" and bool(_SUBSCRIPT.search(before))


def _calculated(item: Insert, words: list[str]) -> str:
    if len(words) != 1 or not _WHOLE.fullmatch(words[0]):
        raise InputError(
            f"`{item.name}` is not a whole number", hint="only a whole number can stand in `(( ))` and `[ ]`"
        )
    return f" {words[0]} "


def _is_plain(script: Script, item: Insert, word: str) -> bool:
    """Whether no shell sees more in the word than its characters, also next to what stands around it."""
    if not _PLAIN.fullmatch(word) or _OPERATOR.fullmatch(word) or word in _KEYWORDS:
        return False
    if script.text[item.end : item.end + 1] in tuple("<>=([+"):
        return False
    return script.stack[-1].kind == "single" or not _NAME_PART.match(script.last)


def _variable(script: Script, word: str) -> str:
    name = script.variables.setdefault(word, f"__dstack_{len(script.variables) + 1}")
    return f"${{{name}}}"
