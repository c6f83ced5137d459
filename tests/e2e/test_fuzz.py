"""Any bytes as workflow file and any words as command line: an answer or an error in words, never a mistake of ours.

DSTACK_FUZZ is how many of each are tried, see CONTRIBUTING.md. They are tried inside this process, some in real ones.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._cli.main import run
from dstack_core._plugins import Plugins, inspection

NUMBER = int(os.environ.get("DSTACK_FUZZ", "150"))
REAL = max(4, NUMBER // 200)
CODES = {0, 2, 65, 66, 69, 73, 75}
"""What may come of it. Not 70, which is ours, nor 74: nothing is wrong with the store."""

GOOD = """
workflows:
  - name: data
    provider: bash
    commands: [python prepare.py]
    inputs: [prepare.py, 'src/**', '!src/x']
    artifacts: [./data, {path: ck, mount: true}]
  - name: w
    provider: bash
    help: trains
    deps: [data, ':tag', {workflow: data}, o/r/w]
    python: 3.11
    env: [A=1, HOME]
    commands:
      - pip install -r requirements.txt
      - python train.py ${{ run.args }} ${{ env.A }} ${{ job.port_0 }} ${{ secrets.S }}
    artifacts: ["./model"]
    resources: {cpu: 2, memory: 4GB, gpu: {name: V100, count: 2}, shm_size: 1GB, interruptible: yes}
    retry: {attempts: 3, on: [failure, interruption], backoff: 30s}
    max_duration: 2h
    ports: 2
    working_dir: src
"""
TOKENS = [
    "&a", "*a", "<<: ", "!!python/object/apply:os.system", "!!binary", "!x", "---", "...", "%YAML 1.1", "%TAG ! x",
    "{", "}", "[", "]", ": ", "- ", "? ", "|", ">", "'", '"', "\t", "\0", "\ufeff", "\x1b[2J", "\r", "\u2028", "~", "#",
    "name: w", "provider: bash", "provider: local", "deps: [w]", "${{ ", " }}", "${{ run.args }}", "null", ".inf",
    "1e999", "-1", "9" * 400, "0x", "\ud7ff", "😀", "workflows:\n", "\n", "  ", "[" * 60, "a" * 5000, "\\", "%",
    "`", "@", ",",
]  # fmt: skip
KEYS = st.sampled_from(
    """name provider help deps commands setup env environment python ports working_dir artifacts resources inputs image
    retry max_duration workflow tag path mount cpu memory gpu shm_size interruptible count attempts on backoff remote
    local matrix nodes <<""".split()
)
SCALARS = st.sampled_from(
    ["w", "data", "bash", ":t", "a/b/c", "1", "-1", "1e999", "16GB", "V100:2", "2h", "A=1", "${{ env.A }}", "..", "/x"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def made(draw):
    """A file whose values are anything; JSON is YAML, too."""
    entries = draw(st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=2))
    entries.append({"name": "w", "provider": "bash", "commands": ["true"], **draw(st.dictionaries(KEYS, VALUES))})
    return json.dumps({"workflows": entries}).encode()


@st.composite
def mutated(draw):
    """A valid file with some of its bytes gone, doubled, changed, or with something odd between them."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    data = GOOD.encode()
    for _ in range(draw(st.integers(1, 8))):
        a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        b = min(b, a + chance.choice((1, 4, 30, 200)))
        odd = chance.choice(TOKENS).encode("utf-8", "surrogatepass")
        rubbish = bytes([chance.randrange(256)])
        data = data[:a] + chance.choice((b"", odd, data[a:b] * 2, rubbish, odd + data[a:b])) + data[b:]
    return data


WORDS = st.one_of(
    st.sampled_from(
        """run plan ps logs stop rm ls tags plugins add delete doctor w data bash x-1 :t :none done-1 -h --help -a
        --all -y --json -f --force --reuse latest --tag t -t -d --detach --env A=1 -e A --dep --artifact
        --input --cpu --memory --gpu --ports --python 3.11 --retry --max-duration -c true -- - "" . / ..
        * $HOME 0 -1 1 nan 99999999999999999999 --no-plugins --debug --version -w -n --last -x --abort
        --attempt --since 1h -r --total ./x=y a=b 16GB 2h ${{"""
        .split()
    ),
    st.text(max_size=10).filter(lambda text: "\0" not in text),
)  # fmt: skip
COMMANDS = st.sampled_from(["run", "plan", "ps", "logs", "stop", "rm", "ls", "tags", "plugins"])
VECTORS = st.builds(lambda command, words: [command, *words], COMMANDS, st.lists(WORDS, max_size=6)) | st.lists(WORDS)


@pytest.fixture
def place(project, monkeypatch):
    """A project outside of git, a store with a finished run and a tag, and this process in it."""
    folder = project.folder / "plain"
    (folder / ".dstack").mkdir(parents=True)
    (folder / "src").mkdir()
    (folder / "src" / "x").write_text("x")
    (folder / ".dstack" / "workflows.yaml").write_text(GOOD)
    project.dstack("run", "bash", "-c", "echo 1 > out/x", "--artifact", "out", "-t", "t", cwd=folder)
    for name, value in project.env.items():
        if name.startswith("DSTACK_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "100")
    found = inspection.inspect(Plugins.discover(), Plugins.discover().listed())
    # Processes that look into plugins for a name that nobody has: once will do.
    monkeypatch.setattr(inspection, "inspect", lambda world, plugins: {plugin: found[plugin] for plugin in plugins})
    monkeypatch.chdir(folder)
    return folder


def said(arguments):
    """Exit code and output of `dstack` with these arguments, in this process."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(list(arguments))
        out.flush()
    return code, out.buffer.getvalue().decode("utf-8", "replace")


def in_words(arguments):
    code, text = said(arguments)
    assert code in CODES, text
    assert "Traceback" not in text or "--debug" in arguments
    assert "mistake of ours" not in text


FUZZ = settings(
    max_examples=NUMBER,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_any_workflow_file(place):
    @FUZZ
    @given(made() | mutated())
    def check(data):
        (place / ".dstack" / "workflows.yaml").write_bytes(data)
        in_words(["plan", "w"])

    check()


def test_any_command_line(place, monkeypatch):
    @FUZZ
    @given(VECTORS)
    def check(arguments):
        # Without a backend nothing is started, however right the rest is.
        monkeypatch.setenv("DSTACK_DISABLED_PLUGINS", "dstack-local" if "run" in arguments else "")
        if "-w" not in arguments:
            in_words(arguments)

    check()


def test_some_of_them_in_real_processes(place, project):
    chance = random.Random(NUMBER)
    words = "ps logs plan tags ls rm -a -y --json x-1 :t w bash -c -- --force --cpu 1 -1".split()
    words += ["", "\n", "\udcff"]
    for _ in range(REAL):
        done = project.dstack(*chance.choices(words, k=chance.randrange(1, 5)), expect=None, cwd=place)
        assert done.code in CODES, done.said
        assert "mistake of ours" not in done.err
    for token in itertools.islice(TOKENS, REAL):
        (place / ".dstack" / "workflows.yaml").write_bytes(GOOD.replace("help", token).encode())
        assert project.dstack("plan", "data", expect=None, cwd=place).code in CODES
