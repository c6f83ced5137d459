"""The secret store `file`: one JSON file that nobody but its owner can read.

    {"format": 1, "repos": {"OWNER/REPO": {"NAME": "value"}}}

It is not encrypted: a key beside it would protect it from nobody who can read it, and one in the user's head would
have to be typed for every run. It is as safe as `~/.ssh` is.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

from dstack_core.errors import InputError, NotFoundError, StoreError
from dstack_core.home import dstack_home
from dstack_core.secret_store import SecretStore
from dstack_local.durable import create_private, locked, sync_file, sync_folder, write_all

FORMAT: Final = 1
LONGEST: Final = 1 << 20
"""Characters of a value; an environment variable may have an eighth of that on Linux."""

Secrets = dict[str, dict[str, str]]


class FileSecretStore(SecretStore):
    """Secrets in a file of mode 0600. Setting `path`: the file; by default `secrets.json` in the dstack folder.

    Each change is made under a lock, on a new file that replaces the old one: others see all of it or nothing.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        path = settings.get("path")
        self._path = os.path.abspath(os.path.expanduser(str(path))) if path else str(dstack_home() / "secrets.json")

    def list(self, repo: str) -> Sequence[str]:
        """See `SecretStore.list`."""
        return sorted(self._read().get(repo, {}))

    def get(self, repo: str, name: str) -> str:
        """See `SecretStore.get`."""
        try:
            return self._read()[repo][name]
        except KeyError:
            raise _missing(name) from None

    def put(self, repo: str, name: str, value: str) -> None:
        """See `SecretStore.put`."""
        if not value or "\0" in value or len(value) > LONGEST:
            problem = "is empty" if not value else f"is longer than {LONGEST:,} characters"
            raise InputError(f"the value of {name} {'holds a NUL character' if chr(0) in value else problem}")
        self._change(lambda secrets: secrets.setdefault(repo, {}).update({name: value}))

    def delete(self, repo: str, name: str) -> None:
        """See `SecretStore.delete`."""

        def forget(secrets: Secrets) -> None:
            if secrets.get(repo, {}).pop(name, None) is None:
                raise _missing(name)

        self._change(forget)

    def _change(self, change: Callable[[Secrets], None]) -> None:
        try:
            with locked(f"{self._path}.lock"):
                secrets = self._read()
                change(secrets)
                self._replace({repo: known for repo, known in secrets.items() if known})
        except OSError as error:
            self._fail("written", error)

    def _read(self) -> Secrets:
        try:
            # O_NONBLOCK: a pipe that somebody put there would be waited for.
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._fail("read", error)
        with open(fd, encoding="utf-8") as file:
            self._check(os.fstat(fd))
            try:
                plain = json.load(file)
                written_as, repos = plain["format"], plain["repos"]
                if written_as == FORMAT:
                    return {str(repo): {str(n): str(v) for n, v in known.items()} for repo, known in repos.items()}
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                # Without the parser's own words, which may quote what is there.
                raise StoreError("the file of secrets is damaged", where=self._path, hint=_DAMAGED) from None
        raise StoreError(
            "the file of secrets was written by a newer dstack-local",
            where=self._path,
            hint="pip install -U dstack-local",
        )

    def _check(self, status: os.stat_result) -> None:
        """Whether only the user can have written it, and can read it. Raises InputError."""
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is no file, so it is not used for secrets", where=self._path, hint="move it away")
        if status.st_uid != os.geteuid():
            raise InputError("belongs to another user, so its secrets are not used", where=self._path, hint=_DAMAGED)
        if status.st_mode & 0o077:
            raise InputError(
                f"others may read or write it (mode {stat.S_IMODE(status.st_mode):o}), so its secrets are not used",
                where=self._path,
                hint=f"chmod 600 {self._path}, and replace the secrets if others are on this machine",
            )

    def _replace(self, secrets: Secrets) -> None:
        """Under the lock, so that one name for new files will do: a killed writer leaves no more than that one."""
        new = f"{self._path}.new"
        with suppress(FileNotFoundError):
            os.unlink(new)
        fd = create_private(new)
        try:
            write_all(fd, json.dumps({"format": FORMAT, "repos": secrets}, indent=1, sort_keys=True).encode("ascii"))
            sync_file(fd)
        except BaseException:
            os.unlink(new)
            raise
        finally:
            os.close(fd)
        os.rename(new, self._path)
        sync_folder(os.path.dirname(self._path))

    def _fail(self, verb: str, error: OSError) -> NoReturn:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise InputError(
                "is a link, so it is not used for secrets", where=self._path, hint="move it away"
            ) from None
        reason = error.strerror or str(error)
        raise StoreError(f"the file of secrets cannot be {verb}: {reason}", where=self._path, lasting=True) from None


_DAMAGED: Final = "move it away, and add the secrets again"


def _missing(name: str) -> NotFoundError:
    return NotFoundError(f"there is no secret {name}", hint=f"dstack secrets add {name}")
