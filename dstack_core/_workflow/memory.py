"""What providers' pydantic models said before, kept under `$DSTACK_HOME/cache`: derived data, may be deleted any time.

One file for a provider's class in a Python environment. It counts only while everything is as it was when it was
written: the folders in which distributions are installed, and the files of the provider's package and of whatever
else was imported from elsewhere (an editable installation, for example). Only what was found to be right is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from dstack_core import __version__
from dstack_core._workflow.options import OptionSpec

if TYPE_CHECKING:
    from dstack_core.provider import Provider

MOST: Final = 200
"""Results that are kept for one provider."""
LARGEST: Final = 10_000
"""Characters of properties, as JSON, that are worth keeping."""
_FORMAT: Final = 1
_SITES: Final = frozenset({"site-packages", "dist-packages"})
_STDLIB: Final = os.path.dirname(os.__file__) + os.sep


@dataclass(frozen=True)
class About:
    """Which properties a provider has. `open_ended`: it takes others, too."""

    names: frozenset[str]
    open_ended: bool
    options: tuple[OptionSpec, ...]


class Memory:
    """What is remembered of one provider. Reading never fails: a file that is damaged or stale is an empty memory.

    Attributes:
        about: None when it is not known.
        changed: something was learned since.
    """

    def __init__(self, path: str, package: str) -> None:
        self.about: About | None = None
        self.changed = False
        self._path = path
        self._package = package
        self._results: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            self._read()

    @classmethod
    def of(cls, provider: Provider) -> Memory | None:
        """The memory of a provider; None for one that no later command could recognise."""
        made = type(provider)
        if "<" in made.__qualname__ or getattr(provider, "__dict__", None):
            return None  # made inside a function, or not only by its class what it is
        home = os.path.expanduser(os.environ.get("DSTACK_HOME") or "~/.dstack")
        identity = f"{made.__module__}:{made.__qualname__}|{sys.prefix}|{sys.version}|{__version__}|{_FORMAT}"
        name = sha256(identity.encode()).hexdigest()[:16]
        return cls(os.path.join(home, "cache", f"provider-{name}.json"), made.__module__.partition(".")[0])

    def result(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """What validation made of these values, if it is known."""
        if not self._results:
            return None
        key = _key(given)
        found = self._results.get(key) if key else None
        return None if found is None else dict(json.loads(found))

    def learn(self, given: Mapping[str, Any], found: dict[str, Any]) -> None:
        """Validation accepted `given` and made `found` of it."""
        self.changed = True
        if len(self._results) >= MOST or (key := _key(given)) is None:
            return
        text = json.dumps(found)
        if len(text) <= LARGEST and json.loads(text) == found:
            self._results[key] = text

    def keep(self, about: About) -> None:
        """Write the file; one that cannot be written is only a memory that stays empty."""
        plain = {
            "folders": _folders(),
            "files": {path: _stamp(path) for path in sorted(self._files())},
            "names": sorted(about.names),
            "open_ended": about.open_ended,
            "options": [asdict(option) for option in about.options],
            "results": self._results,
        }
        body = json.dumps(plain)
        with contextlib.suppress(OSError):
            _replace(self._path, f"{sha256(body.encode()).hexdigest()}\n{body}")
        self.changed = False

    def _read(self) -> None:
        with open(self._path, encoding="ascii") as file:
            digest, _, body = file.read().partition("\n")
        if digest != sha256(body.encode()).hexdigest():
            return
        plain = json.loads(body)
        if plain["folders"] != _folders() or any(_stamp(p) != s for p, s in plain["files"].items()):
            return
        options = tuple(_option(option) for option in plain["options"])
        self.about = About(frozenset(plain["names"]), plain["open_ended"], options)
        self._results = plain["results"]

    def _files(self) -> set[str]:
        """Files whose change may change what the provider says, and `_folders` would not tell."""
        files = set()
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if path and (name.partition(".")[0] == self._package or not _is_installed(path)):
                files.add(path)
        return files


def _folders() -> dict[str, list[int]]:
    """Where distributions are installed, and what changes when one is installed or removed there."""
    return {path: _stamp(path) for path in sys.path if os.path.basename(path) in _SITES}


def _is_installed(path: str) -> bool:
    return path.startswith(_STDLIB) or not _SITES.isdisjoint(path.split(os.sep))


def _key(given: Mapping[str, Any]) -> str | None:
    try:
        text = json.dumps(given)
    except (TypeError, ValueError):
        return None
    return sha256(text.encode()).hexdigest() if len(text) <= LARGEST else None


def _stamp(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size]


def _option(plain: Mapping[str, Any]) -> OptionSpec:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return OptionSpec(**values)


def _replace(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    draft = f"{path}.{os.getpid()}.tmp"
    try:
        with open(draft, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
