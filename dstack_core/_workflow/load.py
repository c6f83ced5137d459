"""Find and read a project's workflow files; look up one workflow by name. Nothing is validated here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dstack_core._suggest import close_match
from dstack_core._workflow.raw import RawWorkflow
from dstack_core.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from dstack_core._yaml import Document, Item


class Workflows:
    """The workflows of a project, by name. What is wrong with one is told when that one is asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries: dict[str, list[RawWorkflow]] = {}
        self._cells: dict[str, RawWorkflow] = {}
        self._cells_of: dict[str, list[str]] = {}
        self.problems: list[InputError] = []
        """Files that could not be read, and entries without a usable name."""

    def names(self) -> list[str]:
        """All names, in the order of the files."""
        return list(self._entries)

    def jobs(self, name: str) -> Sequence[str]:
        """Names of the jobs that a workflow is: its own, or those of all cells of its matrix. Raises as `get`."""
        raw = self.get(name)
        return self._expanded(raw) if raw.has_matrix else [raw.name]

    def get(self, name: str) -> RawWorkflow:
        """The workflow of that name, or one cell of its matrix (`train[lr=0.1]`).

        Raises:
            NotFoundError: there is none; if a file is broken, that is told first.
            InputError: it is there twice, or something in it was refused.
        """
        found = self._entries.get(name)
        if found is None:
            return self._cell(name)
        if len(found) > 1:
            raise InputError(
                f"workflow `{name}` is defined twice; the other one is {found[0].where}",
                where=found[1].locate(("name",)),
                hint="rename one of them",
            )
        _ = found[0].data
        return found[0]

    def _cell(self, name: str) -> RawWorkflow:
        if name in self._cells:
            return self._cells[name]
        from dstack_core._workflow.matrix import read_name

        for workflow, written in read_name(name):
            if workflow in self._entries and (raw := self.get(workflow)).has_matrix:
                names = self._expanded(raw)
                if written in self._cells:
                    return self._cells[written]
                close = close_match(written, names[:1000])
                hint = f"did you mean `{close}`?" if close else f"there are: {_some(names)}"
                raise NotFoundError(f"`{workflow}` has no cell `{written}`", hint=hint, where=raw.where)
        raise self._missing(name)

    def _expanded(self, raw: RawWorkflow) -> list[str]:
        """Names of the cells."""
        if raw.name not in self._cells_of:
            from dstack_core._workflow.cells import cells_of

            cells = cells_of(raw)
            if taken := cells.keys() & (self._entries.keys() | self._cells.keys()):
                message = f"a cell would be called `{min(taken)}`, as something else is"
                raise InputError(message, where=raw.locate(("matrix",)), hint="rename one of the workflows")
            self._cells |= cells
            self._cells_of[raw.name] = list(cells)
        return self._cells_of[raw.name]

    def _missing(self, name: str) -> NotFoundError:
        if self.problems:
            # It may well stand in what could not be read; a provider of that name can be run all the same.
            first = self.problems[0]
            more = f"; {len(self.problems) - 1} more problems" if len(self.problems) > 1 else ""
            message = f"{first.message} (so no workflow `{name}` was found{more})"
            return NotFoundError(message, where=first.where, hint=first.hint)
        if not self._entries:
            return NotFoundError(
                f"no workflow `{name}`: there are no workflows in {self._root}",
                hint="write one in .dstack/workflows.yaml, or name a provider: `dstack run bash -c 'echo hi'`",
            )
        close = close_match(name, self._entries)
        hint = f"did you mean `{close}`?" if close else f"there are: {_some(self.names())}"
        return NotFoundError(f"no workflow `{name}` in {self._root / '.dstack'}", hint=hint)

    def _add_file(self, path: Path) -> None:
        from dstack_core._yaml import read

        try:
            document = read(path, path.relative_to(self._root).as_posix())
            for index, item in enumerate(_items(document)):
                self._add_item(document, index, item)
        except InputError as error:
            self.problems.append(error)

    def _add_item(self, document: Document, index: int, item: Item) -> None:
        try:
            name = _name(document, index, item)
        except InputError as error:
            self.problems.append(error)
        else:
            self._entries.setdefault(name, []).append(RawWorkflow(name, item.value, document, index, item))


def load_workflows(root: Path) -> Workflows:
    """Read `.dstack/workflows.yaml` and `.dstack/workflows/*.yaml|*.yml` of the project `root`. Never raises for
    what is in them: see `Workflows.get` and `Workflows.problems`."""
    workflows = Workflows(root)
    for path in _files(root / ".dstack"):
        workflows._add_file(path)
    return workflows


def _files(dot: Path) -> Iterator[Path]:
    for name in ("workflows.yaml", "workflows.yml"):
        if (dot / name).exists() or (dot / name).is_symlink():
            yield dot / name
    try:
        found = sorted((dot / "workflows").iterdir())
    except OSError:
        return
    # Names that start with a dot are an editor's locks and backups.
    yield from (p for p in found if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))


def _items(document: Document) -> list[Item]:
    root = document.root
    if root is None:
        return []
    if isinstance(root, InputError):
        raise root
    if not isinstance(root, dict) or "workflows" not in root:
        close = close_match("workflows", root if isinstance(root, dict) else ())
        raise InputError(
            f"unknown key `{close}`" if close else "no `workflows:` at the top of the file",
            where=document.locate((close,) if close else (), key=True),
            hint="did you mean `workflows`?" if close else "start with `workflows:`, then a list of `- name: ...`",
        )
    items = root["workflows"]
    if isinstance(items, InputError):
        raise items
    if items is not None and not isinstance(items, list):
        raise InputError(
            "`workflows` must be a list", where=document.locate(("workflows",)), hint="write `- name: ...`"
        )
    return items or []


def _name(document: Document, index: int, item: Item) -> str:
    name = item.value.get("name") if isinstance(item.value, dict) else None
    for refused in (item.value, name):
        if isinstance(refused, InputError):
            raise refused
    if not isinstance(item.value, dict):
        raise InputError("a workflow must be a mapping", where=item.place, hint="write `- name: ...`")
    if name is None:
        close = close_match("name", set(item.value) - {"help"})
        hint = f"did you mean `name` by `{close}`?" if close else "add `name: ...`"
        raise item.refused or InputError("a workflow without a name", where=item.place, hint=hint)
    if not isinstance(name, str) or not _is_name(name):
        raise InputError(
            "not a name for a workflow",
            where=document.locate(("workflows", index, "name")),
            hint="use up to 100 characters, no `/`, not starting with `-` or `:`",
        )
    return name


def _is_name(text: str) -> bool:
    """Whatever can be told from `OWNER/REPO/NAME`, `:TAG` and an option, and can be seen."""
    return (
        0 < len(text) <= 100 and text.isprintable() and text.strip() == text and text[0] not in "-:" and "/" not in text
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"`{n}`" for n in names[:8]) + (", ..." if len(names) > 8 else "")
