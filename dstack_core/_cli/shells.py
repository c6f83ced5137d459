"""The shells that can complete names: what click knows of them, and what it does not know of bash."""

from __future__ import annotations

import os
from typing import Final

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    get_completion_class,
    split_arg_string,
)

from dstack_core.errors import InputError

BASH: Final = """\
_dstack_completion() {
    local IFS=$'\\n' line kind value
    COMPREPLY=()
    # The line, not COMP_WORDS: bash takes a colon for the end of a word.
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" BREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F _dstack_completion dstack
"""
"""For bash 4.4 or newer."""


class Bash(BashComplete):
    """Bash, where a tag may begin with a colon."""

    source_template = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor's, and that one as far as it is typed."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Without what bash, after a colon, takes for a word that stands there already."""
        typed = self.get_completion_args()[1]
        before = typed.rpartition(":")[0] + ":" if ":" in typed and ":" in os.environ.get("BREAKS", ":") else ""
        return f"{item.type},{item.value.removeprefix(before)}"


def shell_class(name: str) -> type[ShellComplete]:
    """What speaks with the shell of that name. Raises InputError."""
    found = Bash if name == "bash" else get_completion_class(name)
    if found is None:
        raise InputError(f"no completion for {name}", hint="there is one for bash, zsh and fish")
    return found
