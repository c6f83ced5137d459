"""The program `dstack`: the only place where errors become exit codes.

Exit codes: 0; the exit code of the job that `run` waited for; 2 wrong usage; 65 to 77 as the error's class says
(`dstack_core.errors`); 70 a mistake of ours; 130 Ctrl+C; 141 nobody reads our output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from dstack_core._cli.group import dstack
from dstack_core._cli.session import Session
from dstack_core.errors import DstackError


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run `dstack` with `args` (default: the command line) and exit."""
    arguments = list(sys.argv[1:] if args is None else args)
    if "_DSTACK_COMPLETE" in os.environ:
        from dstack_core._cli.completion import complete

        complete()
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run `dstack` and return its exit code."""
    session = Session(debug=os.environ.get("DSTACK_DEBUG", "") not in ("", "0"))
    try:
        code = _invoke(arguments, session)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python would complain at exit when it flushes what nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except (KeyboardInterrupt, click.Abort) as stop:
        _trace(session, stop)
        return 130
    except click.ClickException as error:
        _trace(session, error)
        error.show()
        return error.exit_code
    except DstackError as error:
        _trace(session, error)
        _show(str(error), error.hint)
        return error.exit_code
    except (Exception, SystemExit) as error:
        _trace(session, error)
        return _unexpected(error, session)


def _invoke(arguments: list[str], session: Session) -> int:
    # Not `dstack.main`, which has its own ideas of broken pipes and Ctrl+C.
    try:
        with dstack.make_context("dstack", arguments, obj=session) as ctx:
            result = dstack.invoke(ctx)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception | SystemExit, session: Session) -> int:
    from dstack_core._plugins.blame import blame
    from dstack_core._plugins.refusal import failed

    if session.owner is not None:
        if isinstance(error, SystemExit):  # its own command may end as it likes
            raise error
        found: DstackError = failed(session.owner, error)
    else:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        ours = DstackError(
            f"dstack failed, which is a mistake of ours: {text}",
            hint="run it again as `dstack --debug ...` to see where",
        )
        found = blame(session.plugins, error) or ours
    _show(str(found), found.hint)
    return found.exit_code


def _show(message: str, hint: str | None) -> None:
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    for label, colour, text in (("error", "31", message), ("hint", "36", hint)):
        if text:
            shown = f"\x1b[{colour}m{label}:\x1b[0m" if colours else f"{label}:"
            sys.stderr.write(f"{shown} {text}\n")


def _trace(session: Session, error: BaseException) -> None:
    if session.debug:
        import traceback

        traceback.print_exception(error)


if __name__ == "__main__":
    main()
