"""Where small files are: packs, their index objects, and this machine's memory of all indexes.

A pack is an object of many small files end to end. Beside it lies `packs/<sha256 of the pack>`, its index: the line
`dstack pack 1`, then for each file 32 bytes of digest and two big-endian 32-bit numbers, offset and length, then the
SHA-256 of all that. It is written after the pack, so whatever an index names is stored.

Asking the store for each small file would take longer than storing it. So the indexes are kept in an SQLite file under
`$DSTACK_HOME/cache`, derived, rebuilt when damaged, brought up to date by listing `packs/`. It is a memory, not a
truth: what it says of a pack is compared with the pack's index, and whoever relies on one checks that it is
still there.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from dstack_core._content.entries import Extent
from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError, StoreError
from dstack_core.home import dstack_home

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

MAGIC: Final = b"dstack pack 1\n"
_ROW: Final = struct.Struct(">32sII")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS pack (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS file (digest BLOB PRIMARY KEY, pack INTEGER, start INTEGER, size INTEGER) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_MANY: Final = 500  # digests in one question: below the number of parameters that any SQLite takes


def pack_key(pack: str) -> str:
    """The key of a pack's index."""
    return f"packs/{pack}"


def encode_index(files: Mapping[bytes, tuple[int, int]]) -> bytes:
    """The index object of a pack, from digest -> offset, length."""
    body = MAGIC + b"".join(_ROW.pack(digest, *where) for digest, where in files.items())
    return body + hashlib.sha256(body).digest()


def decode_index(data: bytes) -> dict[bytes, tuple[int, int]]:
    """What `encode_index` was given. Raises ValueError for what is damaged."""
    body = data[:-32]
    if not body.startswith(MAGIC) or hashlib.sha256(body).digest() != data[-32:]:
        raise ValueError("a pack's index is damaged")
    return {digest: (start, size) for digest, start, size in _ROW.iter_unpack(body[len(MAGIC) :])}


def cache_folder(store: ArtifactStore) -> Path:
    """This machine's derived files about one store."""
    folder = dstack_home() / "cache" / hashlib.sha256(store.location.encode()).hexdigest()[:32]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class PackIndex:
    """Answers where small files are already stored. Opened when it is first asked."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._db: sqlite3.Connection | None = None

    def find(self, digests: Iterable[bytes]) -> dict[bytes, Extent]:
        """Those of `digests` that some pack holds, by its own index in the store, too: this memory may be of another
        time (a power cut, a home folder that two machines share), and a tree must not name what is not stored."""
        wanted = list(digests)
        known: dict[bytes, Extent] = self._tolerant(lambda db: _find(db, wanted), {})
        packs: dict[str, dict[bytes, Extent]] = {}
        for digest, extent in known.items():
            packs.setdefault(extent.object, {})[digest] = extent
        found = {}
        for pack, remembered in packs.items():
            with suppress(StoreError, NotFoundError, ValueError):
                holds = decode_index(self._store.read(pack_key(pack)).data)
                found.update({d: x for d, x in remembered.items() if holds.get(d) == (x.offset, x.length)})
        return found

    def refresh(self) -> None:
        """Learn the packs that others stored, forget those that are gone. One listing, and one read per new pack."""
        listed = {info.key.rpartition("/")[2] for info in self._store.list("packs/")}
        known: set[str] = self._tolerant(_packs, set())
        gone = known - listed
        if gone:
            self._tolerant(lambda db: _forget(db, gone), None)
        for name in sorted(listed - known):
            with suppress(StoreError, ValueError, ConflictError):
                files = decode_index(self._store.read(pack_key(name)).data)
                self.add(name, files)

    def add(self, pack: str, files: Mapping[bytes, tuple[int, int]]) -> None:
        """Remember a pack."""
        self._tolerant(lambda db: _add(db, pack, files), None)

    def close(self) -> None:
        """Let the file go."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _tolerant(self, ask: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `ask` says; a memory that is damaged or cannot be kept (read-only, full) is no reason to fail."""
        import sqlite3

        try:
            return ask(self._open())
        except sqlite3.OperationalError:  # locked, full, read-only
            return otherwise
        except (sqlite3.DatabaseError, OSError):
            self.close()
            with suppress(OSError):
                self._path().unlink()
            return otherwise

    def _path(self) -> Path:
        return cache_folder(self._store) / "packs.sqlite"

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            import sqlite3

            db = sqlite3.connect(self._path(), timeout=10, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = OFF")
                if db.execute("PRAGMA user_version").fetchone() != (1,):
                    db.executescript(_SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db


def publish_index(store: ArtifactStore, pack: str, files: Mapping[bytes, tuple[int, int]]) -> None:
    """Store a pack's index; the pack is stored already."""
    with suppress(ConflictError):
        store.write(pack_key(pack), encode_index(files), ABSENT)


def _packs(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM pack")}


def _find(db: sqlite3.Connection, wanted: list[bytes]) -> dict[bytes, Extent]:
    found = {}
    for i in range(0, len(wanted), _MANY):
        some = wanted[i : i + _MANY]
        marks = ",".join("?" * len(some))
        rows = db.execute(
            f"SELECT digest, name, start, size FROM file JOIN pack ON id = pack WHERE digest IN ({marks})",  # noqa: S608
            some,
        )
        found.update({digest: Extent(sys.intern(name), start, size) for digest, name, start, size in rows})
    return found


def _add(db: sqlite3.Connection, pack: str, files: Mapping[bytes, tuple[int, int]]) -> None:
    db.execute("BEGIN IMMEDIATE")
    with db:
        if db.execute("INSERT OR IGNORE INTO pack (name) VALUES (?)", (pack,)).rowcount == 1:
            (number,) = db.execute("SELECT id FROM pack WHERE name = ?", (pack,)).fetchone()
            rows = [(digest, number, *where) for digest, where in sorted(files.items())]
            db.executemany("INSERT OR IGNORE INTO file VALUES (?, ?, ?, ?)", rows)


def _forget(db: sqlite3.Connection, names: Iterable[str]) -> None:
    db.execute("BEGIN IMMEDIATE")
    with db:
        for name in names:
            db.execute("DELETE FROM file WHERE pack = (SELECT id FROM pack WHERE name = ?)", (name,))
            db.execute("DELETE FROM pack WHERE name = ?", (name,))
