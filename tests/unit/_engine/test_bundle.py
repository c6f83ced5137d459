"""What machines elsewhere start from: packed from what is installed, kept in the store while it is used."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from importlib.metadata import distribution
from pathlib import Path

import pytest
from dstack_local.store import FolderStore
from pydantic import BaseModel, Field, SecretStr

from dstack_core import settings
from dstack_core._config.reading import Config
from dstack_core._engine import wheels
from dstack_core._engine.bundle import KEPT, VARIABLE, Use, stored_bundle, touch
from dstack_core._engine.collect import collect
from dstack_core._engine.elsewhere import Elsewhere
from dstack_core._engine.installed import needed
from dstack_core._engine.limits import Limits
from dstack_core._engine.parts import Part, Spared, core
from dstack_core._engine.remote import Remote
from dstack_core._ledger import documents
from dstack_core._plugins.registry import Plugins
from dstack_core.errors import InputError, StoreError
from dstack_core.home import dstack_home

HERE = f"cp{sys.version_info[0]}{sys.version_info[1]}"


class Linked(FolderStore):
    """A store that gives links, which nobody follows here."""

    def link(self, key, seconds, *, write=False):
        return f"{'put' if write else 'get'} {key} for {seconds:g} s"


@pytest.fixture
def linked(tmp_path):
    return Linked({"path": str(tmp_path / "store")})


def keys(store):
    return [info.key for info in store.list("bundles/")]


def unpacked(data, folder):
    """What a machine with this Python unpacks of an archive, and the versions that it is for."""
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(fileobj=io.BytesIO(data)) as outer:
        for name in ("any", HERE):
            with tarfile.open(fileobj=outer.extractfile(f"{name}.tar.gz")) as inner:
                inner.extractall(folder, **safely)
        return outer.extractfile("pythons").read().decode().split()


def run_there(folder, code):
    """What a program says that has nothing but what was unpacked."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(folder)!r}); {code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_what_is_packed_is_what_is_installed(linked, tmp_path):
    bundle = stored_bundle(linked, [Part("pluggy")])
    assert bundle.url == f"get bundles/{bundle.digest}/archive for 3600 s"
    data = linked.read(f"bundles/{bundle.digest}/archive").data
    assert (len(data), hashlib.sha256(data).hexdigest()) == (bundle.size, bundle.digest)
    versions = unpacked(data, tmp_path / "there")
    assert sorted(versions) == ["3.10", "3.11", "3.12", "3.13"]
    assert versions[0] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    for file in distribution("pluggy").files or ():
        if file.suffix == ".py":
            assert (tmp_path / "there" / file).read_bytes() == Path(str(file.locate())).read_bytes()
    asked = "import pluggy, importlib.metadata as m; print(m.version('pluggy'), pluggy.__cached__)"
    version, cached = run_there(tmp_path / "there", asked).split()
    assert version == distribution("pluggy").version
    module = tmp_path / "there" / "pluggy" / "__init__.py"
    assert Path(cached).exists()
    module.write_text("compiled = False")  # which nobody looks at: it was compiled beforehand
    assert run_there(tmp_path / "there", "import pluggy; print(pluggy.PluginManager.__name__)") == "PluginManager"


def test_what_machines_do_not_need_stays_at_home(linked, tmp_path):
    """Unless somebody else needs it who says nothing of the kind."""

    def spare(*parts):
        spared = Spared(parts)
        return {name for name in ("pluggy/_hooks.py", "pluggy/_tracing.py") if spared("pluggy", name)}

    def less(distribution, path):
        return (distribution, path) == ("pluggy", "pluggy/_tracing.py")

    alone = Part("pluggy", "x", less)
    assert spare(alone) == {"pluggy/_tracing.py"}
    assert spare(alone, Part("pytest", "y")) == spare(alone, Part("pluggy", "z"), Part("click")) == set()
    assert spare(alone, Part("click")) == spare(alone, Part("pytest", "y", less)) == {"pluggy/_tracing.py"}
    digest = stored_bundle(linked, [alone]).digest
    unpacked(linked.read(f"bundles/{digest}/archive").data, tmp_path / "there")
    found = {path.name.partition(".")[0] for path in (tmp_path / "there" / "pluggy").rglob("*.py*")}
    assert "_hooks" in found
    assert "_tracing" not in found


def test_what_core_needs_on_machines_is_there(linked, tmp_path, monkeypatch):
    """Whatever its runner imports, and nothing of what commands show things with."""
    monkeypatch.setattr(wheels, "PYTHONS", ())  # nothing need be fetched for this one
    digest = stored_bundle(linked, [core()]).digest
    unpacked(linked.read(f"bundles/{digest}/archive").data, tmp_path / "there")
    assert not (tmp_path / "there" / "rich").exists()
    modules = [
        f"dstack_core.{room}.{path.stem}"
        for room in ("_runner", "_engine", "_ledger", "_content", "_plan", "_plugins", "_workflow", "_config", "cloud")
        for path in (tmp_path / "there" / "dstack_core" / room).glob("*.py")
        if path.stem != "__init__"
    ]
    assert len(modules) > 100
    said = run_there(tmp_path / "there", f"import importlib\nfor name in {modules!r}: importlib.import_module(name)")
    assert said == ""


