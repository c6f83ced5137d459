"""Entry points: a program and its arguments, as text or as words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
_REFERENCE: Final = re.compile(r"\$\{\{[ \t]*([\w.-]+)[ \t]*\}\}")
_COMMAND_OPTION: Final = re.compile(r"-([A-Za-z]*)c")


def split(text: str) -> list[str]:
    """The words of an entry point, by a shell's rules of quotes; a `${{ reference }}` is no place to part it.

    Raises:
        ValueError: a quote that is not closed.
    """
    return shlex.split(_REFERENCE.sub(r"${{\1}}", text))


def given_a_script(words: Sequence[str]) -> tuple[str, ...]:
    """The entry point as it takes commands from a file, whose path will be appended to it.

    `/bin/bash -i -c` wants them as an argument, which everybody on the machine could read: it loses its `-c`. A shell
    gets `-e`, so that the first command that fails ends the job.
    """
    found = list(words)
    if option := _COMMAND_OPTION.fullmatch(found[-1]):
        found[-1:] = [f"-{option[1]}"] if option[1] else []
    shells = [place for place, word in enumerate(found) if word.rpartition("/")[2] in SHELLS]
    if shells:
        found.insert(shells[-1] + 1, "-e")
    return tuple(found)
