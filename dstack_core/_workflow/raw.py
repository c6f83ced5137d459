"""One workflow as it was written, before anything of it is validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from dstack_core.errors import InputError

if TYPE_CHECKING:
    from dstack_core._yaml import Document, Item
    from dstack_core.models import Cell


class RawWorkflow:
    """One entry of `workflows:` as it was written, or a workflow made on the command line.

    Attributes:
        name: its name.
        where: `path:line:column` of the entry; None for one that is in no file.
        of: which cell of its matrix it is; None for a whole workflow.
    """

    __slots__ = ("_data", "_document", "_index", "_refused", "name", "of", "where")

    def __init__(
        self,
        name: str,
        data: Mapping[str, Any],
        document: Document | None = None,
        index: int = 0,
        item: Item | None = None,
    ) -> None:
        self.name = name
        self.where = item.place if item else None
        self.of: Cell | None = None
        self._data = data
        self._document = document
        self._index = index
        self._refused = item.refused if item else None

    @property
    def data(self) -> Mapping[str, Any]:
        """All properties; every scalar is its source text, None where there is no value.

        Raises:
            InputError: the YAML reader refused something in it.
        """
        if self._refused:
            raise copy(self._refused)
        return self._data

    @property
    def provider(self) -> str:
        """The name of the provider. Raises InputError when there is none."""
        name = self.data.get("provider")
        if not isinstance(name, str) or not name:
            message = "`provider` must be a name" if name else f"workflow `{self.name}` has no provider"
            raise InputError(message, where=self.locate(("provider",)), hint="write `provider: bash`")
        return name

    @property
    def has_matrix(self) -> bool:
        """Whether it is many jobs, and not one."""
        return self._data.get("matrix") is not None

    @property
    def help(self) -> str | None:
        """What the workflow is for, for listings; None when it is not said. Never raises."""
        found = self._data.get("help")
        return found if isinstance(found, str) else None

    def cell(self, name: str, data: Mapping[str, Any], of: Cell) -> RawWorkflow:
        """The same entry as one cell of its matrix."""
        made = copy(self)
        made.name, made._data, made.of = name, data, of
        return made

    def locate(self, path: Sequence[object], *, key: bool = False) -> str | None:
        """`path:line:column` of a property, or of the nearest thing around it; None when the workflow is in no file.
        `key`: of the property's name."""
        if self._document is None:
            return None
        return self._document.locate(("workflows", self._index, *path), key=key)
