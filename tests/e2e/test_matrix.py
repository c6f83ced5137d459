"""Workflows with a matrix: every cell runs, is reused, listed, stopped and tagged on its own."""

from __future__ import annotations

import json
import re

GRID = """
    - name: train
      provider: bash
      matrix: {lr: [0.1, 0.01], model: [small, big]}
      env: {LR: '${{ matrix.lr }}'}
      artifacts: ['models/${{ matrix.model }}/${{ matrix.lr }}']
      commands: ['echo ${{ matrix.model }} $LR > models/${{ matrix.model }}/${{ matrix.lr }}/it']
    - {name: best, provider: bash, deps: [train], commands: ['cat models/*/*/it']}
    """


def test_all_cells_run_and_their_dependent_has_what_they_made(project):
    project.workflows(GRID)
    out = project.dstack("run", "best").out
    assert sorted(out.splitlines()) == [
        f"best{' ' * 22} | {m} {lr}" for m in ("big", "small") for lr in ("0.01", "0.1")
    ]
    again = project.dstack("run", "train", "--json")
    assert set(project.statuses().values()) == {"reused"}
    assert json.loads(again.out)["workflow"] == "train"


def test_one_cell_runs_alone_and_the_others_are_run_later(project):
    project.workflows(GRID)
    project.dstack("run", "train[model=big,lr=0.1]")
    assert project.statuses() == {"train[lr=0.1,model=big]": "done"}
    project.dstack("run", "train")
    assert sorted(project.statuses().values()) == ["done", "done", "done", "reused"]


def test_values_are_data(project):
    values = [
        'it\'s "x"',
        "$(touch canary)",
        "a/b",
        "a,b=[c]",
        "ü €😀",
        "two\nlines",
        "${{ run.name }}",
        "",
        " ",
        "%2C",
    ]
    project.write(
        ".dstack/workflows.yaml",
        json.dumps({"workflows": [{
            "name": "w", "provider": "bash", "matrix": {"v": values}, "env": {"V": "${{ matrix.v }}"},
            "commands": ["printf %s ${{ matrix.v }} > out/bare", 'printf %s "${{ matrix.v }}" > out/quoted',
                         'printf %s "$V" > out/env'], "artifacts": ["out"],
        }]}, ensure_ascii=False),
    )  # fmt: skip
    project.dstack("run", "w")
    names = list(project.statuses())
    assert len(set(names)) == len(values)
    for name, value in zip(names, values, strict=True):
        made = project.artifact(name, "out")
        assert {file.read_text() for file in made.iterdir()} == {value}
        assert project.dstack("logs", project.run(), name).out == ""
    assert not list(project.folder.rglob("canary"))


def test_no_more_cells_at_once_than_asked(project):
    mine, all_ = f"{project.sync}/busy-$DSTACK_JOB", f"{project.sync}/busy-*"
    busy = (
        f"mkdir {mine}; echo {all_} | wc -w; sleep 0.2; rmdir {mine}"  # not `ls`: it would look at what goes meanwhile
    )
    project.workflows(f"""
        - name: w
          provider: bash
          matrix: {{values: {{n: [1, 2, 3, 4, 5]}}, max_parallel: 2}}
          resources: {{cpu: 0.01}}
          commands: ["{busy}"]
        """)
    out = project.dstack("run", "w").out
    counts = [int(line.rpartition("|")[2]) for line in out.splitlines()]
    assert len(counts) == 5
    assert max(counts) == 2


def test_a_failed_cell_stops_no_other_and_whoever_needs_them_all_is_skipped(project):
    project.workflows(
        """
        - {name: w, provider: bash, matrix: {code: [0, 3, 0x]}, artifacts: ['o/${{ matrix.code }}'],
           commands: ['exit $((${{ matrix.code }} + 0))']}
        - {name: end, provider: bash, deps: [w], commands: ['true']}
        """.replace("0x", "00")
    )
    project.dstack("run", "end", expect=3)
    assert project.statuses() == {"w[code=0]": "done", "w[code=3]": "failed", "w[code=00]": "done", "end": "skipped"}


def test_ls_and_tags_tell_cells_apart(project):
    project.workflows(GRID + "- {name: use, provider: bash, deps: [':grid'], commands: ['ls models']}\n")
    project.dstack("run", "train", "--tag", "grid")
    listed = json.loads(project.dstack("ls", project.run(), "--json").out)
    assert (listed[0]["job"], listed[0]["path"]) == ("train[lr=0.1,model=small]", "models/small/0.1")
    assert len(listed) == 4
    assert len(json.loads(project.dstack("ls", ":grid", "--json").out)) == 4
    assert project.dstack("run", "use").out == "big\nsmall\n"


def test_cells_that_save_to_one_path_are_listed_apart_and_cannot_be_tagged_together(project):
    project.workflows("""
        - {name: w, provider: bash, matrix: {n: [1, 2]}, artifacts: [out], commands: ['echo ${{ matrix.n }} > out/x']}
        - {name: end, provider: bash, deps: [w], commands: ['true']}
        """)
    for arguments in (("run", "w", "--tag", "t"), ("run", "end"), ("plan", "end")):
        done = project.dstack(*arguments, expect=65)
        assert re.search(r"workflows.yaml:2:5: w\[n=1\] and w\[n=2\] both save out", done.err)
        assert "${{ matrix.KEY }}" in done.err
    project.dstack("run", "w")
    assert re.findall(r"^w\[n=\d\] +out\b", project.dstack("ls", project.run()).out, re.MULTILINE) == [
        "w[n=1]    out",
        "w[n=2]    out",
    ]
    assert "both save out" in project.dstack("tags", "add", "t", project.run(), expect=65).err
    project.dstack("run", "w[n=2]", "--tag", "t")
    assert project.dstack("run", "bash", "--dep", ":t", "-c", "cat out/x").out == "2\n"
