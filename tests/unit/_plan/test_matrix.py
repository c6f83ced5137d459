"""Matrices in a plan: each cell a job of its own, and what depends on them all."""

import pytest

from dstack_core.errors import InputError, NotFoundError
from dstack_core.models import Cell


@pytest.fixture
def cell(wf):
    def cell(value: int, *deps: str, artifact: str = "m/{}", **properties):
        of = Cell("train", {"lr": str(value)})
        return wf(f"train[lr={value}]", *deps, cell=of, artifacts=(artifact.format(value),), **properties)

    return cell


def test_every_cell_is_a_job_and_a_target(make_scene, wf, cell):
    plan = make_scene(wf("data"), cell(1, "data"), cell(2, "data")).plan("train")
    assert [job.name for job in plan.jobs] == ["data", "train[lr=1]", "train[lr=2]"]
    assert [job.name for job in plan.targets] == ["train[lr=1]", "train[lr=2]"]
    assert plan.target == "train"


def test_a_value_that_is_added_runs_only_its_cell(make_scene, cell):
    scene = make_scene(cell(1), cell(2))
    assert scene.run("train") == ("train[lr=1]", "train[lr=2]")
    scene.workflows["train[lr=3]"] = cell(3)
    assert scene.run("train") == ("train[lr=3]",)
    assert scene.run("train[lr=2]") == ()


def test_a_reason_is_the_cells_own(make_scene, cell):
    scene = make_scene(cell(1), cell(2))
    scene.run("train")
    scene.change("train[lr=1]", env={"A": "2"})
    assert {name: decision for name, (decision, _) in scene.decisions("train").items()} == {
        "train[lr=1]": "run",
        "train[lr=2]": "reuse",
    }
    assert scene.decisions("train")["train[lr=1]"][1] == "env A: none -> 2"


def test_a_dependent_takes_the_artifacts_of_all_cells(make_scene, wf, cell):
    scene = make_scene(cell(1), cell(2), wf("best", "train"))
    assert scene.run("best") == ("train[lr=1]", "train[lr=2]", "best")
    job = scene.plan("best").job("best")
    assert job.deps == ("train[lr=1]", "train[lr=2]")
    assert scene.run("best") == ()


def test_a_dep_on_one_cell_needs_no_other(make_scene, wf, cell):
    plan = make_scene(cell(1), cell(2), wf("best", "train[lr=2]")).plan("best")
    assert [job.name for job in plan.jobs] == ["train[lr=2]", "best"]


def test_cells_with_one_path_are_an_error_when_something_depends_on_them(make_scene, wf, cell):
    scene = make_scene(cell(1, artifact="./model"), cell(2, artifact="model"), wf("best", "train"))
    scene.plan("train")
    with pytest.raises(InputError, match=r"both save model: one would overwrite the other in best") as caught:
        scene.plan("best")
    assert "`artifacts: [model/${{ matrix.KEY }}]`" in caught.value.hint


def test_force_of_all_cells_and_of_one(make_scene, cell):
    scene = make_scene(cell(1), cell(2))
    scene.run("train")
    assert scene.run("train", force=frozenset({"train"})) == ("train[lr=1]", "train[lr=2]")
    assert scene.run("train", force=frozenset({"train[lr=2]"})) == ("train[lr=2]",)
    with pytest.raises(NotFoundError, match="cannot force"):
        scene.plan("train[lr=1]", force=frozenset({"train"}))


def test_many_changed_inputs_are_summed_up(make_scene, wf, cell):
    scene = make_scene(*map(cell, range(9)), wf("best", "train"))
    scene.run("best")
    scene.run("train", force_all=True)
    decision, why = scene.decisions("best")["best"]
    assert (decision, why) == ("run", "inputs train[lr=0], train[lr=1] and 7 more changed")


def test_deps_of_all_cells_on_all_cells_have_a_limit(make_scene, wf, cell, monkeypatch):
    monkeypatch.setattr("dstack_core._plan.build.MOST_EDGES", 8)
    other = [wf(f"eval[n={n}]", "train", cell=Cell("eval", {"n": str(n)})) for n in range(3)]
    with pytest.raises(InputError, match="each cell of eval needs 3 jobs"):
        make_scene(*map(cell, range(3)), *other).plan("eval")
