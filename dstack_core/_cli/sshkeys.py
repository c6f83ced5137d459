"""A key of this computer for one run: made by OpenSSH, kept in `$DSTACK_HOME/ssh/<run>`, and gone with `dstack rm`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dstack_core._ledger.entrances import admit
from dstack_core.errors import DstackError, InputError
from dstack_core.home import dstack_home

if TYPE_CHECKING:
    from dstack_core._cli.context import Context
    from dstack_core._engine.view import RunView

KEY: Final = "key"
"""Name of the private key in a run's folder."""


def key_folder(run: str) -> Path:
    """Where the run's key is, and what its machines are known by."""
    return dstack_home() / "ssh" / run


def own_key(context: Context, run: str) -> Path:
    """The folder with the key, which the run's machines take from now on.

    Raises:
        InputError: there is no OpenSSH here.
        StoreError: the public key cannot be stored.
    """
    folder = key_folder(run)
    if not (folder / KEY).exists():
        _make(folder, f"{context.user} in {run}")
    admit(context.store, run, (folder / f"{KEY}.pub").read_text())
    return folder


def prepare_keys(context: Context, view: RunView) -> None:
    """So that a run's machines let its submitter in from the start, if people will want to get there.

    Without a key nothing but that is lost: it is told as a warning.
    """
    if not context.backend.distant:
        return
    jobs = [job.spec for job in view.plan.jobs if job.decision != "reuse"]
    if any(spec.ports or spec.edits for spec in jobs):
        try:
            own_key(context, view.run.name)
        except DstackError as error:
            from dstack_core._cli.lookup import warn_of

            warn_of(error)


def forget_key(run: str) -> None:
    """The run is removed."""
    shutil.rmtree(key_folder(run), ignore_errors=True)


def ssh_program(name: str) -> str:
    """The full path of one of OpenSSH's programs. Raises InputError."""
    found = shutil.which(name)
    if found is None:
        raise InputError(f"there is no program `{name}` here", hint="install OpenSSH: openssh-client")
    return found


def _make(folder: Path, comment: str) -> None:
    """As a whole, whoever else makes it at the same time."""
    program = ssh_program("ssh-keygen")
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        command = [program, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", KEY]
        subprocess.run(command, check=True, cwd=draft, stdin=subprocess.DEVNULL, capture_output=True)
        with contextlib.suppress(OSError):  # somebody else was first
            os.rename(draft, folder)
    except subprocess.CalledProcessError as error:
        raise InputError(f"ssh-keygen makes no key: {error.stderr.decode(errors='replace').strip()}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
