"""Ignore files in the syntax of `.gitignore`, where git does not decide: `.dstackignore`, folders without git."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dstack_core._content.entries import to_bytes, to_text
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE: Final = ".dstackignore"


class Ignoring:
    """The ignore files of one tree; a file's patterns hold for its folder, the deeper file wins."""

    def __init__(self, root: bytes, names: Sequence[str]) -> None:
        self._root = root
        self._names = names
        self._specs: dict[str, list[tuple[str, GitIgnoreSpec]]] = {}
        self._folders: dict[str, bool] = {"": False}

    def ignored(self, path: str, folder: bool = False) -> bool:
        """Whether the path (relative to the root) is left out, itself or with a folder that it is in."""
        above, _, _ = path.rpartition("/")
        if self._folder_ignored(above):
            return True
        if folder:
            return self._folder_ignored(path)
        return self._matches(path, path)

    @property
    def files(self) -> list[bytes]:
        """The ignore files that were read so far."""
        return [
            os.path.join(self._root, to_bytes(folder), name.encode())
            for folder, specs in self._specs.items()
            for name, _ in specs
        ]

    def _folder_ignored(self, path: str) -> bool:
        known = self._folders.get(path)
        if known is None:
            known = self._folder_ignored(path.rpartition("/")[0]) or self._matches(path, path + "/")
            self._folders[path] = known
        return known

    def _matches(self, path: str, shown: str) -> bool:
        folder = path.rpartition("/")[0]
        while True:
            for spec in self._of(folder):
                include = spec.check_file(shown[len(folder) + 1 :] if folder else shown).include
                if include is not None:
                    return include
            if not folder:
                return False
            folder = folder.rpartition("/")[0]

    def _of(self, folder: str) -> list[GitIgnoreSpec]:
        if folder not in self._specs:
            self._specs[folder] = [(n, s) for n in self._names if (s := self._read(folder, n)) is not None]
        return [spec for _, spec in self._specs[folder]]

    def _read(self, folder: str, name: str) -> GitIgnoreSpec | None:
        path = os.path.join(self._root, to_bytes(folder), name.encode())
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            with open(path, "rb") as file:
                text = file.read(1 << 20).removeprefix(b"\xef\xbb\xbf")
            return _spec(to_text(text), to_text(path))
        return None


def _spec(text: str, where: str) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(text.splitlines())
    except ValueError as error:
        raise InputError(f"a pattern is wrong: {error}", where=where) from None
