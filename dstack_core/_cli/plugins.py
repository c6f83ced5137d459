"""`dstack plugins` and `dstack plugins doctor`."""

from __future__ import annotations

import click

from dstack_core._cli.render import table, write_json
from dstack_core._cli.session import session_of
from dstack_core.errors import PluginError

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """Show the installed plugins: their state, and what they provide.

    Each plugin is loaded in a process of its own, so that a broken one can do no harm. Exits with 0 whatever their
    state; `dstack plugins doctor` is for scripts.
    """
    if ctx.invoked_subcommand is not None:
        return
    session = session_of(ctx)
    rows = [
        {
            "name": line.name,
            "distribution": line.distribution,
            "version": line.version,
            "state": line.state,
            "reason": line.reason,
            "provides": {kind: list(names) for kind, names in line.provides.items()},
        }
        for line in session.plugins.report()
    ]
    columns = ["name", "distribution", "version", "state", "provides", "reason"]
    if not rows and not as_json:
        click.echo("No plugins are installed. Start with: pip install dstack-local dstack-provider-bash")
        return
    table(columns, rows, json=as_json, formats={"provides": _provides})


@plugins.command()
@_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look for what is wrong with the installed plugins.

    Exits with 69 when there is a problem: a plugin that fails, is incompatible or there twice, names that clash,
    a missing dependency, a stale cache of entry points.
    """
    from dstack_core._plugins.doctor import diagnose

    plugins_of_user = session_of(ctx).plugins
    problems = diagnose(plugins_of_user)
    if as_json:
        write_json([{"subject": p.subject, "problem": p.problem, "hint": p.hint} for p in problems])
    for problem in () if as_json else problems:
        click.echo(f"{problem.subject}: {problem.problem}")
        if problem.hint:
            click.echo(f"  {problem.hint}")
    if not problems and not as_json:
        count = len(plugins_of_user.listed())
        click.echo(f"{count} plugin{'s' if count != 1 else ''}, no problem.")
    if problems:
        ctx.exit(PluginError.exit_code)


def _provides(provided: dict[str, list[str]]) -> str:
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in provided.items())
