"""The end of a run that somebody followed."""

from __future__ import annotations

import json
import re

import pexpect

CHAIN = """
    - {name: data, provider: bash, artifacts: [data], commands: ['echo 1 > data/x; sleep 0.2']}
    - {name: train, provider: bash, deps: [data], artifacts: [model], commands: ['cp data/x model/x']}
    """


def test_on_a_terminal_a_table_and_what_reuse_saved(project):
    project.workflows(CHAIN)
    project.dstack("run", "data")
    terminal = project.terminal("run", "train")
    terminal.expect(pexpect.EOF)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.before)
    assert re.search(r"job +status +prepare +environment +run +save +in all", text)
    assert re.search(r"train +done +[\d.]+ s +[\d.]+ s ", text)
    assert re.search(r"done in [\d.]+ s, reused 1 job, saved [\d.]+ s\s+artifacts: dstack ls " + project.run(), text)


def test_elsewhere_one_line(project):
    project.workflows(CHAIN)
    project.dstack("run", "data")
    last = project.dstack("run", "train").err.splitlines()[-1]
    assert re.fullmatch(r"(\S+): done in [\d.]+ s, reused 1 job, saved [\d.]+ s; artifacts: dstack ls \1", last)


def test_json_has_the_phases_and_nothing_stands_in_its_way(project):
    project.workflows(CHAIN)
    run = json.loads(project.dstack("run", "train", "--json").out)["run"]
    jobs = json.loads(project.dstack("ps", run, "--json").out)["jobs"]
    assert [set(job["attempts"][0]["phases"]) for job in jobs] == [{"prepare", "environment", "run", "save"}] * 2


def test_what_is_reused_on_the_way_counts_too(project):
    project.workflows(CHAIN)
    project.dstack("run", "train")
    done = project.dstack("run", "train", "--force", "data")
    assert project.statuses() == {"data": "done", "train": "reused"}
    assert "reused 1 job, saved " in done.err
