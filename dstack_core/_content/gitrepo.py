"""What git knows about a working tree. git is asked, never told: nothing is written, no hook or monitor is started."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dstack_core._content.entries import to_text
from dstack_core._content.statcache import Stamp, stamp_of
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from subprocess import Popen

# A repository's own configuration names programs (a file system monitor, hooks); a snapshot must not run them.
_SAFE: Final = (b"-c", b"core.fsmonitor=false", b"-c", b"core.hooksPath=/dev/null", b"-c", b"core.quotePath=false")
_SHOWN: Final = 20


@dataclass(frozen=True)
class Status:
    """How a working tree differs from its commit; `changed` are up to 20 paths, relative to the scanned folder."""

    branch: str | None
    commit: str | None
    summary: str
    changed: tuple[str, ...]


def find_repository(root: bytes) -> bytes | None:
    """The top folder of the git repository that `root` is in."""
    folder = os.path.realpath(root)
    while True:
        if os.path.lexists(os.path.join(folder, b".git")):
            return folder
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


class Question:
    """A git command that runs while the caller does something else."""

    def __init__(self, folder: bytes, *arguments: bytes) -> None:
        import subprocess

        environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        environ.update(GIT_OPTIONAL_LOCKS="0", LC_ALL="C", GIT_TERMINAL_PROMPT="0")
        self._process: Popen[bytes] = subprocess.Popen(
            [b"git", *_SAFE, b"-C", folder, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
        )
        self._folder = folder

    def answer(self) -> bytes:
        """What it printed. Raises InputError when it failed."""
        out, err = self._process.communicate()
        if self._process.returncode != 0:
            raise InputError(
                f"git cannot read {to_text(self._folder)}: {err.decode(errors='replace').strip()}",
                hint=f"try `git -C {to_text(self._folder)} status`",
            )
        return out

    def cancel(self) -> None:
        """End it; its answer is not needed."""
        self._process.kill()
        self._process.communicate()


def ask_status(root: bytes) -> Question:
    """Ask for `read_status`."""
    return Question(
        root, b"status", b"--porcelain=v2", b"--branch", b"-z", b"--untracked-files=all", b"--no-renames",
        b"--ignore-submodules=dirty", b"--", b".",
    )  # fmt: skip


def ask_paths(root: bytes) -> Question:
    """Ask for the paths under `root`, relative to it, that are tracked or could be, each followed by a zero byte."""
    return Question(root, b"ls-files", b"-z", b"--cached", b"--others", b"--exclude-standard", b"--", b".")


def read_status(answer: bytes, top: bytes, root: bytes) -> Status:
    """What `ask_status` was answered."""
    inside = os.path.relpath(os.path.realpath(root), top)
    prefix = b"" if inside == b"." else inside + b"/"
    branch = commit = None
    changed: list[bytes] = []
    untracked: list[bytes] = []
    deleted = 0
    for line in answer.split(b"\0"):
        if line.startswith(b"? "):
            untracked.append(line[2:].removeprefix(prefix))
        elif line.startswith(b"# branch.oid "):
            commit = line[13:].decode() if line[13:14] != b"(" else None
        elif line.startswith(b"# branch.head "):
            branch = to_text(line[14:]) if line[14:] != b"(detached)" else None
        elif line[:2] in (b"1 ", b"u "):
            fields = line.split(b" ", 8 if line[:1] == b"1" else 10)
            changed.append(fields[-1].removeprefix(prefix))
            deleted += b"D" in fields[1]
    counts = ((len(changed) - deleted, "changed"), (deleted, "deleted"), (len(untracked), "new"))
    summary = ", ".join(f"{n} {what}" for n, what in counts if n)
    shown = tuple(to_text(p) for p in sorted(changed + untracked)[:_SHOWN])
    return Status(branch, commit, summary, shown)


def repository_name(top: bytes | None, root: bytes) -> str:
    """`OWNER/REPO` of the remote `origin`; without one, `local/` with the folder's name and four digits of its path."""
    if top is not None:
        url = _origin(top)
        name = parse_remote(url) if url else None
        if name:
            return name
    from hashlib import sha256

    folder = top or os.path.realpath(root)
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", to_text(os.path.basename(folder))).strip("-.") or "folder"
    return f"local/{label}-{sha256(folder).hexdigest()[:4]}"


def parse_remote(url: str) -> str | None:
    """`OWNER/REPO` of a remote's URL, in whatever form: https, ssh, scp, file, a path. Never has credentials."""
    path = url.strip()
    match = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*/?(.*)", path)
    # host:path, as scp writes it
    match = match or re.match(r"(?:[^/@:]+@)?[^/@:]+:(?!//)(.*)", path)
    path = match[1] if match else path
    path = path.partition("?")[0].partition("#")[0].rstrip("/").removesuffix(".git").rstrip("/")
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") for name in path.split("/")]
    names = [name for name in names if name and name not in (".", "..")]
    return "/".join(names[-2:]) if len(names) >= 2 else None


def _origin(top: bytes) -> str | None:
    """The URL of `origin`, read from the repository's configuration; git itself is asked only if that includes more."""
    text = _configuration(top)
    if re.search(r"^\s*\[\s*(include|includeif|url)\b", text, re.IGNORECASE | re.MULTILINE):
        with suppress(InputError, OSError):
            return Question(top, b"config", b"--get", b"remote.origin.url").answer().decode(errors="replace").strip()
        return None
    section = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped
        elif section.replace(" ", "").lower() == '[remote"origin"]':
            key, _, value = stripped.partition("=")
            if key.strip().lower() == "url":
                return value.strip().strip('"')
    return None


def _configuration(top: bytes) -> str:
    with suppress(OSError):
        return _content(os.path.join(_folders(top)[1], b"config")).decode("utf-8", "replace")
    return ""


def state(top: bytes) -> tuple[Any, ...] | None:
    """What git's answers depend on beside the files themselves; None when that cannot be told from a few files."""
    with suppress(OSError):
        git, common = _folders(top)
        head = _content(os.path.join(git, b"HEAD"))
        commit = b""
        if head.startswith(b"ref: "):
            commit = _content(os.path.join(common, head[5:].strip()))
        rules = (os.path.join(common, b"info", b"exclude"), os.path.join(common, b"config"))
        return (head, commit, stamp_of(os.stat(os.path.join(git, b"index"))), *map(stamp_or_none, rules))
    return None


def stamp_or_none(path: bytes) -> Stamp | None:
    """The stamp of a file; None when it is not there."""
    with suppress(OSError):
        return stamp_of(os.stat(path))
    return None


def _folders(top: bytes) -> tuple[bytes, bytes]:
    """The repository's own folder, and the one that it shares with its other worktrees."""
    git = os.path.join(top, b".git")
    if os.path.isfile(git):  # a worktree or a submodule: `gitdir: <path>`
        git = os.path.join(top, _content(git).removeprefix(b"gitdir:").strip())
    with suppress(FileNotFoundError):
        return git, os.path.join(git, _content(os.path.join(git, b"commondir")).strip())
    return git, git


def _content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 20)
