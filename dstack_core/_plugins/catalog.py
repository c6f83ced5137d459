"""What inspections learned about plugins, kept under `$DSTACK_HOME/cache` so that nobody imports them to list them.

Derived data: it may be deleted at any time. One file per Python environment. An entry is about one distribution,
version and entry point; that of a failed plugin counts only while nothing was installed or removed since.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dstack_core import __version__
from dstack_core._plugins.check import State
from dstack_core._plugins.kinds import COMMAND, Kind
from dstack_core._plugins.listing import Listed

_FORMAT = 2


@dataclass(frozen=True)
class Finding:
    """What one inspection found.

    Attributes:
        provides: kind of capability -> name -> summary.
        observers: observer hooks that the plugin implements.
        printed: it writes to stdout or stderr when it is loaded.
        settings: names under which the user can set something of it.
    """

    state: State
    reason: str | None = None
    provides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    observers: tuple[str, ...] = ()
    printed: bool = False
    settings: tuple[str, ...] = ()

    def names(self, kind: Kind) -> list[str]:
        """The names of the capabilities of one kind."""
        return list(self.provides.get(kind.name, ()))


class Catalog:
    """The findings of this Python environment. Reading never fails: a broken file is an empty catalog."""

    def __init__(self, findings: dict[str, Finding], fingerprint: str, names: list[str]) -> None:
        self._findings = findings
        self._fingerprint = fingerprint
        self._names = names

    @classmethod
    def read(cls) -> Catalog:
        """The catalog as the last inspection left it."""
        import json

        try:
            with open(_path(), encoding="utf-8") as file:
                plain = json.load(file)
            findings = {key: finding_from(value) for key, value in plain["plugins"].items()}
            return cls(findings, str(plain["fingerprint"]), [str(name) for name in plain["listed"]])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls({}, "", [])

    def known(self, plugin: Listed) -> Finding | None:
        """What was found about this version of the plugin, even if its code may have changed since."""
        return self._findings.get(_key(plugin))

    def trusted(self, plugin: Listed) -> Finding | None:
        """What was found, if it must still be true: not for editable installs, and for failures only as long as
        nothing was installed or removed."""
        finding = None if plugin.editable else self.known(plugin)
        if finding is not None and finding.state != "ok" and self._fingerprint != fingerprint():
            return None
        return finding

    def commands(self) -> list[tuple[Listed, str, str]] | None:
        """Plugin, name and summary of each catalogued command whose plugin was installed when the catalog was written.

        None when something was installed or removed since: then only a new listing can tell.
        """
        if not self._names or self._fingerprint != fingerprint():
            return None
        return [found for key in self._names for found in self._commands_of(_unkey(key))]

    def commands_of(self, plugins: Iterable[Listed]) -> list[tuple[Listed, str, str]]:
        """As `commands`, of plugins that are known to be installed."""
        return [found for plugin in plugins for found in self._commands_of(plugin)]

    def has_commands(self) -> bool:
        """Whether any catalogued plugin has a command."""
        return any(finding.provides.get(COMMAND.name) for finding in self._findings.values())

    def learn(self, findings: Mapping[Listed, Finding], listed: Iterable[Listed]) -> None:
        """Add findings, forget plugins that are not `listed`, and write the file; a file that cannot be written is
        only a cache that stays cold."""
        self._names = [_key(plugin) for plugin in listed]
        self._findings.update({_key(plugin): finding for plugin, finding in findings.items()})
        self._findings = {key: self._findings[key] for key in self._names if key in self._findings}
        self._fingerprint = fingerprint()
        with contextlib.suppress(OSError):
            self._write()

    def _commands_of(self, plugin: Listed) -> list[tuple[Listed, str, str]]:
        finding = self.known(plugin)
        commands = finding.provides.get(COMMAND.name, {}) if finding is not None and finding.state == "ok" else {}
        # A command is found by its plugin's name, so no other name can be typed.
        return [(plugin, name, summary) for name, summary in commands.items() if name == plugin.name]

    def _write(self) -> None:
        import json
        from dataclasses import asdict

        plugins = {key: asdict(finding) for key, finding in self._findings.items()}
        plain = {"format": _FORMAT, "fingerprint": self._fingerprint, "listed": self._names, "plugins": plugins}
        path = _path()
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        draft = f"{path}.{os.getpid()}.tmp"
        try:
            with open(draft, "w", encoding="utf-8") as file:
                json.dump(plain, file)
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise


def fingerprint() -> str:
    """Changes when a distribution is installed into, or removed from, a folder of `sys.path`."""
    # The program's own folder and the working folder come and go with how dstack is called.
    passing = {"", os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))}
    stamps = []
    for folder in dict.fromkeys(sys.path):
        if folder in passing:
            continue
        try:
            stamps.append(f"{folder}:{os.stat(folder).st_mtime_ns}")
        except OSError:
            stamps.append(f"{folder}:-")
    return "|".join(stamps)


def _path() -> str:
    home = os.path.expanduser(os.environ.get("DSTACK_HOME") or "~/.dstack")
    # crc32: the name only has to differ between environments that share a home.
    import zlib

    environment = zlib.crc32(f"{sys.prefix}|{sys.version}|{__version__}|{_FORMAT}".encode())
    return os.path.join(home, "cache", f"plugins-{environment:08x}.json")


def _key(plugin: Listed) -> str:
    return "\n".join((plugin.name, plugin.value, plugin.distribution, plugin.version))


def _unkey(key: str) -> Listed:
    name, value, distribution, version = key.split("\n")
    return Listed(name, value, distribution, version)


def finding_from(plain: Mapping[str, Any]) -> Finding:
    """A finding from its JSON. Raises KeyError, TypeError or AttributeError for anything else."""
    provides = {str(kind): {str(n): str(s) for n, s in names.items()} for kind, names in plain["provides"].items()}
    observers = tuple(str(hook) for hook in plain["observers"])
    settings = tuple(str(name) for name in plain["settings"])
    return Finding(plain["state"], plain["reason"], provides, observers, bool(plain["printed"]), settings)
