"""What the program `dstack` begins with: so small that Ctrl+C hardly comes before it, and never ends in a traceback."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def dstack() -> NoReturn:
    """Run `dstack` with the command line and exit."""
    # Importing modules and reading 10,000 records make many objects and no garbage: looking for it as often as by
    # default takes a third of the time of a large plan.
    gc.set_threshold(100_000, 50, 100)
    try:
        from dstack_core._cli.main import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # nor when the process, and all memory with it, is about to go
