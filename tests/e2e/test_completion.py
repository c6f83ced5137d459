"""The real shells complete commands, options and names, and see nothing of what is broken."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pexpect
import pytest

PROMPT = "ready> "
BIN = str(Path(sys.executable).parent)
WORKFLOWS = """
    - name: train
      provider: bash
      commands: [touch model/x]
      artifacts: [model]
    - name: tokenize
      provider: bash
      commands: ["true"]
"""


def needs(shell):
    return pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not installed")


@pytest.fixture
def shell(project, request):
    """A terminal with a shell that has just read what `dstack completion` prints."""
    name = request.param
    env = {**project.env, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(project.folder)}
    command = {
        "bash": ["bash", "--norc", "--noprofile", "-i"],
        "zsh": ["zsh", "-f", "-i"],
    }[name]
    child = pexpect.spawn(command[0], command[1:], env={**env, "PS1": PROMPT}, cwd=str(project.root), encoding="utf-8",
                          timeout=60, dimensions=(40, 200), echo=False)  # fmt: skip
    if name == "zsh":
        child.sendline(f"PS1='{PROMPT}'; unsetopt zle_bracketed_paste prompt_sp; autoload -U compinit; compinit -u")
    else:
        child.sendline("bind 'set enable-bracketed-paste off'; bind 'set bell-style none'")
    child.sendline(f'eval "$(dstack completion {name})"; echo pre""pared')
    child.expect("prepared")
    child.expect_exact(PROMPT)
    yield child
    child.close(force=True)


@pytest.fixture
def finished(project):
    project.workflows(WORKFLOWS)
    project.dstack("run", "train", "--tag", "best")
    return project.run()


def completed(shell, line):
    """What stands on the line after Tab: the shell says it back when Enter is pressed behind `echo`."""
    shell.send(f"{line}\t")
    shell.send("\x01echo sa''id: \r")  # Ctrl+A: to the start of the line
    shell.expect(r"said: ([^\r\n]*)")
    return shell.match.group(1).strip()


@pytest.mark.parametrize("shell", [pytest.param(s, marks=needs(s)) for s in ("bash", "zsh")], indirect=True)
def test_names_and_options_are_completed(shell, finished):
    assert completed(shell, "dstack comp") == "dstack completion"
    assert completed(shell, "dstack run tr") == "dstack run train"
    assert completed(shell, "dstack run train --memo") == "dstack run train --memory"
    assert completed(shell, "dstack run train --art") == "dstack run train --artifact"
    assert completed(shell, f"dstack ps {finished[:4]}") == f"dstack ps {finished}"
    assert completed(shell, f"dstack logs {finished} t") == f"dstack logs {finished} train"
    assert completed(shell, "dstack ls :b") == "dstack ls :best"
    assert completed(shell, "dstack run tokenize --dep :") == "dstack run tokenize --dep :best"
    assert completed(shell, "dstack config set remotes.local.b") == "dstack config set remotes.local.backend"


@pytest.mark.parametrize("shell", [pytest.param(s, marks=needs(s)) for s in ("bash", "zsh")], indirect=True)
def test_what_is_broken_is_not_heard_of(shell, project):
    project.write(".dstack/workflows.yaml", "workflows: [")
    (project.home / "config.yaml").write_text("plugins: [")
    for line in ("dstack run tr", "dstack ps gr", "dstack run train --me", "dstack nothing "):
        assert completed(shell, line) in (line.strip(), f"{line.strip()}mory")
    assert completed(shell, "dstack comp") == "dstack completion"


@needs("fish")
def test_fish(project, finished):
    def completed(line):
        env = {**project.env, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(project.folder)}
        script = f"dstack completion fish | source; complete -C '{line}'"
        child = pexpect.spawn("fish", ["--no-config", "-c", script], env=env, cwd=str(project.root), encoding="utf-8",
                              timeout=60)  # fmt: skip
        child.expect(pexpect.EOF)
        child.wait()  # it may not have ended yet, and `close` would kill it
        child.close()
        return [row.split("\t")[0] for row in child.before.split()]

    assert "completion" in completed("dstack comp")
    assert completed("dstack run tr") == ["train"]
    assert completed(f"dstack ps {finished[:4]}") == [finished]
    assert completed("dstack ls :b") == [":best"]
    (project.home / "config.yaml").write_text("plugins: [")
    assert completed("dstack ps gr") == []
