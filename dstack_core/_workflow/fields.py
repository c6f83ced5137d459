"""What may stand in the properties that every workflow has: from the YAML's text to the values of the contract.

Each function takes a plain value (None, str, list, dict; scalars are source text) and raises `WrongValue`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from dstack_core._suggest import close_match
from dstack_core.errors import InputError
from dstack_core.models import ArtifactSpec, Dep, Gpu, Port, RegistryAuth, Retry
from dstack_core.units import parse_duration, parse_size

T = TypeVar("T")

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GPU_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,40}")
_CAUSES: Final = {
    "failure": "failed",
    "failed": "failed",
    "interruption": "interrupted",
    "interrupted": "interrupted",
}
_MOST_PORTS: Final = 100
_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})


class WrongValue(ValueError):
    """A value that cannot be taken. `path` leads to the part of it that is wrong, `at_key`: to its name."""

    def __init__(self, message: str, *path: object, hint: str | None = None, at_key: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint
        self.at_key = at_key


def text(value: Any, *path: object, literal: bool = True) -> str:
    """Text of one value. `literal`: templates are not filled in here, so one would be a mistake."""
    if not isinstance(value, str):
        what = "is empty" if value is None else "must be one text value"
        raise WrongValue(what, *path, hint='quote it if text is meant: `"null"`, `""`')
    if "\0" in value:
        raise WrongValue("holds a NUL character", *path)
    if literal and "${{" in value:
        raise WrongValue("takes no `${{ }}`", *path, hint="only `${{ matrix.NAME }}` is filled in here")
    return value


def word(value: Any, *path: object) -> str:
    """Text without white space, not empty."""
    found = text(value, *path)
    if not found or found.split() != [found]:
        raise WrongValue("must be one word", *path)
    return found


def flag(value: Any, *path: object) -> bool:
    """`true`, `yes`, `on` or the opposite."""
    if isinstance(value, bool):
        return value
    found = text(value, *path).lower()
    if found not in _TRUE | _FALSE:
        raise WrongValue("must be `true` or `false`", *path)
    return found in _TRUE


def whole(value: Any, *path: object, least: int = 0, most: int = 1_000_000) -> int:
    """A whole number within limits."""
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value, *path)
    if not re.fullmatch(r"\d{1,7}", found, re.ASCII) or not least <= int(found) <= most:
        raise WrongValue(f"must be a whole number from {least} to {most}", *path)
    return int(found)


def number(value: Any, *path: object) -> float:
    """A number above zero."""
    found = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else text(value, *path)
    if not re.fullmatch(r"\d{1,7}(\.\d{1,6})?", found, re.ASCII) or float(found) <= 0:
        raise WrongValue("must be a number above 0, like `4` or `0.5`", *path)
    return float(found)


def cpu(value: Any) -> float | None:
    """Virtual CPUs; None for `0`, which is no demand."""
    return None if value in ("0", 0) else number(value)


def price(value: Any) -> float:
    """USD per hour; `0` is what a machine costs that is there anyway."""
    return 0.0 if value in ("0", 0) else number(value)


def words(value: Any) -> tuple[str, ...]:
    """Words from a list, or one alone."""
    return tuple(word(item, index) for index, item in enumerate(items(value)))


def size(value: Any, *path: object) -> int:
    """Bytes, from `16GB` and the like."""
    return _reword(parse_size, text(value, *path), path)


def duration(value: Any, *path: object) -> float:
    """Seconds, from `2h` and the like."""
    return _reword(parse_duration, text(value, *path), path)


def env(value: Any) -> dict[str, str | None]:
    """Variables from a list of `K=V` or `K`, or from a mapping. None: to be taken from the caller's environment."""
    if isinstance(value, dict):
        return {_env_name(k, k): None if v is None else text(v, k, literal=False) for k, v in value.items()}
    found: dict[str, str | None] = {}
    for index, item in enumerate(items(value)):
        if isinstance(item, dict):
            raise WrongValue("must be `NAME=VALUE`", index, hint="or write `env` as a mapping, without the dashes")
        name, equals, content = text(item, index, literal=False).partition("=")
        found[_env_name(name, index)] = content if equals else None
    return found


def deps(value: Any) -> tuple[Dep, ...]:
    """Dependencies, each once, in order."""
    return tuple(dict.fromkeys(_dep(item, index) for index, item in enumerate(items(value))))


