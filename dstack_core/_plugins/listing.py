"""List: which plugins are installed. Reads metadata files; imports none of their code.

stevedore's own listing goes through a cache on disk that forgets the distribution and can miss a reinstalled plugin,
so its listing method is given the fresh entry points found here (see `load.py`); `doctor.py` compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dstack_core.hookspecs import GROUP

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint


@dataclass(frozen=True)
class Listed:
    """One entry point in the group `dstack.plugins`, and the distribution that brought it.

    Attributes:
        name: entry-point name, which is the plugin's name.
        value: what the entry point names, e.g. `dstack_vault.plugin`.
        requires: the distribution's `Requires-Dist` lines.
        editable: installed from a folder that may change without a new version.
    """

    name: str
    value: str
    distribution: str
    version: str
    requires: tuple[str, ...] = field(default=(), compare=False, repr=False)
    editable: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"

    @property
    def entry_point(self) -> EntryPoint:
        """The entry point as importlib and stevedore know it."""
        from importlib.metadata import EntryPoint

        return EntryPoint(self.name, self.value, GROUP)


def list_plugins() -> tuple[Listed, ...]:
    """Every installed plugin, by name, without distributions that one of the same name hides on `sys.path`."""
    from importlib.metadata import distributions

    found: dict[Listed, None] = {}
    homes: dict[str, object] = {}
    for distribution in distributions():
        for plugin in _plugins_of(distribution):
            home = homes.setdefault(canonical(plugin.distribution), distribution)
            if home is distribution:
                found[plugin] = None
    return tuple(sorted(found, key=lambda p: (p.name, p.distribution)))


def canonical(distribution: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _plugins_of(distribution: Distribution) -> Iterator[Listed]:
    text = _read(distribution, "entry_points.txt")
    # Most distributions are not ours: a substring test is a tenth of the cost of parsing.
    if GROUP not in text:
        return
    names = list(_entry_points(text))
    if not names:
        return
    headers = _headers(distribution)
    about = dict(headers)
    requires = tuple(value for key, value in headers if key == "Requires-Dist")
    editable = '"editable": true' in re.sub(r"\s*:\s*", ": ", _read(distribution, "direct_url.json"))
    for name, value in names:
        yield Listed(name, value, about.get("Name", "unknown"), about.get("Version", "unknown"), requires, editable)


def _read(distribution: Distribution, name: str) -> str:
    try:
        return distribution.read_text(name) or ""
    except (OSError, ValueError):
        return ""


def _entry_points(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == GROUP and line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _headers(distribution: Distribution) -> list[tuple[str, str]]:
    """The metadata's header fields, without the cost of an email parser."""
    text = _read(distribution, "METADATA") or _read(distribution, "PKG-INFO")
    headers = []
    for line in text.splitlines():
        if not line.strip():
            break
        key, separator, value = line.partition(":")
        if separator and not line[0].isspace():
            headers.append((key.strip().title(), value.strip()))
    return headers
