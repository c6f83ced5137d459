"""Follow a shell script: in which quotes, here-document or other construct a place of it is.

Not a parser: it knows just what decides how a value can be written there, for scripts of bash and of POSIX shells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from dstack_core.errors import InputError

WORD_BREAK: Final = frozenset(" \t\n;&|()<>")
"""What ends a word outside quotes."""

_HEREDOC: Final = re.compile(r"<<(-?)[ \t]*((?:\\.|'[^'\n]*'|\"[^\"\n]*\"|[^ \t\n;&|()<>\\'\"])+)")


@dataclass(eq=False)
class Frame:
    """What the script is in.

    `kind` is bare, double, single, ansi, comment, brace, arithmetic, heredoc, or, for a here-document whose delimiter
    is quoted, raw or strict.
    """

    kind: str
    closer: str = ""
    depth: int = 0
    start: int = 0
    end: int = -1
    out: int = 0
    delimiter: tuple[str, bool] = ("", False)


@dataclass
class Script:
    """A script that is followed, and what has been written of it so far.

    Attributes:
        last: the last character written.
        stack: what the current place is in, outermost first.
        waiting: here-documents that begin with the next line: delimiter, whether tabs before it count for nothing,
            whether it is quoted.
        variables: what the script's first line is to set, name by value.
    """

    text: str
    out: list[str] = field(default_factory=list)
    last: str = "\n"
    stack: list[Frame] = field(default_factory=lambda: [Frame("bare")])
    waiting: list[tuple[str, bool, bool]] = field(default_factory=list)
    open_heredocs: list[Frame] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, text: str) -> None:
        """Append to what has been written."""
        if text:
            self.out.append(text)
            self.last = text[-1]


def scan(script: Script, position: int, end: int) -> None:
    """Write `text[position:end]` and follow it. `end` is where a value is inserted, or the end of the text."""
    while True:
        leave_heredocs(script, position)
        if position >= end:
            return
        step = _STEPS[script.stack[-1].kind](script, position)
        if script.text[position] == "\\" and step == 2 and position + 1 == end and end < len(script.text):
            script.write("\\\\")  # a backslash before a value is a backslash
            return
        step = min(step, end - position)
        script.write(script.text[position : position + step])
        position += step


def _bare(script: Script, i: int) -> int:
    text, frame, char = script.text, script.stack[-1], script.text[i]
    if char == frame.closer and not frame.depth:
        script.stack.pop()
    elif char == "\n" and script.waiting:
        _enter_heredocs(script, i + 1)
    elif char == "'":
        script.stack.append(Frame("single"))
    elif char == "#" and script.last in WORD_BREAK:
        script.stack.append(Frame("comment"))
    elif text.startswith("<<<", i):
        return 3
    elif text.startswith("<<", i) and (found := _HEREDOC.match(text, i)):
        word = found[2]
        delimiter = re.sub(r"\\(.)|['\"]", r"\1", word)
        script.waiting.append((delimiter, bool(found[1]), delimiter != word))
        return len(found[0])
    elif text.startswith("((", i):
        script.stack.append(Frame("arithmetic", "(("))
        return 2
    elif char == "(":
        frame.depth += 1
    elif char == ")":
        frame.depth = max(0, frame.depth - 1)
    elif text.startswith("$'", i):
        script.stack.append(Frame("ansi"))
        return 2
    else:
        return _quoted(script, i)
    return 1


def _quoted(script: Script, i: int) -> int:
    """What is special in double quotes is special nearly everywhere."""
    text, char = script.text, script.text[i]
    if char == "\\":
        return 2
    if char == '"':
        script.stack.append(Frame("double"))
    elif char == "`":
        _backtick(script)
    elif text.startswith("$((", i):
        script.stack.append(Frame("arithmetic", "$(("))
        return 3
    elif text.startswith("$(", i):
        script.stack.append(Frame("bare", ")"))
        return 2
    elif text.startswith("${", i):
        script.stack.append(Frame("brace", "}", start=i + 2))
        return 2
    return 1


def _double(script: Script, i: int) -> int:
    if script.text[i] == '"':
        script.stack.pop()
        return 1
    return _quoted(script, i)


def _single(script: Script, i: int) -> int:
    if script.text[i] == "'":
        script.stack.pop()
    return 1


def _ansi(script: Script, i: int) -> int:
    return 2 if script.text[i] == "\\" else _single(script, i)


def _comment(script: Script, i: int) -> int:
    if script.text[i] != "\n":
        return 1
    script.stack.pop()
    return _STEPS[script.stack[-1].kind](script, i)


def _brace(script: Script, i: int) -> int:
    if script.text[i] == "}":
        script.stack.pop()
        return 1
    if script.text[i] == "'" and not in_double(script):
        script.stack.append(Frame("single"))
        return 1
    return _quoted(script, i)


def _arithmetic(script: Script, i: int) -> int:
    text, frame, char = script.text, script.stack[-1], script.text[i]
    if char == "(":
        frame.depth += 1
    elif char == ")" and frame.depth:
        frame.depth -= 1
    elif text.startswith("))", i):
        script.stack.pop()
        return 2
    elif char == ")":
        # It was a subshell in a subshell after all; one of the two ends here.
        script.stack[-1] = Frame("bare", ")")
    else:
        return _quoted(script, i)
    return 1


def _heredoc(script: Script, i: int) -> int:
    return 1 if script.text[i] == '"' else _quoted(script, i)


def _raw(script: Script, i: int) -> int:
    return 1


_STEPS: Final = {
    "bare": _bare,
    "double": _double,
    "single": _single,
    "ansi": _ansi,
    "comment": _comment,
    "brace": _brace,
    "arithmetic": _arithmetic,
    "heredoc": _heredoc,
    "raw": _raw,
    "strict": _raw,
}


def _backtick(script: Script) -> None:
    for depth in range(len(script.stack) - 1, 0, -1):
        if script.stack[depth].closer == "`":
            del script.stack[depth:]
            return
    script.stack.append(Frame("bare", "`"))


def in_double(script: Script) -> bool:
    """Whether the current place is in double quotes or a here-document, if only around a `${ }`."""
    around = [f.kind for f in script.stack if f.kind != "brace"][-1]
    return around in ("double", "heredoc")


def _enter_heredocs(script: Script, start: int) -> None:
    """The bodies begin at `start`, one after the other; the shell takes lines up to the delimiter before all else."""
    entered = []
    for delimiter, tabs, quoted in script.waiting:
        end = _heredoc_end(script.text, start, delimiter, tabs)
        # Only where nothing else could end the body early may a value stand in it as it is.
        sure = len(script.stack) == 1 and end < len(script.text)
        kind = ("raw" if sure else "strict") if quoted else "heredoc"
        # One more for the newline that `_bare` is about to write.
        entered.append(Frame(kind, end=end, out=len(script.out) + 1, delimiter=(delimiter, tabs)))
        start = script.text.find("\n", end) + 1 or len(script.text)
    script.waiting.clear()
    script.stack.extend(reversed(entered))
    script.open_heredocs.extend(entered)


def _heredoc_end(text: str, start: int, delimiter: str, tabs: bool) -> int:
    while start < len(text):
        stop = text.find("\n", start)
        line = text[start : stop if stop >= 0 else len(text)]
        if (line.lstrip("\t") if tabs else line) == delimiter:
            return start
        if stop < 0:
            break
        start = stop + 1
    return len(text)


def leave_heredocs(script: Script, position: int) -> None:
    """Leave what has ended, however its body was followed: a line of the body ends it whatever stands around."""
    ended = [frame for frame in script.open_heredocs if frame.end <= position]
    for frame in ended:
        _check_body(script, frame)
        script.open_heredocs.remove(frame)
        depth = next((i for i, other in enumerate(script.stack) if other is frame), len(script.stack))
        del script.stack[depth:]


def _check_body(script: Script, frame: Frame) -> None:
    delimiter, tabs = frame.delimiter
    lines = "".join(script.out[frame.out :]).split("\n")
    if any((line.lstrip("\t") if tabs else line) == delimiter for line in lines):
        raise InputError(f"a value would end the here-document `{delimiter}`", hint="choose another delimiter")