def artifacts(value: Any) -> tuple[ArtifactSpec, ...]:
    """What is saved. The paths are kept as written."""
    found: dict[str, ArtifactSpec] = {}
    for index, item in enumerate(items(value)):
        spec = _artifact(item, index)
        same = posixpath.normpath(spec.path)
        if same in found and found[same] != spec:
            raise WrongValue(f"`{spec.path}` is given twice, differently", index, hint="keep one of them")
        found[same] = spec
    return tuple(found.values())


def inputs(value: Any) -> tuple[str, ...]:
    """Globs of the repository's files."""
    return tuple(_inside(text(item, index), index) for index, item in enumerate(items(value)))


def working_dir(value: Any) -> str:
    """A folder of the checkout."""
    found = _inside(text(value))
    if found.startswith("/"):
        raise WrongValue("must be relative to the root of the repository", hint=f"write `{found.lstrip('/') or '.'}`")
    return found


def python(value: Any) -> str:
    """A version such as `3.11`."""
    found = text(value).strip()
    if not re.fullmatch(r"\d(\.\d{1,3}){0,2}", found, re.ASCII):
        raise WrongValue("must be a version like `3.11`")
    return found


def ports(value: Any) -> tuple[Port, ...]:
    """From how many there are, a list of `NUMBER` and `LOCAL:NUMBER`, or a mapping of names to those."""
    if isinstance(value, dict):
        found = tuple(replace(_port(port, name), name=word(name, name)) for name, port in value.items())
    elif isinstance(value, list):
        found = tuple(_port(port, index) for index, port in enumerate(value))
    elif isinstance(value, str) and (":" in value or "," in value):  # as on the command line
        found = tuple(_port(port.strip()) for port in value.split(","))
    else:
        return (Port(),) * _number_of_ports(value)
    if len(found) > _MOST_PORTS:
        raise WrongValue(f"there are {len(found)} of them; {_MOST_PORTS} is the most")
    for side in ("number", "local"):
        asked = [getattr(port, side) for port in found if getattr(port, side)]
        if twice := [port for port in asked if asked.count(port) > 1]:
            raise WrongValue(f"{twice[0]} is there twice")
    return found


def _number_of_ports(value: Any) -> int:
    try:
        return whole(value, most=_MOST_PORTS)
    except WrongValue as wrong:
        if isinstance(value, str) and value.isdecimal():
            wrong.hint = f"it is how many ports there are; the port {value} would be `ports: [{value}]`"
        raise


def _port(value: Any, *path: object) -> Port:
    """`8501`; `8080:80` is the job's port 80, reached at 8080."""
    local, _, number = text(value, *path).rpartition(":")
    return Port(_port_number(number, path), _port_number(local, path) if local else None)


def _port_number(value: str, path: tuple[object, ...]) -> int:
    if not (value.isascii() and value.isdecimal() and 0 < int(value[:6]) < 65536):
        raise WrongValue("must be a port like `8501`, or two like `8080:80`: where you reach it, and the job's", *path)
    return int(value)


def gpu(value: Any) -> Gpu | None:
    """GPUs from `2`, `V100`, `V100:2` or a mapping; None for none."""
    if isinstance(value, dict):
        given = keys(value, "count", "name", "memory")
        count = whole(given["count"], "count", most=1000) if "count" in given else 1
        name = text(given["name"], "name").strip() if "name" in given else None
        memory = size(given["memory"], "memory") if "memory" in given else None
    else:
        name, count, memory = _short_gpu(value)
    if name is not None and not _GPU_NAME.fullmatch(name):
        raise WrongValue(f"`{name}` is not the name of a GPU", hint="write it like `V100`, `V100:2` or `2`")
    return Gpu(count, name, memory) if count else None


def retry(value: Any) -> Retry:
    """When to try again: a number of attempts, or a mapping."""
    given = keys(value, "attempts", "on", "backoff") if isinstance(value, dict) else {"attempts": value}
    if "attempts" not in given:
        raise WrongValue("has no `attempts`", hint="write `attempts: 3`")
    causes = []
    for index, cause in enumerate(items(given.get("on", ["failure", "interruption"]))):
        if (name := text(cause, "on", index)) not in _CAUSES:
            raise WrongValue("must be `failure` or `interruption`", "on", index)
        causes.append(_CAUSES[name])
    attempts = whole(given["attempts"], *(["attempts"] if isinstance(value, dict) else []), least=1, most=100)
    backoff = given.get("backoff", "0")
    return Retry(attempts, tuple(dict.fromkeys(causes)), 0.0 if backoff == "0" else duration(backoff, "backoff"))


