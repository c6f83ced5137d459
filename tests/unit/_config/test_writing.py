"""Changing one value leaves the rest of the file as it was, or the file alone."""

from __future__ import annotations

import os
import stat

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._config.writing import set_value, unset_value
from dstack_core.errors import InputError, NotFoundError

CONFIG = """\
# Mine.
plugins: {disable: [a, b]}  # not these

settings:
  # of the machine
  local:
    grace: 5  # seconds
    path: "/x y"
  notify: {on: [failed], command: [sh, -c, 'echo "hi"']}  # quietly
# The remotes.
remotes:
  gpu:
    backend: aws
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("settings.local.grace", "7", "grace: 5  #", "grace: 7  #"),
        ("settings.local.path", "/z: y", '"/x y"', '"/z: y"'),
        ("settings.notify.on", ["done", "failed"], "on: [failed]", "on: [done, failed]"),
        ("settings.notify.desktop", "false", "hi\"']}", "hi\"'], desktop: false}"),
        ("settings.docker.image", "a:1", "# quietly\n", "# quietly\n  docker:\n    image: a:1\n"),
        ("plugins.allow", ["c"], "[a, b]}", "[a, b], allow: [c]}"),
        ("remotes.gpu.executor", "docker", "backend: aws\n", "backend: aws\n    executor: docker\n"),
        ("default", "gpu", "    backend: aws\n", "    backend: aws\ndefault: gpu\n"),
    ],
)
def test_set_touches_one_place(file, key, value, before, after):
    set_value(key.split(".", 2), value)
    assert file.read_text() == CONFIG.replace(before, after)


@pytest.mark.parametrize(
    ("key", "gone"),
    [
        ("settings.local.grace", "    grace: 5  # seconds\n"),
        ("settings.notify.on", "on: [failed], "),
        ("settings.notify.command", ", command: [sh, -c, 'echo \"hi\"']"),
        ("settings.notify", "  notify: {on: [failed], command: [sh, -c, 'echo \"hi\"']}  # quietly\n"),
        ("remotes.gpu.backend", "remotes:\n  gpu:\n    backend: aws\n"),
    ],
)
def test_unset_takes_one_place_away(file, key, gone):
    unset_value(key.split(".", 2))
    assert file.read_text() == CONFIG.replace(gone, "")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", "settings:\n  local:\n    grace: 5\n"),
        ("# mine", "# mine\nsettings:\n  local:\n    grace: 5\n"),
        ("settings:", "settings:\n  local:\n    grace: 5\n"),
        ("settings:  # mine\n# end\n", "settings:  # mine\n  local:\n    grace: 5\n# end\n"),
        ("settings: ~\n", "settings: {local: {grace: 5}}\n"),
        ("settings: {local:   }\n", "settings: {local: {grace: 5}   }\n"),
        ("settings:\r\n  local:\r\n    path: x\r\n", "settings:\r\n  local:\r\n    path: x\r\n    grace: 5\r\n"),
        ("settings:\n  local:\n    grace:  # s\n", "settings:\n  local:\n    grace: 5  # s\n"),
        ("settings:\n  local:\n    path: |\n      x\n\n# end\n", None),
    ],
)
def test_set_in_all_sorts_of_files(file, text, after):
    file.write_bytes(text.encode())
    set_value(["settings", "local", "grace"], "5")
    if after is not None:
        assert file.read_bytes().decode() == after
    assert yaml.safe_load(file.read_text())["settings"]["local"]["grace"] == 5
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in file.read_text().splitlines() if line.startswith("#")
    ]


def test_what_cannot_be_edited_is_left_alone(file):
    text = "settings:\n  local: {grace: 5 # s\n  }\n"
    file.write_text(text)
    with pytest.raises(InputError, match="rewriting more") as refused:
        set_value(["settings", "local", "path"], "x")
    assert refused.value.hint == "edit the file by hand"
    assert file.read_text() == text


def test_comments_in_what_is_replaced_are_not_lost(file):
    text = "settings:\n  notify:\n    on:  # when\n    - failed  # of course\n    - 'a # b'\n"
    file.write_text(text)
    with pytest.raises(InputError, match="rewriting more"):
        set_value(["settings", "notify", "on"], ["done"])
    assert file.read_text() == text
    file.write_text(text.replace("  # of course", ""))
    set_value(["settings", "notify", "on"], ["done"])
    assert file.read_text() == "settings:\n  notify:\n    on: [done]  # when\n"


def test_broken_file_is_told_and_left_alone(file):
    file.write_text("remote: {}\n")
    with pytest.raises(InputError, match=r"config.yaml:1:1: unknown key `remote`") as refused:
        set_value(["default"], "local")
    assert refused.value.hint == "did you mean `remotes`?"
    assert file.read_text() == "remote: {}\n"


def test_unset_of_what_is_not_there(file):
    with pytest.raises(NotFoundError, match=r"settings\.local\.gracee is not set"):
        unset_value(["settings", "local", "gracee"])
    assert file.read_text() == CONFIG


def test_only_its_owner_reads_the_file_and_nothing_is_left_beside_it(file):
    file.chmod(0o644)
    set_value(["default"], "local")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [name for name in os.listdir(file.parent) if "config" in name] == ["config.yaml"]


def test_link_stays_a_link(file, tmp_path):
    (tmp_path / "dotfiles").mkdir()
    file.rename(tmp_path / "dotfiles" / "mine.yaml")
    file.symlink_to(tmp_path / "dotfiles" / "mine.yaml")
    set_value(["default"], "gpu")
    assert file.is_symlink()
    assert "default: gpu" in (tmp_path / "dotfiles" / "mine.yaml").read_text()


WORDS = st.text("abc:#'\"{}[], \\-é~!&*%@`|>\t0", min_size=1, max_size=8)
KEYS = st.sampled_from(["a", "b", "c-d", "1"])
SETTINGS = st.dictionaries(KEYS, st.dictionaries(KEYS, WORDS | st.lists(WORDS, max_size=2), max_size=3), max_size=3)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(SETTINGS, st.sampled_from([None, True, False]), KEYS, KEYS, WORDS | st.lists(WORDS, max_size=2))
def test_set_then_unset_of_any_value(file, written, flow, name, field, value):
    text = "# top\n" + yaml.safe_dump({"settings": written, "default": "local"}, default_flow_style=flow) + "# end\n"
    file.write_text(text)
    set_value(["settings", name, field], value)

    def read():
        return (yaml.load(file.read_text(), yaml.BaseLoader) or {}).get("settings") or {}

    wanted = {**written, name: {**written.get(name, {}), field: value}}
    assert read() == wanted
    assert file.read_text().startswith("# top\n")
    assert file.read_text().count("# end\n") == 1
    unset_value(["settings", name, field])
    del wanted[name][field]
    assert {key: of for key, of in read().items() if of} == {key: of for key, of in wanted.items() if of}
    assert "# top" in file.read_text()
