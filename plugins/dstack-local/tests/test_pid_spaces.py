"""Whether the processes of a container are all gone, as seen from the system, from a container, and by whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from dstack_local import host, pid_spaces
from dstack_local.pid_spaces import FIRST, is_gone

ONE, OTHER = "pid:[4026532001]", "pid:[4026532002]"


class System:
    """A `/proc` with some processes."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self.put("self", FIRST)
        self.put("1", None)
        self.put("2", FIRST)

    def put(self, pid: str, space: str | None, numbers: str = "{}", state: str = "S") -> None:
        """A process; `space` None: of another user, so that the link cannot be read."""
        folder = self._proc / pid
        (folder / "ns").mkdir(parents=True, exist_ok=True)
        (folder / "ns" / "pid").unlink(missing_ok=True)
        if space:
            (folder / "ns" / "pid").symlink_to(space)
        line = f"\nNSpid:\t{numbers.format(pid)}\nNSsid:\t{pid}\n" if numbers else ""
        (folder / "status").write_text(f"Name:\tx\nState:\t{state} (whatever)\nPid:\t{pid}{line}")

    def hide(self, pid: str) -> None:
        """As `hidepid` does, the process is not even listed."""
        (self._proc / pid).rename(self._proc / "hidden")

    def lock(self, pid: str) -> None:
        """Its files cannot be read."""
        (self._proc / pid / "status").unlink()
        (self._proc / pid / "status").symlink_to("status")  # whoever is root may read any file, but not this one

    def end(self, pid: str) -> None:
        """It is gone between the listing and the look."""
        for file in (self._proc / pid / "status", self._proc / pid / "ns" / "pid"):
            file.unlink()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setattr(host, "ROOT", str(tmp_path))
    return System(tmp_path / "proc")


def test_a_container_without_processes_is_gone(system: System) -> None:
    assert is_gone(ONE)
    system.put("30", OTHER, "{}\t1")
    assert is_gone(ONE)


def test_a_container_that_lives_is_there(system: System) -> None:
    system.put("30", ONE, "{}\t1")
    assert not is_gone(ONE)
    assert is_gone(OTHER)


def test_of_another_user_s_container_nothing_is_known(system: System) -> None:
    system.put("30", None, "{}\t1")
    assert not is_gone(ONE)


def test_who_has_ended_is_no_longer_of_the_container(system: System) -> None:
    system.put("30", ONE, "{}\t1", state="Z")
    system.put("31", None, "{}\t9", state="Z")
    system.put("32", ONE, "{}\t2")
    system.end("32")
    assert is_gone(ONE)


def test_where_processes_are_hidden_nothing_is_known(system: System) -> None:
    system.lock("1")
    assert not is_gone(ONE)
    system.put("30", FIRST)
    system.hide("1")
    assert not is_gone(ONE)


def test_an_old_system_does_not_tell(system: System) -> None:
    system.put("30", None, numbers="")
    assert not is_gone(ONE)


@pytest.mark.parametrize("here", [OTHER, "pid:[1]"])
def test_from_inside_a_container_others_are_not_seen(system: System, here: str) -> None:
    system.put("self", here)
    assert not is_gone(ONE)


@pytest.mark.parametrize("space", ["", "elsewhere", "pid:[]", "pid:[1]\n", FIRST])
def test_what_names_no_other_container_is_not_gone(system: System, space: str) -> None:
    assert not is_gone(space)


def test_our_own_is_there() -> None:
    assert not pid_spaces.is_gone(host.pid_space())
