"""A project folder to write workflow files into, and the bash provider to resolve them with."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from dstack_provider_bash.provider import BashProvider

from dstack_core._workflow.load import load_workflows
from dstack_core._workflow.own import OwnProperties
from dstack_core._workflow.resolve import resolve
from dstack_core.errors import DstackError
from dstack_core.models import Workflow


class Project:
    """A folder with `.dstack/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".dstack" / "workflows").mkdir(parents=True)

    def write(self, text: str, name: str = "workflows.yaml") -> Project:
        (self.root / ".dstack" / name).write_text(textwrap.dedent(text), encoding="utf-8")
        return self

    def resolve(
        self,
        name: str = "w",
        overrides: Mapping[str, object] | None = None,
        args: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        provider: Any = None,
    ) -> Workflow:
        raw = load_workflows(self.root).get(name)
        return resolve(raw, OwnProperties(provider or BashProvider()), overrides or {}, args, environ or {})

    def one(self, properties: str, **given: Any) -> Workflow:
        """Resolve a workflow `w` with `commands` and these further lines."""
        lines = textwrap.indent(textwrap.dedent(properties).strip("\n"), "    ")
        self.write(f"workflows:\n  - name: w\n    provider: bash\n    commands: [echo]\n{lines}\n")
        return self.resolve(**given)

    def error(self, call: Callable[[], object], kind: type[DstackError]) -> str:
        """`where: message | hint` of the error that `call` raises."""
        with pytest.raises(kind) as caught:
            call()
        return f"{caught.value} | {caught.value.hint}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")
