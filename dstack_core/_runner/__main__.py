"""`python -m dstack_core._runner RUN MACHINE REMOTE`: what a backend starts on a machine."""

from __future__ import annotations

import gc
import sys

from dstack_core._runner.keeper import keep


def main() -> int:
    """Exit code: 0 when this machine has nothing left to do in the run."""
    gc.set_threshold(100_000, 50, 100)  # imports make many objects and no garbage
    sys.setswitchinterval(0.0005)  # its threads mostly wait for the disk: a job must not wait for the trace of another
    run, machine, remote = sys.argv[1:]

    def serve() -> int:
        from dstack_core._runner.serve import serve

        return serve(run, machine, remote)

    return keep(serve)


if __name__ == "__main__":
    sys.exit(main())
