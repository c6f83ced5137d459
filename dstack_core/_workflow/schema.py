"""The properties that every workflow has, as tables: name -> what turns its YAML into a value of the contract.

Not a pydantic model, because pydantic takes longer to import than all of planning a run. A provider's own properties
are one (`own.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from dstack_core._suggest import close_match
from dstack_core._workflow import fields, matrix
from dstack_core._workflow.fields import WrongValue

Table = Mapping[str, Callable[[Any], Any]]

RESOURCES: Final[Table] = {
    "cpu": fields.cpu,
    "memory": fields.size,
    "gpu": fields.gpu,
    "shm_size": fields.size,
    "disk": fields.size,
    "interruptible": fields.flag,
    "max_price": fields.price,
    "instance_types": fields.words,
    "remote": fields.flag,
    "local": fields.flag,
}


def parse(given: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The values of those properties that are given.

    Raises:
        WrongValue: the first that is wrong, in the order of the table; else the first that is not in the table.
    """
    found = {}
    for name, take in table.items():
        if name in given:
            try:
                found[name] = take(given[name])
            except WrongValue as wrong:
                raise WrongValue(wrong.message, name, *wrong.path, hint=wrong.hint, at_key=wrong.at_key) from None
    for name in given:
        if name not in table:
            close = close_match(name, table)
            hint = f"did you mean `{close}`?" if close else f"known are: {', '.join(sorted(table))}"
            raise WrongValue("unknown key", name, hint=hint, at_key=True)
    return found


def _resources(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongValue("must be a mapping")
    return parse(value, RESOURCES)


PROPERTIES: Final[Table] = {
    "name": partial(fields.text, literal=False),
    "provider": partial(fields.text, literal=False),
    "help": fields.text,
    "deps": fields.deps,
    "env": fields.env,
    "python": fields.python,
    "ports": fields.ports,
    "working_dir": fields.working_dir,
    "artifacts": fields.artifacts,
    "resources": _resources,
    "inputs": fields.inputs,
    "image": fields.word,
    "registry_auth": fields.registry_auth,
    "executor": fields.word,
    "retry": fields.retry,
    "max_duration": fields.duration,
    "matrix": matrix.parse,
}