def test_the_same_is_stored_once(linked):
    first = stored_bundle(linked, [Part("pluggy")])
    stamps = {info.key: info.stamp for info in linked.list("bundles/")}
    assert stored_bundle(linked, [Part("pluggy")]) == first
    assert {info.key: info.stamp for info in linked.list("bundles/")} == stamps


def test_what_is_stored_and_in_use_is_neither_read_nor_marked_again(linked, monkeypatch):
    first = stored_bundle(linked, [Part("pluggy")])
    monkeypatch.setattr(linked, "write", None)
    monkeypatch.setattr(linked, "delete", None)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert stored_bundle(linked, [Part("pluggy")]) == first


def test_a_copy_that_was_damaged_here_is_not_stored_but_made_anew(linked):
    first = stored_bundle(linked, [Part("pluggy")])
    for info in list(linked.list("bundles/")):
        linked.delete(info.key)
    (kept,) = (dstack_home() / "cache" / "bundles").glob("*.tar")
    kept.write_bytes(bytes(first.size))
    with pytest.raises(StoreError, match="is damaged"):
        stored_bundle(linked, [Part("pluggy")])
    assert stored_bundle(linked, [Part("pluggy")]) == first


def test_gc_leaves_it_until_it_was_not_used_for_a_day(linked):
    digest = stored_bundle(linked, [Part("pluggy")]).digest
    list(collect(linked))
    assert keys(linked) == [f"bundles/{digest}/archive", f"bundles/{digest}/used"]
    document = documents.read(linked, Use, f"bundles/{digest}/used")
    documents.replace(linked, document, Use(time.time() - KEPT - 1))
    touch(linked, digest)
    list(collect(linked))
    assert len(keys(linked)) == 2
    document = documents.read(linked, Use, f"bundles/{digest}/used")
    documents.replace(linked, document, Use(time.time() - KEPT - 1))
    assert {one.kind for one in collect(linked)} == {"bundles"}
    assert keys(linked) == []


def test_a_machine_has_others_start_from_what_it_came_from(linked, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"{'ab' * 32} 123")
    bundle = stored_bundle(linked, [Part("nothing of that name")])
    assert (bundle.digest, bundle.size) == ("ab" * 32, 123)


def test_a_store_without_links_is_refused(store):
    with pytest.raises(InputError, match="gives no links"):
        stored_bundle(store, [Part("pluggy")])


def test_needs_are_followed():
    names = {one.name for one in needed(["dstack-core"])}
    assert {"dstack-core", "dstack-local", "pydantic", "pydantic-core", "pyyaml", "stevedore"} <= names
    assert "pytest" not in names  # of an extra
    with pytest.raises(InputError, match="no-such-thing is not installed"):
        needed(["No_Such.Thing"])


def test_a_machine_is_told_the_settings_of_its_remote_but_not_what_is_of_this_computer(linked, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"{'ab' * 32} 123")
    monkeypatch.setenv("DSTACK_S3_REGION", "eu-west-1")
    remote = Remote(
        "team", "local", "s3", "process", "file",
        settings={"s3": {"bucket": "ours", "profile": "me"}, "docker": {"image": "python", "host": "unix:///mine"},
                  "notify": {"on": ["done"]}},
        limits=Limits(lease=60.0, max_duration=90.0),
    )  # fmt: skip
    launch = Elsewhere(linked, Plugins.discover(), remote).launch("0-x", "run-1", ("python",), {"A": "b"})
    told = json.loads(launch.config)["remotes"]["team"]
    assert told["settings"] == {"s3": {"bucket": "ours", "region": "eu-west-1"}, "docker": {"image": "python"}}
    assert (told["executor"], told["backend"]) == ("docker", "local")
    assert (launch.lease, launch.max_duration, launch.env["A"]) == (60.0, 90.0, "b")
    assert launch.report == "put runs/run-1/said/0-x for 3600 s"
    assert Config.parse(Path("config.yaml"), launch.config).remotes["team"]["artifact_store"] == "s3"


def test_secrets_are_not_for_machines():
    class Settings(BaseModel):
        token: SecretStr | None = Field(None, description="Secret.")
        profile: str | None = Field(None, description="Of this computer.", json_schema_extra=settings.HERE)
        bucket: str | None = Field(None, description="For all.")

    told = {name for name, field in settings.fields(Settings).items() if settings.is_for_machines(field)}
    assert told == {"bucket"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("machines", "none", "is no number of machines"), ("machines", "0", "is no number"),
     ("lease", "5s", "too short"), ("lease", "soon", "is not a duration"), ("max_duration", "-1h", "not a duration")],
)  # fmt: skip
def test_limits_that_cannot_be(key, value, said):
    with pytest.raises(InputError, match=said) as caught:
        Limits.of(Config.parse(Path("c.yaml"), f"remotes: {{team: {{{key}: {value}}}}}"), "team")
    assert caught.value.where == f"c.yaml:1:{len('remotes: {team: {') + len(key) + 3}"


def test_limits_as_they_are_written():
    config = Config.parse(Path("c.yaml"), "remotes: {team: {machines: 8, lease: 2m, max_duration: 1d}}")
    assert Limits.of(config, "team") == Limits(8, 120.0, 86400.0)
    assert Limits().machines_at_once(distant=True) == 4
    assert Limits().machines_at_once(distant=False) is None
