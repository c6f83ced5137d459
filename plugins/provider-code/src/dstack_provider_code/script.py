"""The script of a job: the user's `setup`, then code-server, had from wherever it is."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOOR: Final = "/dstack-login"
"""Path of the page that logs in with the token behind `#`, which browsers keep to themselves."""
VERSION: Final = "4.139.1"
"""Of code-server, where nothing else is asked for."""
URL: Final = (
    "https://github.com/coder/code-server/releases/download/v{version}/code-server-{version}-{os}-{arch}.tar.gz"
)

_HERE: Final = Path(__file__).parent
# Read when the module is imported, since a provider touches no files.
_FIND: Final = (_HERE / "find.sh").read_text("utf-8")
_START: Final = (_HERE / "start.sh").read_text("utf-8")
_DOOR: Final = (_HERE / "door.js").read_text("utf-8")
_PREPARE: Final = """\
DSTACK_CODE=$(umask 077; mktemp -d "${TMPDIR:-/tmp}/code.XXXXXX")
DSTACK_CODE_FOLDER=$PWD
"""


@dataclass(frozen=True)
class Release:
    """An archive of code-server, as its project releases them.

    Attributes:
        version: None: the usual one.
        url: None: at the project's own place. It may have {version}, {os} and {arch} in it.
        sha256: None: whatever is there.
    """

    version: str | None = None
    url: str | None = None
    sha256: str | None = None

    @property
    def wanted(self) -> str:
        """The version that it must be; empty: any. `1.72.3` of 2023 was another distribution's, none of these."""
        return "" if not self.version or self.version.startswith("1.") else self.version

    @property
    def folder(self) -> str:
        """Its folder in the cache: another archive of the same version is another one."""
        name = f"code-server-{self.wanted or VERSION}"
        if not (self.url or self.sha256):
            return name
        return f"{name}-{hashlib.sha256(f'{self.url} {self.sha256}'.encode()).hexdigest()[:12]}"


def script(setup: Sequence[str], *, extensions: Sequence[str], server: str, release: Release, idle: int) -> str:
    """Program text for bash.

    Args:
        extensions: names or files, relative to the job's folder.
        server: program to start; empty: the one on PATH, if it will do, else the release.
        idle: seconds without an open window after which it ends; 0: never.
    """
    values = {
        "server": server,
        "wanted": release.wanted,
        "version": release.wanted or VERSION,
        "url": release.url or URL,
        "sha256": release.sha256 or "",
        "release": release.folder,
        "idle": str(idle) if idle else "",
    }
    given = "".join(f"dstack_code_{name}={shlex.quote(value)}\n" for name, value in values.items())
    given += f"dstack_code_extensions=({' '.join(map(shlex.quote, extensions))})\n"
    door = f"cat > \"$DSTACK_CODE/door.js\" <<'END_OF_DOOR'\n{_DOOR}END_OF_DOOR\n"
    return "".join([_PREPARE, *(f"{line}\n" for line in setup), given, _FIND, door, _START])
