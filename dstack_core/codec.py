"""Dataclasses to JSON and back, by their type hints.

A library would do (msgspec, cattrs, pydantic), but each costs more to import than a whole `dstack ps` may take.
Fields that a newer version added are ignored when read; records that are rewritten keep them (see `_ledger`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, Union

T = TypeVar("T")
Decoder = Callable[[Any, str], Any]


def to_plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as the dicts and lists that `json` writes; defaults are left out."""
    kind: Any = type(value)
    if kind in _SCALARS:
        return value
    fields = _fields(kind)
    if fields is not None:
        plain = {}
        for name, default, factory in fields:
            item = getattr(value, name)
            if item != (factory() if factory else default):
                plain[name] = to_plain(item)
        return plain
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(v) for v in value]
    return value


def from_plain(cls: type[T], plain: Any) -> T:
    """Build `cls` (a dataclass) from what `to_plain` gave.

    Raises:
        ValueError: `plain` has not the shape of `cls`; the message names the field.
    """
    return typing.cast(T, _decode(cls, plain, cls.__name__))


def dumps(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII. Equal values give equal bytes."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":")).encode("ascii")


def loads(cls: type[T], data: bytes | str) -> T:
    """`from_plain` of JSON text. Raises ValueError for what is not JSON, too."""
    return from_plain(cls, json.loads(data))


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


@functools.cache
def _fields(cls: Any) -> list[tuple[str, Any, Callable[[], Any] | None]] | None:
    """Name and default of a dataclass's fields, the latter by its factory if it has one; None for other classes."""
    if not dataclasses.is_dataclass(cls):
        return None
    missing = dataclasses.MISSING
    return [
        (f.name, f.default, None if f.default_factory is missing else f.default_factory)
        for f in dataclasses.fields(cls)
    ]


def _decode(hint: Any, plain: Any, where: str) -> Any:
    return _decoder(hint)(plain, where)


@functools.cache
def _decoder(hint: Any) -> Decoder:
    """What reads a value of that type. Type hints are taken apart once: a plan has 10,000 records to read."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda plain, _: plain
    if origin in (Union, types.UnionType):
        return _union_decoder(args)
    if dataclasses.is_dataclass(hint):
        return _dataclass_decoder(typing.cast(type, hint))
    if origin in (tuple, list) or (origin is not None and issubclass(origin, Sequence)):
        return _list_decoder(args[0], tuple if origin is tuple else list)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_decoder(args[1])
    return _scalar_decoder(hint)


def _scalar_decoder(hint: type) -> Decoder:
    def decode(plain: Any, where: str) -> Any:
        if type(plain) is hint:
            return plain
        if hint is float and isinstance(plain, int) and not isinstance(plain, bool):
            return float(plain)
        _expect(isinstance(plain, hint) and not (hint is int and isinstance(plain, bool)), plain, where, hint.__name__)
        return plain

    return decode


def _list_decoder(item: Any, make: type) -> Decoder:
    def decode(plain: Any, where: str) -> Any:
        _expect(isinstance(plain, list), plain, where, "a list")
        one = _decoder(item)
        return make(one(p, f"{where}[{i}]") for i, p in enumerate(plain))

    return decode


def _mapping_decoder(item: Any) -> Decoder:
    def decode(plain: Any, where: str) -> Any:
        _expect(isinstance(plain, dict), plain, where, "an object")
        one = _decoder(item)
        return {k: one(v, f"{where}.{k}") for k, v in plain.items()}

    return decode


def _union_decoder(args: tuple[Any, ...]) -> Decoder:
    members = [m for m in args if m is not type(None)]

    def decode(plain: Any, where: str) -> Any:
        if plain is None and len(members) < len(args):
            return None
        for member in members[:-1]:
            try:
                return _decode(member, plain, where)
            except ValueError:
                continue
        return _decode(members[-1], plain, where)

    return decode


def _dataclass_decoder(cls: type) -> Decoder:
    # Types of fields are looked up at the first use, so that a class may refer to itself.
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]

    def decode(plain: Any, where: str) -> Any:
        _expect(isinstance(plain, dict), plain, where, "an object")
        known = {name: _decoder(hints[name])(plain[name], f"{where}.{name}") for name in names if name in plain}
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from None

    return decode


def _expect(ok: bool, plain: Any, where: str, what: str) -> None:
    if not ok:
        raise ValueError(f"{where}: expected {what}, got {type(plain).__name__}")
