"""`dstack schema`: what may stand in workflow files, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import warn_of
from dstack_core._cli.render import write_json
from dstack_core.errors import DstackError, InputError

FILE: Final = ".dstack/schema.json"
VSCODE: Final = ".vscode/settings.json"
FILES: Final = [".dstack/workflows.y*ml", ".dstack/workflows/*.y*ml"]


@click.command()
@click.option("--install", is_flag=True, help="Write it into the project, where VS Code's YAML extension finds it.")
def schema(install: bool) -> None:
    """Print the JSON Schema of workflow files: what every workflow has, and what the installed providers add.

    Other editors find it by a first line in the workflow file: `# yaml-language-server: $schema=schema.json`.
    """
    here = context()
    if not install:
        write_json(made_schema(here))
        return
    write_schema(here)
    settings = here.project / VSCODE
    if _tell_vscode(settings):
        click.echo(f"Wrote {FILE} and {VSCODE}. VS Code needs the extension redhat.vscode-yaml.")
    else:
        click.echo(f"Wrote {FILE}. {VSCODE} has comments and is left alone; add to it:\n")
        click.echo(f'  "yaml.schemas": {json.dumps({FILE: FILES})}')


def write_schema(here: Context) -> None:
    """Write the schema into the project. Raises InputError."""
    _write(here.project / FILE, made_schema(here))


def made_schema(here: Context) -> dict[str, Any]:
    """The schema, with those installed providers that work; the others are told on stderr."""
    from dstack_core._plugins.kinds import PROVIDER
    from dstack_core._workflow.json_schema import json_schema

    models = {}
    for name in here.plugins.names(PROVIDER):
        try:
            models[name] = here.plugins.provider(name).properties()
        except DstackError as error:
            warn_of(error)
        except Exception as error:  # a stranger's code
            warn_of(DstackError(f"provider {name}: {type(error).__name__}: {error}"))
    return json_schema(models)


def _tell_vscode(path: Path) -> bool:
    """Name the schema in the project's settings; False when they cannot be changed without harm."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        schemas = settings.setdefault("yaml.schemas", {})
        known = schemas.get(FILE) == FILES
        schemas[FILE] = FILES
    except (ValueError, AttributeError, TypeError, OSError):
        return False
    if not known:
        _write(path, settings)
    return True


def _write(path: Path, value: Any) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None
