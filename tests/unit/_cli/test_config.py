"""`dstack config`: every value with its source, changes by command and by answers, secrets unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

PLUGIN = """
from pydantic import BaseModel, Field, SecretStr
from dstack_core.hookspecs import Entry, hookimpl

class VaultSettings(BaseModel):
    token: SecretStr | None = Field(None, description="Opens the vault.")
    tries: int = Field(3, ge=1, description="How often.")
    hosts: list[str] = Field([], description="Where it may be.")

def load():
    from dstack_core.secret_store import SecretStore
    class Vault(SecretStore):
        def __init__(self, settings): self.settings = settings
        def list(self, repo): return [repr(dict(self.settings))]
        def get(self, repo, name): ...
        def put(self, repo, name, value): ...
        def delete(self, repo, name): ...
    return Vault

@hookimpl
def dstack_secret_stores():
    return [Entry("vault", "Vault", load, lambda: VaultSettings)]
"""
MADE = """
from dstack_core._engine.remote import find_remote
from dstack_core._plugins import Plugins
from dstack_core.errors import DstackError
try:
    remote = find_remote()
    print(*Plugins.of_user().secret_store("vault", remote.settings_of("vault")).list("r"))
except DstackError as error:
    print(error, error.hint, sep="|")
"""
# What is installed from a folder is looked into again by each command that wants to know of all settings: in a process
# of its own, which takes a third of a second.
OTHERS = ",".join(
    ["code", "docker", "ec2", "file", "lab", "notebook", "notify", "provider-docker", "s3", "secrets-manager"]
)


@pytest.fixture
def vault(tmp_path):
    """`dstack` where a plugin `vault` is installed."""
    site = tmp_path / "site"
    info = site / "dstack_vault-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: dstack-vault\nVersion: 1.0\nRequires-Dist: dstack-core>=0.1\n")
    (info / "entry_points.txt").write_text("[dstack.plugins]\nvault = dstack_vault\n")
    (site / "dstack_vault.py").write_text(PLUGIN)
    return Vault(tmp_path, site)


class Vault:
    def __init__(self, root: Path, site: Path) -> None:
        self.root = root
        self.file = root / "home" / "config.yaml"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DSTACK_")}
        self.env = {**kept, "DSTACK_HOME": str(self.file.parent), "PYTHONPATH": str(site), "COLUMNS": "200"}
        self.env["DSTACK_DISABLED_PLUGINS"] = OTHERS

    def configure(self, text):
        self.file.parent.mkdir(exist_ok=True, mode=0o700)
        self.file.write_text(text)

    def python(self, *args, stdin="", **env):
        done = subprocess.run(
            [sys.executable, *args], env={**self.env, **env}, cwd=self.root, input=stdin, capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def dstack(self, *args, **options):
        return self.python("-m", "dstack_core._cli.main", *args, **options)

    def made(self, text="", **env):
        """What the plugin gets, or the error."""
        self.configure(text)
        return self.python("-c", MADE, **env).stdout.strip()


@pytest.mark.parametrize(
    ("text", "env", "said"),
    [
        ("", {}, "{}"),
        ("settings: {vault: {tries: 5, token: s3cret}}", {}, "{'token': 's3cret', 'tries': 5}"),
        ("settings: {vault: {tries: 5}}", {"DSTACK_VAULT_TRIES": "7"}, "{'tries': 7}"),
        ("", {"DSTACK_VAULT_HOSTS": "[a, 1.10]"}, "{'hosts': ['a', '1.10']}"),
        ("settings: {vault: {tries: }}", {}, "{}"),
        ("settings: {vault: {hosts: [a, 1.10]}}", {}, "{'hosts': ['a', '1.10']}"),
    ],
)
def test_what_a_plugin_gets(vault, text, env, said):
    assert vault.made(text, **env) == said


@pytest.mark.parametrize(
    ("text", "env", "said"),
    [
        ("settings: {vault: {trys: 5}}", {}, "FILE:1:20: unknown key `trys`|did you mean `tries`?"),
        ("settings: {vault: {tries: 0}}", {}, "FILE:1:27: `settings.vault.tries`: input must be greater than"),
        ("settings:\n  vault:\n    tries: x", {}, "FILE:3:12: `settings.vault.tries`: input must be a valid integer"),
        ("", {"DSTACK_VAULT_TRIES": "x"}, "DSTACK_VAULT_TRIES: `settings.vault.tries`: input must be a valid"),
        ("", {"DSTACK_VAULT_HOSTS": "[a"}, "DSTACK_VAULT_HOSTS: neither a list nor a mapping"),
        ("settings: {vault: [a]}", {}, "FILE:1:19: `settings.vault` must be a mapping"),
        ("remotes: {local: {executer: x}}", {}, "FILE:1:19: unknown key `executer`|did you mean `executor`?"),
        ("default: [gpu]", {}, "FILE:1:10: `default` must be a name"),
        ("plugins: {allow: vault}", {}, "FILE:1:18: `plugins.allow` must be a list of names"),
        ("setings: {}", {}, "FILE:1:1: unknown key `setings`|did you mean `settings`?"),
        ("a: b: c", {}, "FILE:1:5: not valid YAML"),
        ("settings: {vault: {tries: *x}}", {}, "FILE:1:27: no anchor"),
        ("settings: {vault: {tries: 1, tries: 2}}", {}, "FILE:1:30: `tries` is given twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(vault, text, env, said):
    assert vault.made(text, **env).startswith(said.replace("FILE", str(vault.file)))


def test_broken_config_breaks_only_what_needs_it(vault):
    vault.dstack("plugins")  # from then on it is known which plugins have commands
    before = vault.dstack("--help").stdout
    vault.configure("settings: {vault: {tries: none}}\nremotes: {gpu: {backend: nowhere}}\n")
    assert vault.dstack("ps").returncode == 0
    vault.configure("setings: {}")
    assert vault.dstack("--help").stdout == before
    assert vault.dstack("completion", "bash").returncode == 0
    done = vault.dstack("ps")
    assert done.returncode == 65
    assert done.stderr.startswith(f"error: {vault.file}:1:1: unknown key `setings`\nhint: did you mean `settings`?")


def test_remote_of_the_config_is_used(vault):
    vault.configure("default: far\nremotes: {far: {artifact_store: nowhere}}\n")
    done = vault.dstack("gc", "-n", "-r")
    assert done.returncode == 69
    assert "no installed plugin has artifact store nowhere" in done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("default: gpu", ["-r"], "FILE:1:10: there is no remote gpu"),
        ("remotes: {far: {}, near: {}}", ["-r"], "which remote? There are far, near"),
        ("remotes: {far: {}}", ["-r", "fat"], "there is no remote fat\nhint: did you mean far?"),
        ("", ["-r"], "no remote is configured\nhint: dstack config"),
    ],
)
def test_which_remote(vault, text, arguments, said):
    vault.configure(text)
    done = vault.dstack("gc", "-n", *arguments)
    assert done.stderr.startswith(f"error: {said.replace('FILE', str(vault.file))}")
    assert vault.dstack("gc", "-n").returncode == 0, "this machine is there whatever the config says of others"


def test_the_only_remote_need_not_be_named(vault):
    vault.configure("remotes: {far: {artifact_store: nowhere}}\n")
    assert "artifact store nowhere" in vault.dstack("gc", "-n", "-r").stderr


def test_a_remote_has_settings_of_its_own(vault, tmp_path, monkeypatch):
    from dstack_core._engine.remote import find_remote

    monkeypatch.setenv("DSTACK_HOME", str(vault.file.parent))
    own = f"settings: {{local: {{path: {tmp_path}/far}}}}"
    vault.configure(f"settings: {{local: {{grace: 5}}}}\nremotes: {{far: {{{own}}}}}\n")
    assert dict(find_remote("far").settings_of("local")) == {"grace": "5", "path": f"{tmp_path}/far"}
    assert dict(find_remote().settings_of("local")) == {"grace": "5"}
    shown = {line.split()[0]: line.split()[1:] for line in vault.dstack("config", "--show").stdout.splitlines()}
    assert shown["remotes.far.settings.local.path"] == [f"{tmp_path}/far", f"{vault.file}:2:42"]


def test_show_tells_where_each_value_comes_from(vault):
    vault.configure("# mine\nsettings:\n  vault:\n    token: s3cret\n    tries: 0\n  gone: {password: s3cret}\n")
    done = vault.dstack("config", "--show", DSTACK_VAULT_HOSTS="[a]")
    assert "s3cret" not in done.stdout
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["settings.vault.token"].split()[1:] == ["********", f"{vault.file}:4:12"]
    assert rows["settings.vault.hosts"].split()[1:] == ["[a]", "DSTACK_VAULT_HOSTS"]
    assert "input must be greater than or equal to 1" in rows["settings.vault.tries"]
    assert rows["settings.local.grace"].split()[1:] == ["30.0", "default"]
    assert "no installed plugin has settings `gone`" in rows["settings.gone.password"]
    assert "s3cret" not in vault.dstack("config", "--json").stdout


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("settings.vault.tries", "5", "settings:\n  vault:\n    tries: 5\n"),
        ("settings.vault.hosts", "[a, b: c]", None),
        ("settings.vault.hosts", "[a, b]", "settings:\n  vault:\n    hosts: [a, b]\n"),
        ("remotes.gpu.backend", "aws", "remotes:\n  gpu:\n    backend: aws\n"),
        ("plugins.disable", "a, b", "plugins:\n  disable: [a, b]\n"),
        ("default", "local", "default: local\n"),
        (
            "remotes.far.settings.vault.tries",
            "5",
            "remotes:\n  far:\n    settings:\n      vault:\n        tries: 5\n",
        ),
    ],
)
def test_set_and_unset(vault, key, value, text):
    done = vault.dstack("config", "set", key, value)
    if text is None:
        assert done.returncode == 65
        return
    assert (done.returncode, done.stderr) == (0, "")
    assert vault.file.read_text() == text
    assert vault.dstack("config", "unset", key).returncode == 0
    assert vault.file.read_text() == ""


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("settings.vault.tires", "5", "did you mean settings.vault.tries?"),
        ("settings.valt.tries", "5", "did you mean settings.vault?"),
        ("settings.vault.tries", "0", "error: settings.vault.tries: input must be greater than or equal to 1"),
        ("remotes.local.exekutor", "docker", "did you mean `executor`?"),
        ("default", "loca", "did you mean local?"),
        ("defualt", "local", "did you mean default?"),
        ("settings", "x", "unknown key `settings`"),
        ("settings.vault", "x", "unknown key `settings.vault`"),
        ("remotes.far.settings.vault.tires", "5", "did you mean remotes.far.settings.vault.tries?"),
        ("remotes.far.settings.valt.tries", "5", "did you mean remotes.far.settings.vault?"),
        ("remotes.far.settings.vault.tries", "0", "remotes.far.settings.vault.tries: input must be greater"),
    ],
)
def test_set_of_what_cannot_be(vault, key, value, said):
    done = vault.dstack("config", "set", key, value)
    assert done.returncode == 65
    assert said in done.stderr
    assert not vault.file.exists()


def test_secret_comes_from_stdin(vault):
    done = vault.dstack("config", "set", "settings.vault.token", stdin="s3cret\n")
    assert done.stdout + done.stderr == ""
    assert "token: s3cret" in vault.file.read_text()
    assert vault.file.stat().st_mode & 0o777 == 0o600


def test_questions_on_a_terminal(vault):
    child = pexpect.spawn(
        sys.executable, ["-m", "dstack_core._cli.main", "config", "plugins"], env=vault.env, cwd=str(vault.root),
        encoding="utf-8", timeout=60, dimensions=(40, 120),
    )  # fmt: skip
    answers = {"path": "", "grace": "x", "token": "s3cret", "tries": "7", "hosts": "[a]"}
    seen = ""
    while True:
        found = child.expect([r"  (\w+)(?: \([^)]*\))?: $", pexpect.EOF])
        seen += child.before or ""
        if found == 1:
            break
        name = child.match.group(1)
        child.sendline(answers.get(name, ""))
        answers[name] = ""  # the second time, after a wrong answer
    child.close()
    assert child.exitstatus == 0
    assert "input must be a valid number" in seen
    assert "Opens the vault." in seen
    assert "s3cret" not in seen
    assert vault.file.read_text() == "settings:\n  vault:\n    token: s3cret\n    tries: 7\n    hosts: [a]\n"


@pytest.mark.parametrize("arguments", [[], ["plugins"]])
def test_no_terminal_no_questions(vault, arguments):
    done = vault.dstack("config", *arguments)
    assert done.returncode == 2
    assert "config set KEY VALUE" in done.stderr


def test_check(vault):
    vault.env["DSTACK_DISABLED_PLUGINS"] = ""
    vault.configure("remotes: {team: {secret_store: vault}, far: {artifact_store: nowhere}}\n")
    done = vault.dstack("config", "--check", "--json")
    assert done.returncode == 69
    rows = {(row["remote"], row["part"]): row for row in json.loads(done.stdout)}
    assert rows["team", "secret store"]["state"] == "ok"
    assert rows["team", "backend"]["about"]
    assert rows["far", "artifact store"]["state"] == "problem"
    assert "no installed plugin has artifact store nowhere" in rows["far", "artifact store"]["problem"]
    vault.configure("remotes: {team: {secret_store: vault}}\n")
    assert vault.dstack("config", "--check").returncode == 0
