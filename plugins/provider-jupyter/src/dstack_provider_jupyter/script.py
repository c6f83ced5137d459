"""The script of a job: the user's `setup`, then the program of `inside/`, which it brings along.

A job's environment need not have this package: it has whatever Python the user chose, in a container perhaps.
"""

from __future__ import annotations

import functools
import posixpath
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_INSIDE: Final = Path(__file__).with_name("inside")
_PLACE: Final = """\
DSTACK_JUPYTER=$(umask 077; mktemp -d "${TMPDIR:-/tmp}/jupyter.XXXXXX")
DSTACK_JUPYTER_FOLDER=$PWD
"""
_START: Final = """\
(umask 077; printf %s ${{ job.token }} > "$DSTACK_JUPYTER/token")
DSTACK_JUPYTER_PYTHON=$(command -v python || command -v python3) || {
  echo 'dstack: there is no Python here: install it in `setup:`, or choose an `image:` that has it' >&2
  exit 127
}
cd "$DSTACK_JUPYTER_FOLDER"
case ${SHELL##*/} in sh | '') SHELL=$BASH ;; esac # terminals for people: bash, where nobody has a better one
export SHELL
"""


def script(kind: str, *, setup: Sequence[str], version: str, idle: float, working_dir: str) -> str:
    """Program text for bash.

    Args:
        kind: `lab` or `notebook`.
        version: that is wanted, or the beginning of one; empty: any that this package knows.
        idle: seconds without use after which it ends; 0: never.
        working_dir: the job's, relative to the root of its checkout.
    """
    root = posixpath.relpath(".", working_dir)
    options = shlex.join([kind, version, f"{idle:g}", root])
    start = f'exec "$DSTACK_JUPYTER_PYTHON" "$DSTACK_JUPYTER" {options}\n'
    return "".join([_PLACE, _program(), *(f"{line}\n" for line in setup), _START, start])


@functools.cache
def _program() -> str:
    """Commands that write the program to where it is started."""
    files = {
        "__main__.py": "from dstack_jupyter.serve import main\n\nmain()\n",
        **{f"dstack_jupyter/{path.name}": path.read_text("utf-8") for path in sorted(_INSIDE.glob("*.py"))},
    }
    end = "END_OF_DSTACK_JUPYTER"
    written = (f"cat > \"$DSTACK_JUPYTER/{path}\" <<'{end}'\n{text}{end}\n" for path, text in files.items())
    return 'mkdir "$DSTACK_JUPYTER/dstack_jupyter"\n' + "".join(written)
