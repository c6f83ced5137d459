"""What a machine that is another computer starts with: its user data, a script of bash.

It works on Debian, Ubuntu and Amazon Linux, with systemd or without, needs curl, and installs Python and Docker where
they are missing. In this order:

1. It arms the machine's own end. A watchdog powers it off when the time in the file `/run/dstack/life` has come, whole
   seconds of `/proc/uptime`, which is `Launch.lease` from now at first; and after `Launch.max_duration` in any case.
   Whoever works on the machine extends its life by replacing the file; `DSTACK_LIFE` names it.
2. It fetches the bundle, and checks its size and digest before anything of it is used; makes a Python environment of
   it, and writes `config.yaml`.
3. It starts the runner. When that ends, or could not be started, the machine is powered off. What powering off means
   (that nothing is left that costs) is for the backend to arrange. A machine that boots again powers off, too.

What it does is in `/var/log/dstack.log`, and in short on the console. If there is no runner in the end, the last of it
is sent to `Launch.report`. Its only secrets are the two addresses that whoever knows them may use for an hour.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Final

from dstack_core.errors import InputError
from dstack_core.models import Bundle, Launch

LIMIT: Final = 12 * 1024
"""Bytes of a script. Clouds take 16 KiB and more."""
_NOTHING: Final = Bundle("", "", 0)


def boot_script(launch: Launch) -> str:
    """The user data for the machine of `launch`. Without a bundle, `launch.argv` is started as it is.

    Raises:
        InputError: the config is so long that the script is longer than clouds take.
    """
    bundle = launch.bundle or _NOTHING
    values = {
        "LEASE": _word(math.ceil(launch.lease)),
        "MAX_DURATION": _word(math.ceil(launch.max_duration or 0)),
        "BUNDLE_URL": _word(bundle.url),
        "BUNDLE_DIGEST": _word(bundle.digest),
        "BUNDLE_SIZE": _word(bundle.size),
        "REPORT": _word(launch.report or ""),
        "CONFIG": _word(launch.config),
        "VARIABLES": _words(*(f"{name}={value}" for name, value in launch.env.items())),
        "ARGV": _words(*launch.argv),
    }
    assignments = "\n".join(f"{name}={value}" for name, value in values.items())
    script = Path(__file__).with_name("boot.sh").read_text(encoding="utf-8").replace("@VALUES@", assignments, 1)
    if len(script.encode()) > LIMIT:
        hint = "shorten the remote's settings, which go with it"
        raise InputError(f"what a machine starts with is longer than {LIMIT} bytes", hint=hint)
    return script


def _word(value: object) -> str:
    return shlex.quote(str(value))


def _words(*values: str) -> str:
    return f"({' '.join(map(_word, values))})"
