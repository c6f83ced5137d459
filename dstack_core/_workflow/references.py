"""Check every `${{ }}` of a workflow before anything is spent on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dstack_core._suggest import close_match
from dstack_core._workflow import template
from dstack_core.errors import InputError
from dstack_core.models import Workflow

Path = tuple[object, ...]


def check_references(workflow: Workflow, env_path: Callable[[str], Path], place: Callable[[Path], str | None]) -> None:
    """Look at `env`, `registry_auth` and the provider's properties.

    `env_path` leads to a variable, `place` says where a path is.

    Raises:
        InputError: a reference to what does not exist, or that is not one; `where` is the value that holds it.
    """
    for name, value in workflow.env.items():
        if "${{" in value:
            _check_text(value, env_path(name), workflow, place, in_env=True)
    if workflow.registry_auth:
        for name in ("username", "password"):
            value = getattr(workflow.registry_auth, name)
            if "${{" in value:
                _check_text(value, ("registry_auth", name), workflow, place)
    for name, value in workflow.properties.items():
        for path, text in texts(value, (name,)):
            if "${{" in text:
                _check_text(text, path, workflow, place)


def check_key(key: str, known: Mapping[str, str]) -> None:
    """Raises InputError when `${{ matrix.KEY }}` has no value: `known` are those of the cell."""
    if key in known:
        return
    if not known:
        raise InputError(f"`matrix.{key}`, but the workflow has no `matrix`", hint=f"add `matrix: {{{key}: [...]}}`")
    close = close_match(key, known)
    hint = f"did you mean `matrix.{close}`?" if close else f"its keys are: {', '.join(sorted(known))}"
    raise InputError(f"the matrix has no `{key}`", hint=hint)


def dotted(path: Sequence[object]) -> str:
    """A path as people write it: `commands[0]`, `resources.gpu.count`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The texts in a plain value, each with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(item, (*path, index))


def _check_text(
    text: str, path: Path, workflow: Workflow, place: Callable[[Path], str | None], *, in_env: bool = False
) -> None:
    try:
        for reference in template.references(text):
            _check_reference(reference.name, workflow, in_env)
    except InputError as error:
        at = f" ({error.where} of the text)" if error.where and "\n" in text else ""
        raise InputError(f"`{dotted(path)}`: {error.message}{at}", where=place(path), hint=error.hint) from None


def _check_reference(name: str, workflow: Workflow, in_env: bool) -> None:
    family, _, member = name.partition(".")
    if name.startswith("job.port_") and int(name[9:]) >= len(workflow.ports):
        wanted = int(name[9:]) + 1
        raise InputError(f"`{name}`, but the job has {len(workflow.ports)} ports", hint=f"add `ports: {wanted}`")
    if family == "matrix":
        check_key(member, workflow.cell.values if workflow.cell else {})
    if family != "env":
        return
    if in_env:
        raise InputError("a variable of `env` cannot be made from another one", hint="join them in `commands`")
    if member not in workflow.env and not member.startswith("PORT_"):
        close = close_match(member, workflow.env)
        hint = f"did you mean `env.{close}`?" if close else f"add `{member}` to `env`, or use `${member}`"
        raise InputError(f"`env` has no `{member}`", hint=hint)
