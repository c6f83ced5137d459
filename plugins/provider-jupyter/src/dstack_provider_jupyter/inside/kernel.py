"""Starts a kernel: the job's own Python, with Jupyter's packages behind its own. `kernel.py FOLDER -f CONNECTION`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # where this file is
    sys.path.append(sys.argv.pop(1))
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
