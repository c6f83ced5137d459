"""`dstack init`: the first workflow file of a project, which runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from dstack_core._cli.context import context
from dstack_core.errors import ConflictError, InputError

SCHEMA_LINE: Final = "# yaml-language-server: $schema=schema.json\n"
HEAD: Final = """\
# The workflows of this project. `dstack plan NAME` says what a run would do, `dstack run NAME` does it.
"""
HELLO: Final = """\
workflows:
  - name: hello
    provider: bash
    commands:
      - mkdir -p greeting
      - echo "Hello from $(hostname)" > greeting/hello.txt
    artifacts: [./greeting] # kept, and there for the workflows that need it

  - name: shout
    provider: bash
    deps: [hello] # runs first, or is reused when nothing has changed
    commands:
      - tr a-z A-Z < greeting/hello.txt
"""
PYTHON: Final = """\
workflows:
  - name: {name}
    provider: bash
    commands:
{commands}
    # artifacts: [./model] # folders and files to keep
    # deps: [data] # workflows whose artifacts are needed
    # python: 3.11 # the Python that runs dstack, if nothing is said
    # resources: {{memory: 4GB, gpu: 1}}
"""


@click.command()
@click.option("--schema", is_flag=True, help="Write a schema beside it, so that editors complete and check it.")
def init(schema: bool) -> None:
    """Write .dstack/workflows.yaml, a small commented example that runs as it is.

    A Python script of the project (train.py or main.py) and its requirements.txt are made use of. A file that is
    there already is never touched.
    """
    here = context()
    root = here.project
    _refuse(root)
    name, body = example(root)
    text = (SCHEMA_LINE if schema else "") + HEAD + body
    _create(root / ".dstack" / "workflows.yaml", text)
    if schema:
        from dstack_core._cli.schema import write_schema

        write_schema(here)
    click.echo(f"Wrote {root / '.dstack' / 'workflows.yaml'}\nRun it: dstack run {name}")


def example(root: Path) -> tuple[str, str]:
    """A workflow that fits what is in the folder: its name, and the file's text."""
    script = next((name for name in ("train.py", "main.py") if (root / name).is_file()), None)
    if script is None:
        return "shout", HELLO
    commands = ["pip install -r requirements.txt"] if (root / "requirements.txt").is_file() else []
    commands.append(f"python {script} ${{{{ run.args }}}}")
    name = script.removesuffix(".py")
    return name, PYTHON.format(name=name, commands="\n".join(f"      - {command}" for command in commands))


def _refuse(root: Path) -> None:
    """Raises ConflictError when there are workflows already."""
    for name in ("workflows.yaml", "workflows.yml", "workflows"):
        path = root / ".dstack" / name
        if path.exists() or path.is_symlink():
            raise ConflictError("there are workflows already", where=str(path), hint="dstack plan WORKFLOW")


def _create(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConflictError("is there already", where=str(path), hint="dstack plan WORKFLOW") from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None
