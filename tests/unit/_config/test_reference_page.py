"""docs/reference/config.md has every key, and its example is a config that works."""

from __future__ import annotations

import re
from pathlib import Path

from dstack_local.settings import LocalSettings
from dstack_notify.settings import NotifySettings

from dstack_core._config.reading import LIMITS, REMOTE, SWITCHES, TOP, Config
from dstack_core._engine.remote import DEFAULT, Remote, find_remote
from dstack_core._plugins import Plugins
from dstack_core.settings import check_settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "config.md"
TEXT = PAGE.read_text()
KEYS = re.findall(r"^\| `([\w.-]+)` \|", TEXT, re.MULTILINE)


def test_every_key_is_on_the_page():
    wanted = [
        "default",
        "offline",
        *(f"plugins.{key}" for key in SWITCHES),
        *(f"remotes.NAME.{key}" for key in (*REMOTE, *LIMITS)),
    ]
    problems = []
    for has in Plugins.discover().settings(problems.append):
        wanted += [f"settings.{has.name}.{field}" for field in has.model.model_fields]
    assert not problems
    keys = [key for key in KEYS if key.partition(".")[0] in TOP and not key.endswith("settings.PLUGIN.FIELD")]
    assert sorted(keys) == sorted(wanted)


def test_the_default_remote_is_as_the_page_says():
    said = dict(re.findall(r"^\| `remotes\.NAME\.(\w+)` \| `(\w+)` \|", TEXT, re.MULTILINE))
    assert said == {key: getattr(DEFAULT, key) for key in REMOTE}
    assert set(Remote.__dataclass_fields__) == {"name", "settings", "limits", *REMOTE}


def test_the_example_works(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path))
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    (tmp_path / "config.yaml").write_text(example)
    assert find_remote().name == "local"
    given = Config.read().settings
    assert check_settings("local", LocalSettings, given["local"])["grace"] == 60
    assert check_settings("notify", NotifySettings, given["notify"])["command"][0] == "logger"
