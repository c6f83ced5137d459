"""`python -m dstack_core._runner RUN MACHINE REMOTE`: what a backend starts on a machine."""

from __future__ import annotations

import gc
import os
import sys

from dstack_core._runner.keeper import keep


def main() -> int:
    """Exit code: 0 when this machine has nothing left to do in the run."""
    gc.set_threshold(100_000, 50, 100)  # imports make many objects and no garbage
    sys.setswitchinterval(0.0005)  # its threads mostly wait for the disk: a job must not wait for the trace of another
    run, machine, remote = sys.argv[1:]
    ear, mouth = os.pipe()

    def work() -> int:
        from dstack_core._runner.serve import serve

        following = serve(run, machine, remote)
        if following:
            os.write(mouth, " ".join(following).encode())
        return 0

    code = keep(work)
    os.close(mouth)
    following = os.read(ear, 4096).decode().split()
    if code == 0 and following:  # as if the machine had just been launched for that run
        os.environ["DSTACK_MACHINE"] = following[1]
        argv = [sys.executable, "-m", "dstack_core._runner", *following, remote]
        os.execv(sys.executable, argv)  # noqa: S606
    return code


if __name__ == "__main__":
    sys.exit(main())