def registry_auth(value: Any) -> RegistryAuth:
    """Who asks a registry for the image: a mapping."""
    given = keys(value, "username", "password") if isinstance(value, dict) else {}
    for name in ("username", "password"):
        if name not in given:
            raise WrongValue(f"has no `{name}`", hint="write `username:` and `password: ${{ secrets.NAME }}`")
    username, password = (text(given[name], name, literal=False) for name in ("username", "password"))
    return RegistryAuth(username, password)


def _short_gpu(value: Any) -> tuple[str | None, int, int | None]:
    found = str(value) if isinstance(value, int) else text(value).strip()
    if found.isdigit():
        return None, whole(found, most=1000), None
    name, colon, count = found.partition(":")
    if colon and not count.strip().isdigit():
        raise WrongValue(f"`{found}` is not a GPU and a number", hint="write it like `V100:2`")
    return name.strip(), whole(count.strip(), most=1000) if colon else 1, None


def _dep(item: Any, index: int) -> Dep:
    if not isinstance(item, dict):
        found = text(item, index)
        if found.startswith(":"):
            return _named("tag", found[1:], index)
        owner, slash, name = found.rpartition("/")
        if name.startswith(":"):
            return _named("tag", owner + slash + name[1:], index)
        return _named("workflow", found, index)
    given = keys(item, "workflow", "tag", "mount", prefix=(index,))
    kinds = [k for k in ("workflow", "tag") if k in given]
    if len(kinds) != 1:
        raise WrongValue("must have `workflow` or `tag`, one of them", index, hint="write `- workflow: NAME`")
    # 2023's `mount` chose how a dep came to the machine; it changes nothing that a job can see.
    flag(given.get("mount", "false"), index, "mount")
    return _named(kinds[0], text(given[kinds[0]], index, kinds[0]), index, kinds[0])


def _named(kind: str, full: str, *path: object) -> Dep:
    parts = full.split("/")
    if len(parts) not in (1, 3) or not all(parts) or full != full.strip():
        form = "`NAME` or `OWNER/REPO/NAME`"
        raise WrongValue(f"`{full}` does not name a {kind}", *path, hint=f"write {form}; a tag in short: `:NAME`")
    return Dep(kind, parts[-1], "/".join(parts[:-1]) or None)


def _artifact(item: Any, index: int) -> ArtifactSpec:
    if not isinstance(item, dict):
        return ArtifactSpec(_inside(text(item, index), index))
    given = keys(item, "path", "mount", prefix=(index,))
    if "path" not in given:
        raise WrongValue("has no `path`", index, hint="write `- path: ./folder`")
    return ArtifactSpec(
        _inside(text(given["path"], index, "path"), index, "path"), flag(given.get("mount", "false"), index, "mount")
    )


def _inside(path: str, *where: object) -> str:
    if not path.strip():
        raise WrongValue("is empty", *where, hint="write a path like `./folder`")
    if posixpath.normpath(path).split("/")[0] == "..":
        raise WrongValue(f"`{path}` leads out of the folder", *where, hint="use a path without `..`")
    return path


def _env_name(name: str, *path: object) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise WrongValue(
            f"`{name[:40]}` is not a name for a variable",
            *path,
            hint="use letters, digits and `_`, not starting with a digit",
        )
    return name


def items(value: Any) -> Iterable[Any]:
    """Those of a list; one value is a list of one."""
    if isinstance(value, dict):
        raise WrongValue("must be a list", hint="start each item with `- `")
    return value if isinstance(value, (list, tuple)) else [value]


def keys(value: Mapping[str, Any], *known: str, prefix: tuple[object, ...] = ()) -> dict[str, Any]:
    """Those keys of a mapping that have a value, all of them `known`."""
    for key in value:
        if key not in known:
            close = close_match(key, known)
            hint = f"did you mean `{close}`?" if close else "known are: " + ", ".join(f"`{k}`" for k in known)
            raise WrongValue(f"unknown key `{key}`", *prefix, key, hint=hint, at_key=True)
    return {k: v for k, v in value.items() if v is not None}


def _reword(parse: Callable[[str], T], value: str, path: tuple[object, ...]) -> T:
    try:
        return parse(value)
    except InputError as error:
        raise WrongValue(error.message, *path, hint=error.hint) from None
