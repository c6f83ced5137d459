"""The folder store when system calls fail or the writer dies at one of them: the old bytes or the new, nothing else."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dstack_local.store import FolderStore

from dstack_core.artifact_store import ABSENT

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

WRITER = """
import sys
from dstack_core.errors import StoreError
from dstack_local.store import FolderStore
store = FolderStore({"path": sys.argv[1]})
try:
    if sys.argv[2] == "replace":
        store.write("k/old", b"new", store.read("k/old").version)
    elif sys.argv[2] == "overwrite":
        store.write("k/old", b"new")
    elif sys.argv[2] == "create":
        store.write("f/g/new", b"new", "*absent*")
    elif sys.argv[2] == "append":
        store.append("log", b" more", 3, True)
    elif sys.argv[2] == "delete":
        store.delete("k/old", store.read("k/old").version)
    elif sys.argv[2] == "read":
        store.read("k/old")
except StoreError as error:
    assert error.hint
    print(error)
    sys.exit(9)
"""
BEFORE = {"k/old": b"old", "log": b"log"}
AFTER = {
    "replace": {**BEFORE, "k/old": b"new"},
    "overwrite": {**BEFORE, "k/old": b"new"},
    "create": {**BEFORE, "f/g/new": b"new"},
    "append": {**BEFORE, "log": b"log more"},
    "delete": {"log": b"log"},
}
ERRORS = {"write": "ENOSPC", "fsync": "EIO", "rename": "EROFS", "flock": "ENOLCK", "fchmod": "EPERM", "mkdir": "EACCES"}
ERRORS["unlink"] = "EIO"


def run(root: Path, operation: str, injection: str, *filters: str) -> tuple[int, str, bool]:
    """Exit code and output of the writer, and whether the fault happened."""
    trace = root.parent / "trace"
    call = injection.partition(":")[0]
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, *filters, "-e", f"trace={call}", "-e", f"inject={injection}",
         sys.executable, "-c", WRITER, root, operation],
        capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    text = trace.read_text()
    return done.returncode, done.stdout + done.stderr, "INJECTED" in text or "killed by SIGKILL" in text


def content(root: Path) -> dict[str, bytes]:
    store = FolderStore({"path": str(root)})
    return {o.key: store.read(o.key).data for o in store.list("")}


def prepare(root: Path) -> None:
    store = FolderStore({"path": str(root)})
    for key, data in BEFORE.items():
        store.write(key, data)


@pytest.mark.parametrize("call", list(ERRORS))
@pytest.mark.parametrize("operation", list(AFTER))
def test_a_failing_call(tmp_path: Path, operation: str, call: str) -> None:
    for n in itertools.count(1):
        root = tmp_path / str(n) / "store"
        prepare(root)
        code, output, happened = run(root, operation, f"{call}:error={ERRORS[call]}:when={n}")
        if not happened:
            assert code == 0, output
            break
        # The fault may hit what was only meant to help; then the write succeeded, and must be there.
        assert code in (0, 9), output
        there = content(root)
        # A deletion that could not be made durable has failed, and is seen all the same.
        possible = [AFTER[operation] if code == 0 else BEFORE, *([AFTER["delete"]] if operation == "delete" else [])]
        assert there in possible, (n, output)
        assert output.count("\n") == (1 if code else 0), output
        assert list((root / "tmp").iterdir()) == []
        FolderStore({"path": str(root)}).write("f/g/h", b"works again")


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "flock", "mkdir", "unlink"])
@pytest.mark.parametrize("operation", list(AFTER))
def test_a_writer_that_dies(tmp_path: Path, operation: str, call: str) -> None:
    for n in itertools.count(1):
        root = tmp_path / str(n) / "store"
        prepare(root)
        code, output, happened = run(root, operation, f"{call}:signal=KILL:when={n}")
        if not happened:
            assert code == 0, output
            break
        assert content(root) in (BEFORE, AFTER[operation])
        store = FolderStore({"path": str(root)})
        store.write("k/old", b"goes on", store.read("k/old").version if store.exists("k/old") else ABSENT)


@pytest.mark.parametrize(("call", "error", "text"), [
    ("openat", "EACCES", "Permission denied"), ("openat", "EIO", "Input/output error"),
    ("pread64", "EIO", "Input/output error")])  # fmt: skip
def test_an_unreadable_object(tmp_path: Path, call: str, error: str, text: str) -> None:
    root = tmp_path / "store"
    prepare(root)
    path = str(root / "objects" / "k" / "old")
    code, output, happened = run(root, "read", f"{call}:error={error}", "-P", path)
    assert happened
    assert (code, output.count("\n")) == (9, 1)
    assert text in output
    assert "k/old" in output
