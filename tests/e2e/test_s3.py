"""The whole program with its artifacts and records in S3, and its secrets in Secrets Manager."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from dstack_aws.s3_store import S3Store
from fault_proxy import Fault, FaultProxy
from moto_server import moto
from weed import weed

from dstack_core._ledger import documents
from dstack_core._ledger.runs import finished_key, finished_runs

from .conftest import Project

__all__ = ["moto", "weed"]

PIPELINE = """
- name: data
  provider: bash
  commands: ["mkdir -p data; seq 1000 > data/rows; head -c 300000 /dev/urandom > data/noise; echo made"]
  artifacts: [./data]
- name: train
  provider: bash
  deps: [data]
  commands: ["mkdir -p model; cat data/rows data/noise > model/all; echo trained with $TOKEN"]
  env: {TOKEN: "${{ secrets.TOKEN }}"}
  artifacts: [./model]
"""

COUNT = """
- name: train
  provider: bash
  deps: [data]
  commands: ["mkdir -p model; wc -l < data/rows | tee model/all"]
  artifacts: [./model]
"""


@pytest.fixture
def remote(project: Project, weed, moto) -> Project:
    """This machine, with a store and secrets that others could use, too."""
    prefix = f"test-{os.urandom(6).hex()}"
    config = {
        "remotes": {"local": {"artifact_store": "s3", "secret_store": "secrets-manager"}},
        "settings": {
            "s3": {"bucket": weed.bucket, "prefix": prefix, "endpoint_url": weed.endpoint},
            "secrets-manager": {"prefix": prefix, "endpoint_url": moto.endpoint},
        },
    }
    configure(project.home, config)
    project.env = {k: v for k, v in project.env.items() if not k.startswith("AWS_")}
    project.env.update(weed.environ, config=json.dumps(config))
    project.workflows(PIPELINE)
    return project


def configure(home: Path, config: object) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "config.yaml").write_text(json.dumps(config))


def rows(project: Project, *arguments: str, **options) -> list[dict[str, object]]:
    return json.loads(project.dstack(*arguments, "--json", **options).out)


def test_a_pipeline_from_the_first_run_to_the_last_byte_freed(remote, tmp_path):
    terminal = remote.terminal("secrets", "add", "TOKEN")
    terminal.expect("alue")
    terminal.sendline("s3cr3t-t0k3n")
    terminal.wait()
    first = remote.dstack("run", "train")
    assert first.out == "data  | made\ntrain | trained with ***\n"
    assert not (remote.home / "store").exists(), "nothing is kept on this machine"
    (run,) = rows(remote, "ps", "-a")
    assert (run["workflow"], run["status"]) == ("train", "done")
    name = str(run["run"])
    assert remote.dstack("logs", name).out == first.out
    listed = remote.dstack("ls", "-r", name).out
    assert "noise" in listed
    assert "all" in listed
    remote.dstack("cp", f"{name}", str(tmp_path / "copy"))
    assert len(next((tmp_path / "copy").rglob("all")).read_bytes()) == 300_000 + 3893

    # The second run takes over everything; so does somebody else's, who has another home.
    assert remote.dstack("run", "train").out == ""
    elsewhere = tmp_path / "another home"
    configure(elsewhere, json.loads(remote.env["config"]))
    theirs = {"DSTACK_HOME": str(elsewhere), "DSTACK_USER": "another"}
    assert remote.dstack("run", "train", env=theirs).out == ""
    assert {str(row["status"]) for row in rows(remote, "ps", "-a", env=theirs)} == {"done"}
    assert len(rows(remote, "ps", "-a")) == 3

    for row in rows(remote, "ps", "-a"):
        remote.dstack("rm", str(row["run"]), "-y")
    remote.dstack("gc", "-y")
    assert rows(remote, "ps", "-a") == []
    assert json.loads(remote.dstack("gc", "-y", "--json").out)["size"] == 0
    left = {key.partition("/")[0] for key in keys(remote)}
    assert left <= {"runs", "traces", "latest", "tags"}, "the names of runs stay taken; of their bytes nothing is left"


def test_two_users_of_one_remote(remote, tmp_path):
    """Each has a home, a machine and a config of their own; the bucket and the secrets are the same."""
    config = json.loads(remote.env["config"])
    parts = config["remotes"].pop("local")
    config["remotes"] = {"team": parts}
    configure(remote.home, config)
    configure(tmp_path / "bob", config)
    ann = {"DSTACK_USER": "ann"}
    bob = {"DSTACK_USER": "bob", "DSTACK_HOME": str(tmp_path / "bob")}
    terminal = remote.terminal("secrets", "add", "-r", "team", "TOKEN", env=ann)
    terminal.expect("alue")
    terminal.sendline("s3cr3t-t0k3n")
    terminal.wait()
    assert rows(remote, "secrets", "-r", "team", env=bob) == rows(remote, "secrets", "-r", "team", env=ann) != []

    ran = remote.dstack("run", "-r", "train", "-t", "best", env=ann)
    (run,) = rows(remote, "ps", env=bob)
    assert (run["user"], run["remote"], run["tag"]) == ("ann", "team", "best")
    name = str(run["run"])
    assert remote.dstack("logs", name, env=bob).out == ran.out == "data  | made\ntrain | trained with ***\n"
    remote.dstack("cp", ":best", str(tmp_path / "copy"), env=bob)
    assert (tmp_path / "copy" / "model" / "all").stat().st_size == 303_893

    # Bob has nothing here; what Ann made is fetched, and it is told whose it is.
    remote.workflows(PIPELINE[: PIPELINE.index("- name: train")] + COUNT)
    done = remote.dstack("run", "train", env=bob)
    assert done.out == "1000\n"
    assert f"same as {name} of ann on team" in done.err
    mine = str(next(row["run"] for row in rows(remote, "ps", "-a", env=bob) if row["remote"] == "local"))
    assert "there already" not in remote.dstack("push", mine, env=bob).out
    assert {str(row["run"]) for row in rows(remote, "ps", "-a", env=ann)} == {name, mine}
    assert remote.dstack("logs", mine, env=ann).out == "1000\n"
    assert "same as" in remote.dstack("run", "train", env=ann).err


def test_what_a_listing_asks_of_a_remote(remote, weed):
    """However many runs there are: as many requests, and not one after the other."""
    with FaultProxy(weed.endpoint) as proxy:
        remote.env["DSTACK_S3_ENDPOINT_URL"] = proxy.address
        remote.dstack("run", "data")
        counts = []
        for _ in range(2):
            del proxy.requests[:]
            three = threading.Barrier(3, timeout=30)
            proxy.add(*(Fault("then", "GET", f"index%2F{name}", call=three.wait) for name in ("act", "rem", "fin")))
            assert len(rows(remote, "ps")) == 1
            assert not three.broken, "the listings are asked for side by side"
            counts.append(len(proxy.requests))
            if len(counts) == 1:
                add_older_runs(remote, 1100)
        assert counts == [4, 4], "three listings, and the record of the newest run"


def add_older_runs(project: Project, count: int) -> None:
    """So many copies of the only run, older than it: more than one page of a listing."""
    with aws(project) as store, ThreadPoolExecutor(16) as pool:
        (run,) = finished_runs(store)
        older = (replace(run, name=f"old-owl-{n}", finished=(run.finished or 0) - n - 1) for n in range(count))
        list(pool.map(lambda one: documents.create(store, finished_key(one), one), older))


def keys(project: Project) -> list[str]:
    with aws(project) as store:
        return [info.key for info in store.list("")]


@contextlib.contextmanager
def aws(project: Project) -> Iterator[S3Store]:
    """The project's store."""
    settings = json.loads(project.env["config"])["settings"]["s3"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.env.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        yield S3Store(settings)


def test_a_remote_by_questions(project, moto):
    """Typed on a terminal: names, one wrong answer, a bucket that is made; then it is used."""
    project.env = {k: v for k, v in project.env.items() if not k.startswith("AWS_")}
    project.env.update(moto.environ, AWS_ENDPOINT_URL=moto.endpoint)
    project.workflows(PIPELINE[: PIPELINE.index("- name: train")])
    bucket = f"team-{os.urandom(5).hex()}"
    terminal = project.terminal("config")
    for question, answer in (
        ("Name of the remote", "local"),
        ("Name of the remote", "team"),
        ("Backend.*:", "local"),
        ("Artifact store.*:", "s3"),
        ("Secret store.*:", "secrets-manager"),
        ("profile.*: $", ""),
        ("region.*: $", "eu-west-1"),
        ("bucket: $", "Our Runs"),
        ("bucket: $", bucket),
        ("profile.*: $", ""),
        (r"region \(eu-west-1\): $", ""),
        (f"the bucket {bucket}.*Make it", ""),
    ):
        terminal.expect(question)
        terminal.sendline(answer)
    terminal.expect("artifact store.*ok.*secret store.*ok.*backend.*ok")
    terminal.wait()
    assert terminal.exitstatus == 0
    written = (project.home / "config.yaml").read_text()
    assert f"bucket: {bucket}" in written
    project.dstack("run", "-r", "data")
    assert [row["remote"] for row in rows(project, "ps")] == ["team"]


def test_a_bucket_that_cannot_be_used_is_one_error(remote):
    done = remote.dstack("ps", expect=77, env={"AWS_ACCESS_KEY_ID": "nobody"})
    assert done.err.count("\n") <= 2
    assert "the server does not accept these credentials" in done.err
    assert "aws configure" in done.err
    done = remote.dstack("run", "train", expect=74, env={"DSTACK_S3_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert "no connection" in done.err
