"""Core's own commands, offered through the same hook as a plugin's: one line each, in the order of `dstack --help`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from dstack_core.hookspecs import Entry, hookimpl

if TYPE_CHECKING:
    import click


def _from(module: str, attribute: str) -> Callable[[], click.Command]:
    """A loader of the click command `attribute` in `dstack_core/_cli/<module>.py`."""

    def load() -> click.Command:
        import importlib

        return cast("click.Command", getattr(importlib.import_module(f"dstack_core._cli.{module}"), attribute))

    return load


COMMANDS: tuple[Entry[click.Command], ...] = (
    Entry("init", "Start a project: write its first workflow file", _from("init", "init")),
    Entry("run", "Run a workflow and what it needs", _from("run", "run")),
    Entry("plan", "Show what a run would do, and why", _from("plan", "plan")),
    Entry("ps", "Show the active runs, or the jobs of a run", _from("ps", "ps")),
    Entry("logs", "Print what the jobs of a run wrote", _from("logs", "logs")),
    Entry("open", "Open what a job serves on its ports", _from("open", "open_")),
    Entry("ssh", "Get into a running job", _from("ssh", "ssh")),
    Entry("why", "Show what the jobs of a run depend on", _from("why", "why")),
    Entry("stop", "End runs", _from("stop", "stop")),
    Entry("ls", "List the artifacts of a run or a tag", _from("ls", "ls")),
    Entry("cp", "Copy artifacts to a folder of yours", _from("cp", "cp")),
    Entry("push", "Send a run or a tag to a remote", _from("share", "push")),
    Entry("pull", "Fetch a run or a tag from a remote", _from("share", "pull")),
    Entry("tags", "List, add and delete tags", _from("tags", "tags")),
    Entry("secrets", "List, add, update and delete secrets", _from("secrets", "secrets")),
    Entry("code", "Compare and restore the code of a run", _from("code", "code")),
    Entry("rm", "Remove finished runs from the listings", _from("rm", "rm")),
    Entry("machines", "Show machines, what they cost, and what was left behind", _from("machines", "machines")),
    Entry("gc", "Free the space of what nothing refers to", _from("gc", "gc")),
    Entry("config", "Show and change settings", _from("config", "config")),
    Entry("plugins", "Show the installed plugins and what is wrong with them", _from("plugins", "plugins")),
    Entry("schema", "Print the JSON Schema of workflow files, for editors", _from("schema", "schema")),
    Entry("completion", "Print what completes names in your shell", _from("completion", "completion")),
)


@hookimpl
def dstack_commands() -> Sequence[Entry[click.Command]]:
    """Core's commands."""
    return COMMANDS
