"""The cells of a workflow with a `matrix`: each an entry of its own, with `${{ matrix.KEY }}` filled in.

Filled in here is what planning has to know: paths, deps, resources. In `env` and the provider's properties it is the
runner that does it, as with every other template, since only there is it known how a value must be quoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dstack_core._workflow.fields import WrongValue
from dstack_core._workflow.matrix import Matrix, cell_name, encoded
from dstack_core._workflow.options import COMMON
from dstack_core._workflow.references import check_key, dotted
from dstack_core._workflow.schema import PROPERTIES
from dstack_core._workflow.template import fill_known, references
from dstack_core.errors import InputError
from dstack_core.models import Cell

if TYPE_CHECKING:
    from dstack_core._workflow.raw import RawWorkflow

_FILLED: Final = PROPERTIES.keys() - {"name", "provider", "env", "matrix"}
_OPTIONS: Final = {option.name for option in COMMON} - {"env"}


def cells_of(raw: RawWorkflow) -> dict[str, RawWorkflow]:
    """The cells by name, in their order.

    Raises:
        InputError: the matrix is wrong, or a property refers to a key that it does not have.
    """
    matrix = _matrix(raw)
    rest = {key: value for key, value in raw.data.items() if key != "matrix"}
    texts = {key: rest[key] for key in _FILLED & rest.keys() if _has_template(rest[key])}
    for key, value in texts.items():
        _check(raw, value, (key,), matrix.cells[0])
    cells: dict[str, RawWorkflow] = {}
    for values in matrix.cells:
        name = cell_name(raw.name, values)
        if name in cells:
            raise InputError(f"two cells would be called {name}", where=raw.locate(("matrix",)))
        known = {f"matrix.{key}": value for key, value in values.items()}
        filled = {key: _filled(value, _in_names(known) if key == "deps" else known) for key, value in texts.items()}
        cells[name] = raw.cell(name, {**rest, **filled}, Cell(raw.name, values, matrix.max_parallel))
    return cells


def fill_options(given: Mapping[str, object], cell: Cell) -> dict[str, Any]:
    """Options of the command line, keyed as in `resolve`, for one cell; those of the provider and `env` stay."""
    known = {f"matrix.{key}": value for key, value in cell.values.items()}
    return {name: _filled(value, known) if name in _OPTIONS else value for name, value in given.items()}


def _matrix(raw: RawWorkflow) -> Matrix:
    try:
        found = PROPERTIES["matrix"](raw.data["matrix"])
    except WrongValue as wrong:
        path = ("matrix", *wrong.path)
        message = f"`{dotted(path)}`: {wrong.message}"
        raise InputError(message, where=raw.locate(path, key=wrong.at_key), hint=wrong.hint) from None
    assert isinstance(found, Matrix)
    return found


def _in_names(known: Mapping[str, str]) -> dict[str, str]:
    """For `data[lang=${{ matrix.lang }}]`, the cell of another workflow."""
    return {key: encoded(value) for key, value in known.items()}


def _has_template(value: Any) -> bool:
    if isinstance(value, str):
        return "${{" in value
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(map(_has_template, parts))


def _check(raw: RawWorkflow, value: Any, path: tuple[object, ...], known: Mapping[str, str]) -> None:
    """Raises InputError for a reference to a key that the matrix does not have, or to none at all."""
    if isinstance(value, str):
        try:
            for reference in references(value):
                family, _, key = reference.name.partition(".")
                if family == "matrix":
                    check_key(key, known)
        except InputError as error:
            raise InputError(f"`{dotted(path)}`: {error.message}", where=raw.locate(path), hint=error.hint) from None
    elif isinstance(value, (Mapping, list)):
        for step, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check(raw, item, (*path, step), known)


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill_known(value, known) if "${{" in value else value
    if isinstance(value, Mapping):
        return {key: _filled(item, known) for key, item in value.items()}
    return [_filled(item, known) for item in value] if isinstance(value, list) else value
