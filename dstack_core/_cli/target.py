"""The command line of `run` and `plan`: WORKFLOW, its options, and arguments for the workflow itself.

Which options there are depends on the workflow's provider, so the line is read twice: first up to the workflow's
name, then the rest with the options that this workflow has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.remotes import complete_remote
from dstack_core.errors import DstackError, InputError, NotFoundError, PluginError

if TYPE_CHECKING:
    from dstack_core._workflow.load import Workflows
    from dstack_core._workflow.options import OptionSpec
    from dstack_core._workflow.raw import RawWorkflow

TYPES: Final = {"text": click.STRING, "texts": click.STRING, "integer": click.INT, "number": click.FLOAT}


COMPLETING: Final = f"{__name__}.completing"
EVERYTHING: Final = "*"
"""`--force` without a name."""


def planning_options() -> list[click.Option]:
    """What `run` and `plan` have in common."""
    return [
        click.Option(["local", "--local"], is_flag=True, help="Run here, whatever the workflow asks for."),
        click.Option(
            ["remote", "-r", "--remote"],
            is_flag=False,
            flag_value="",
            metavar="[NAME]",
            shell_complete=complete_remote,
            help="Run on this remote; without a name on the default one.",
        ),
        click.Option(["offline", "--offline"], is_flag=True, help="Ask no remote for results: look only here."),
        click.Option(
            ["force", "--force"],
            is_flag=False,
            flag_value=EVERYTHING,
            multiple=True,
            metavar="[NAME]",
            shell_complete=_complete_workflow,
            help="Run this workflow (without a name: every one) although its result could be reused.",
        ),
        click.Option(
            ["reuse", "--reuse"],
            type=click.Choice(["verified", "latest"]),
            default="verified",
            show_default=True,
            help="`latest`: take each dep's newest successful run, unchecked.",
        ),
    ]


@dataclass
class Target:
    """What the command line names: a workflow, or a provider to run without one.

    Attributes:
        raw: None for a provider.
        overrides: values of the options that were given, by `OptionSpec.name`.
        args: for the workflow itself, `${{ run.args }}`.
        options: of the command itself.
    """

    name: str
    workflows: Workflows
    provider_name: str
    raw: RawWorkflow | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


class TargetCommand(click.Command):
    """A command whose line is `[options] WORKFLOW [options of the workflow] [arguments]`."""

    def __init__(
        self,
        name: str,
        *,
        act: Callable[[Context, Target], int],
        options: Sequence[click.Option],
        help: str,  # noqa: A002  click's word
    ) -> None:
        super().__init__(
            name,
            params=[*options, click.Argument(["workflow"], required=False, shell_complete=_complete_workflow)],
            help=help,
            callback=None,
            no_args_is_help=True,
        )
        self._act = act
        self._options = list(options)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say what stands after the workflow, too."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] WORKFLOW [OPTIONS OF THE WORKFLOW] [--] [ARGS]...")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """First reading: up to the workflow's name, which is the first word that is not an option or its value."""
        if not args:
            return super().parse_args(ctx, args)
        args = _with_remotes(args)
        # `--force` takes a name or none: before the workflow's name it can only mean none.
        masked = [f"--force={EVERYTHING}" if arg == "--force" else arg for arg in args]
        first = click.Command(self.name, params=[*self._options], context_settings={"allow_interspersed_args": False})
        reading = first.make_context(self.name, [], ctx.parent, resilient_parsing=True)
        values, rest, _ = first.make_parser(reading).parse_args(list(masked))
        if ctx.resilient_parsing:
            return self._complete(ctx, args, rest)
        if not rest or values.get("help"):
            return self._without_workflow(ctx, args)
        split = len(args) - len(rest)
        ctx.meta["target"] = self._read(ctx, args[split], [*masked[:split], *args[split + 1 :]])
        return []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Also those of the workflow, while a shell asks what may follow."""
        return [*super().get_params(ctx), *ctx.meta.get(COMPLETING, ())]

    def _complete(self, ctx: click.Context, args: list[str], rest: list[str]) -> list[str]:
        """A shell asks what may follow: behind a workflow's name, its options."""
        try:
            if rest:
                with ctx.scope(cleanup=False):
                    specs = context().properties(_find(rest[0]).provider_name).options
                options = [_option(str(self.name), spec) for spec in specs]
                ctx.meta[COMPLETING] = [*options, click.Argument(["args"], nargs=-1)]
        except Exception:  # completion must never disturb the shell
            ctx.meta.pop(COMPLETING, None)
        return super().parse_args(ctx, args)

    def _without_workflow(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"No such option: {error.option_name}. The workflow's own options stand after the workflow: "
                f"`{ctx.command_path} WORKFLOW {error.option_name} ...`.",
                ctx,
            ) from None

    def invoke(self, ctx: click.Context) -> int:
        """Do it."""
        target: Target | None = ctx.meta.get("target")
        if target is None:
            raise click.UsageError("name a workflow, or a provider", ctx)
        return self._act(_place(target), target)

    def _read(self, ctx: click.Context, name: str, rest: list[str]) -> Target:
        """Second reading: everything but the name."""
        target = _find(name)
        own = context().properties(target.provider_name, target.raw)
        # Names of our own for click: a property may be called as an option of the command, or be no identifier.
        specs = {f"workflow_{n}": spec for n, spec in enumerate(own.options)}
        inner = _WorkflowCommand(
            name,
            params=[*self._options, *starmap(_option, specs.items()), click.Argument(["args"], nargs=-1)],
            help=_help(target),
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        with inner.make_context(f"{ctx.info_name} {name}", rest, parent=ctx.parent) as inner_ctx:
            values = dict(inner_ctx.params)
            given = [
                key
                for key in specs
                if inner_ctx.get_parameter_source(key) not in (None, click.core.ParameterSource.DEFAULT)
            ]
        target.args = tuple(values["args"])
        target.options = {str(option.name): values[str(option.name)] for option in self._options}
        target.overrides = {
            specs[key].name: list(values[key]) if isinstance(values[key], tuple) else values[key] for key in given
        }
        return target


def _place(target: Target) -> Context:
    """Where it is to run. Raises InputError, NotFoundError."""
    from dstack_core._workflow.resolve import wants_remote

    local, remote = target.options.get("local"), target.options.get("remote")
    offline = target.options.get("offline")
    for name, given in (("local", local), ("offline", offline)):
        if given and remote is not None:
            raise click.UsageError(f"--{name} and --remote contradict each other.")
    if offline:
        context().go_offline()
    if remote is not None or local or target.raw is None or not wants_remote(target.raw):
        return context().at(remote)
    if offline:
        message = f"`{target.name}` asks for a remote machine, and --offline for none"
        raise InputError(message, hint="--local runs it here", where=target.raw.where)
    try:
        return context().at("")
    except InputError as error:
        error.message = f"`{target.name}` asks for a remote machine, and {error.message}"
        error.hint = f"{error.hint}; --local runs it here"
        error.where = error.where or target.raw.where
        raise


def _with_remotes(args: Sequence[str]) -> list[str]:
    """Each `--remote` with its name or without one, told apart from the workflow's name that may follow."""
    from dstack_core._engine.remote import remote_names

    made: list[str] = []
    rest = iter(enumerate(args))
    for at, arg in rest:
        if arg == "--":
            return [*made, *args[at:]]
        if arg in ("-r", "--remote"):
            named = args[at + 1 : at + 2]
            name = next(rest)[1] if named and named[0] in remote_names() else ""
            made.append(f"--remote={name}")
        else:
            made.append(arg)
    return made


class _WorkflowCommand(click.Command):
    """Options of one workflow."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """An unknown option may be meant for the workflow's own program: say how to pass it on."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            import difflib

            alike = difflib.get_close_matches(error.option_name, error.possibilities or [], 1, cutoff=0.75)
            close = f" Did you mean {alike[0]}?" if alike else ""
            raise click.UsageError(
                f"No such option: {error.option_name}.{close} To pass it on to the workflow, write "
                f"`-- {error.option_name}`.",
                ctx,
            ) from None


def _find(name: str) -> Target:
    """A workflow of that name, else a provider. Raises NotFoundError, PluginError."""
    from dstack_core._workflow.load import load_workflows

    here = context()
    workflows = load_workflows(here.project)
    try:
        raw = workflows.get(name)
    except NotFoundError as missing:
        no_provider = here.plugins.provider_missing(name)
        if no_provider is None:
            return Target(name, workflows, name)
        if workflows.problems:  # it may stand in a file that cannot be read: that is what is wrong
            raise InputError(missing.message, hint=missing.hint, where=missing.where) from None
        raise _neither(name, workflows.names(), missing, no_provider) from None
    return Target(raw.name, workflows, raw.provider, raw)


def _neither(name: str, workflows: Sequence[str], no_workflow: NotFoundError, no_provider: PluginError) -> DstackError:
    """The error for a name that is no workflow's and no provider's: what it was most likely meant to be comes first."""
    from dstack_core._plugins.kinds import PROVIDER
    from dstack_core._plugins.known import known_names
    from dstack_core._suggest import close_match

    if name in known_names(PROVIDER):
        return PluginError(f"{no_provider.message}; and {no_workflow.message}", hint=no_provider.hint)
    if close_match(name, workflows):
        return no_workflow
    hint = f"{no_workflow.hint}; for a provider: {no_provider.hint}"
    return NotFoundError(f"{no_workflow.message}; and {no_provider.message}", hint=hint)


def _option(name: str, spec: OptionSpec) -> click.Option:
    if spec.kind == "flag":
        *others, last = spec.flags
        return click.Option([name, *others, "/".join((last, *spec.off_flags))], help=spec.help, default=None)
    kind = click.Choice(spec.choices) if spec.choices else TYPES[spec.kind]
    return click.Option(
        [name, *spec.flags],
        type=kind,
        help=spec.help,
        metavar=None if spec.choices else spec.metavar,
        multiple=spec.kind == "texts",
        default=None,
        shell_complete=_complete_dep if spec.name == "dep" else None,
    )


def _help(target: Target) -> str:
    about = target.raw.help if target.raw else None
    kind = f"a workflow of provider {target.provider_name}" if target.raw else "run the provider without a workflow"
    return f"{about or target.name}\n\n({kind}{f', {target.raw.where}' if target.raw else ''})"


def _complete_workflow(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from dstack_core._workflow.load import load_workflows

    try:
        with ctx.scope(cleanup=False):
            workflows = load_workflows(context().project)
            names = workflows.names()
            if "[" in incomplete:
                names = list(workflows.jobs(incomplete.partition("[")[0]))
    except Exception:  # completion must never disturb the shell
        return []
    return [name for name in names if name.startswith(incomplete)]


def _complete_dep(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from dstack_core._cli.lookup import complete_tag

    tags = complete_tag(ctx, param, incomplete[1:]) if incomplete[:1] in ("", ":") else []
    return [*_complete_workflow(ctx, param, incomplete), *(f":{tag}" for tag in tags)]
