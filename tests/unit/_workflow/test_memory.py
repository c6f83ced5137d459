"""What providers said before is asked first: when it counts, when it does not, and that only good entries are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from pydantic import BaseModel

from dstack_core._workflow.memory import LARGEST, MOST, Memory
from dstack_core._workflow.options import OptionSpec
from dstack_core._workflow.own import OwnProperties
from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider

PACKAGE = """
from dstack_core.provider import Provider

class Remembered(Provider):
    def properties(self):
        from remembered_properties import Own
        return Own

    def job_spec(self, workflow):
        raise NotImplementedError
"""
PROPERTIES = """
from pydantic import BaseModel

class Own(BaseModel):
    size: int = 1
    steps: list[str] = []
"""
ASK = """
import json, sys
from remembered import Remembered
from dstack_core._workflow.memory import Memory
from dstack_core._workflow.own import OwnProperties
own = OwnProperties(Remembered(), Memory.of(Remembered()))
said = []
for given in json.loads(sys.argv[1]):
    try:
        said.append(own.check(given))
    except ValueError as error:
        said.append(type(error).__name__)
names = sorted(option.name for option in own.options if option.own)
own.remember()
print(json.dumps([said, names, "pydantic" in sys.modules]))
"""


class Own(BaseModel):
    number: int = 0


class OwnProvider(Provider):
    def properties(self) -> type[BaseModel]:
        return Own

    def job_spec(self, workflow: Workflow) -> JobSpec:
        raise NotImplementedError


class Place:
    """A provider in a folder of its own, asked by a process of its own each time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "code").mkdir(parents=True)
        (root / "site-packages").mkdir()
        self.write("remembered.py", PACKAGE)
        self.write("remembered_properties.py", PROPERTIES)

    def write(self, name: str, text: str) -> None:
        (self.root / "code" / name).write_text(text)

    def ask(self, *given: object) -> list[object]:
        path = f"{self.root}/code{os.pathsep}{self.root}/site-packages"
        environ = {**os.environ, "DSTACK_HOME": str(self.root / "home"), "PYTHONPATH": path}
        command = [sys.executable, "-c", ASK, json.dumps(given)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    @property
    def file(self) -> Path:
        (found,) = (self.root / "home" / "cache").glob("provider-*.json")
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_was_right_before_needs_no_pydantic(place):
    first = [[{"size": 2, "steps": ["a"]}], ["size", "steps"]]
    assert place.ask({"size": "2", "steps": ["a"]}) == [*first, True]
    assert place.ask({"size": "2", "steps": ["a"]}) == [*first, False]
    assert place.ask() == [[], ["size", "steps"], False]
    assert place.ask({"size": "3"}) == [[{"size": 3, "steps": []}], ["size", "steps"], True]
    both = [{"size": "3"}, {"size": "2", "steps": ["a"]}]
    assert place.ask(*both)[2] is False
    assert place.file.stat().st_mode & 0o077 == 0 or place.file.parent.stat().st_mode & 0o077 == 0


def test_what_is_wrong_is_never_remembered(place):
    for _ in range(2):
        assert place.ask({"size": "many"}) == [["ValidationError"], ["size", "steps"], True]
    place.ask({"size": "1"}, {"size": "many"})
    assert place.ask({"size": "1"}, {"size": "many"})[0] == [{"size": 1, "steps": []}, "ValidationError"]
    assert "many" not in place.file.read_text()


@pytest.mark.parametrize("changed", ["remembered.py", "remembered_properties.py"])
def test_a_changed_provider_is_asked_again(place, changed):
    place.ask({"size": "2"})
    file = place.root / "code" / changed
    # In place, so that no folder changes with it.
    file.write_text(file.read_text().replace("size: int = 1", "size: str = ''") + "\n")
    said, _, pydantic = place.ask({"size": "2"})
    assert pydantic
    assert said[0]["size"] == (2 if changed == "remembered.py" else "2")


def test_something_installed_since_may_change_what_is_right(place):
    place.ask({"size": "2"})
    (place.root / "site-packages" / "other-1.0.dist-info").mkdir()
    assert place.ask({"size": "2"})[2] is True
    assert place.ask({"size": "2"})[2] is False


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def _edit(file: Path) -> None:
    text = file.read_text()
    assert "2" in text
    file.write_text(text.replace("2", "3"))


def _strange(file: Path) -> None:
    for body in ("[]", "null", '{"folders": 1}'):
        file.write_text(f"{sha256(body.encode()).hexdigest()}\n{body}")


def _binary(file: Path) -> None:
    file.write_bytes(b"\xff\x00" * 100)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [_empty, _cut, _edit, _strange, _binary, _folder])
def test_a_damaged_file_is_ignored(place, damage):
    place.ask({"size": "2"})
    damage(place.file)
    assert place.ask({"size": "2"}) == [[{"size": 2, "steps": []}], ["size", "steps"], True]
    if damage is not _folder:
        assert place.ask({"size": "2"})[2] is False, "and replaced"


def test_a_file_that_cannot_be_written_is_no_error(place):
    (place.root / "home").mkdir()
    (place.root / "home" / "cache").write_text("in the way")
    for _ in range(2):
        assert place.ask({"size": "2"}) == [[{"size": 2, "steps": []}], ["size", "steps"], True]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _remembered(provider: Provider) -> OwnProperties:
    return OwnProperties(provider, Memory.of(provider))


def test_all_of_an_option_is_remembered(home):
    first = _remembered(OwnProvider())
    first.check({"number": "1"})
    first.remember()
    again = _remembered(OwnProvider())
    assert again.about == first.about
    assert again.about.options == (OptionSpec("number", ("--number",), "integer", "", "NUMBER", own=True),)


def test_a_provider_that_is_not_only_its_class_is_not_remembered(home):
    class Inside(OwnProvider):
        pass

    changed = OwnProvider()
    changed.model = Own
    assert Memory.of(Inside()) is None
    assert Memory.of(changed) is None


def test_what_is_kept_is_bounded(home):
    first = _remembered(OwnProvider())
    for number in range(MOST + 50):
        first.check({"number": str(number)})
    first.check({"number": "0", "text": "x" * LARGEST})
    first.remember()
    memory = Memory.of(OwnProvider())
    assert memory.result({"number": "0"}) == {"number": 0}
    assert memory.result({"number": str(MOST)}) is None
    assert sum(file.stat().st_size for file in (home / "cache").iterdir()) < 1_000_000


def test_values_that_json_would_change_are_not_kept(home):
    memory = Memory.of(OwnProvider())
    memory.learn({"a": 1}, {"x": {1: "one"}})
    memory.learn({"b": 1}, {"x": ("a",)})
    memory.learn({"c": object()}, {"x": 1})
    assert [memory.result(given) for given in ({"a": 1}, {"b": 1}, {"c": object()})] == [None] * 3
    memory.learn({"d": 1}, {"x": [1.5, None, "\udc80"]})
    assert memory.result({"d": 1}) == {"x": [1.5, None, "\udc80"]}
    assert memory.result({"d": "1"}) is None
