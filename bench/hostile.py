"""What hostile workflow files cost before they are refused, or read: milliseconds, and memory beside the program.

    python bench/hostile.py [--memory-only]

Each file is looked at in a process of its own, which may take 64 MB of address space more than it has when it begins.
Exits with 1 when one takes more than that, or is refused after more than 100 ms of the CPU's time. `--memory-only`: the
time does not count, and one round is enough.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = 64 << 20
MILLISECONDS = 100.0


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "workflows:\n- {name: w, provider: bash, commands: [x], env: {" + ", ".join(lines) + "}}\n"


def _entry(text: str) -> str:
    return f"workflows:\n- {{name: w, provider: bash, {text}}}\n"


DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "alias bomb, 7 levels": lambda: _bomb(7).encode(),
    "alias bomb, 1000 levels": lambda: _bomb(1000).encode(),
    "bomb of merges": lambda: _entry(
        "x0: &a {k: v}, " + ", ".join(f"x{i}: {{<<: [*a, *a]}}" for i in range(500))
    ).encode(),
    "merges of merges": lambda: _entry("env: " + "{<<: " * 40 + "{A: x}" + "}" * 40).encode(),
    "a cycle": lambda: _entry("commands: &c [*c]").encode(),
    "a cycle of keys": lambda: _entry("env: &e {A: *e, ? *e : x}").encode(),
    "1,000,000 brackets": lambda: _entry("commands: " + "[" * 1_000_000).encode(),
    "1,000,000 braces": lambda: _entry("commands: " + "{a: " * 1_000_000).encode(),
    "1,000,000 dashes": lambda: ("- " * 1_000_000).encode(),
    "python tags": lambda: _entry("commands: !!python/object/apply:os.system ['true']").encode(),
    "10,000 python tags": lambda: _entry("commands: [" + "!!python/name:os.system '', " * 10_000 + "]").encode(),
    "10,000 equal keys": lambda: _entry("env: {" + "A: 1, " * 10_000 + "}").encode(),
    "10,000 unknown aliases": lambda: _entry("commands: [" + "*a, " * 10_000 + "]").encode(),
    "10,000 anchors": lambda: _entry("commands: [" + ", ".join(f"&a{i} x" for i in range(10_000)) + "]").encode(),
    "100 MB": lambda: b"workflows:\n" + b"# filler\n" * (100_000_000 // 9),
    "a line of 9 MB": lambda: _entry("commands: ['" + "x" * 9_000_000 + "']").encode(),
    "a NUL": lambda: _entry("commands: ['a\0b']").encode(),
    "9 MB of NULs": lambda: bytes(9_000_000),
    "a BOM": lambda: b"\xef\xbb\xbf" + _entry("commands: [x]").encode(),
    "two BOMs": lambda: b"\xef\xbb\xbf" * 2 + _entry("commands: [x]").encode(),
    "UTF-16": lambda: _entry("commands: [x]").encode("utf-16"),
    "UTF-32": lambda: _entry("commands: [x]").encode("utf-32"),
    "no UTF-8": lambda: b"workflows: \xff\xfe",
    "a key of 1 MB": lambda: _entry("x" * 1_000_000 + ": y").encode(),
    "a tag of 1 MB": lambda: _entry("commands: !" + "x" * 1_000_000 + " y").encode(),
    "a number of 1 MB": lambda: _entry("commands: [x], ports: " + "9" * 1_000_000).encode(),
    "100 documents": lambda: b"--- {}\n" * 100,
    "tag directives": lambda: b"%TAG ! tag:x,2000:\n---\nworkflows: []\n",
}


def look(folder: Path) -> dict[str, Any]:
    """Read the project's files as every command does; what it took and what was said."""
    from dstack_core import _yaml  # imports yaml
    from dstack_core._workflow.load import load_workflows
    from dstack_core.errors import DstackError

    _yaml.compose("workflows:\n- {name: w}", "warm")
    had = _peak()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    started = time.process_time()
    try:
        load_workflows(folder).get("w")
        said = "read"
    except DstackError as error:
        said = str(error)
    took = time.process_time() - started
    return {"ms": took * 1000, "memory": _peak() - had, "said": said[:100]}


def _peak() -> int:
    # Not getrusage, which knows what the parent had.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def measure(name: str) -> dict[str, Any]:
    """`look` at one of the documents, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".dstack").mkdir()
        (Path(folder) / ".dstack" / "workflows.yaml").write_bytes(DOCUMENTS[name]())
        done = subprocess.run([sys.executable, __file__, "--look", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"ms": 0.0, "memory": MEMORY, "said": f"died: {done.stderr.strip().splitlines()[-1][:80]}", "died": True}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Measure all documents; the exit code."""
    if sys.argv[1:2] == ["--look"]:
        print(json.dumps(look(Path(sys.argv[2]))))
        return 0
    untimed = "--memory-only" in sys.argv
    failed = False
    for name in DOCUMENTS:
        found = min((measure(name) for _ in range(1 if untimed else 3)), key=lambda one: float(one["ms"]))
        late = not untimed and found["said"] != "read" and found["ms"] > MILLISECONDS
        failed |= bool(late or "died" in found)
        print(f"{name:26} {found['ms']:7.1f} ms {found['memory'] / 1e6:7.1f} MB  {found['said']}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
