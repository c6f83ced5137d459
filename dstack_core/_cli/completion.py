"""`dstack completion`: what a shell needs to complete commands, options and names; and what it then calls."""

from __future__ import annotations

import os
from typing import Final, NoReturn

import click

VARIABLE: Final = "_DSTACK_COMPLETE"
INSTALL: Final = {
    "bash": "echo 'eval \"$(dstack completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(dstack completion zsh)\"' >> ~/.zshrc   # below a line with `compinit`",
    "fish": "dstack completion fish > ~/.config/fish/completions/dstack.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(INSTALL)))
def completion(shell: str) -> None:
    """Print what makes bash, zsh or fish complete commands, options, and names of workflows, runs, jobs and tags.

    The first line of it says how to install it.
    """
    from dstack_core._cli.group import dstack
    from dstack_core._cli.shells import shell_class

    made = shell_class(shell)
    # Not `made.source()`, which for bash runs the bash on the PATH to look at its version.
    script = made.source_template % made(dstack, {}, "dstack", VARIABLE).source_vars()
    # zsh reads what its first line begins with.
    head, rest = script.lstrip("\n").split("\n", 1) if shell == "zsh" else ("", script.lstrip("\n"))
    click.echo(f"{head}\n".lstrip("\n") + f"# To install it: {INSTALL[shell]}\n" + rest.rstrip("\n"))


def complete() -> NoReturn:
    """Answer a shell that asks what may stand at the cursor. Whatever is broken, the answer is short and quiet."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        from dstack_core._cli.group import dstack
        from dstack_core._cli.shells import shell_class

        asked = os.environ[VARIABLE].partition("_")[0]
        print(shell_class(asked)(dstack, {}, "dstack", VARIABLE).complete(), flush=True)
    except BaseException:  # a shell would show it between what is typed
        os._exit(1)
    os._exit(0)
