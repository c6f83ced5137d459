"""Plans put together: unknown names, tags, other repositories, overlays, warnings."""

import pytest

from dstack_core.errors import InputError, NotFoundError
from dstack_core.models import Artifact, Dep


def test_unknown_dep_says_where_and_what_is_close(make_scene, wf):
    scene = make_scene(wf("digits-data"), wf("train", "digit-data"))
    with pytest.raises(NotFoundError) as caught:
        scene.plan("train")
    error = caught.value
    assert str(error) == ".dstack/workflows.yaml:5: train depends on digit-data, which does not exist"
    assert error.hint == "did you mean digits-data?"


def test_a_dep_that_a_broken_file_may_hide_shows_what_is_broken(make_scene, wf):
    scene = make_scene(wf("train", "data"))
    scene.missing = InputError("not YAML", where="more.yaml:3:1")
    with pytest.raises(InputError, match=r"^more.yaml:3:1: not YAML$"):
        scene.plan("train")


def test_a_broken_workflow_that_is_not_needed_is_not_looked_at(make_scene, wf):
    scene = make_scene(wf("broken", "nowhere"), wf("train"))
    assert [job.name for job in scene.plan("train").jobs] == ["train"]


def test_cycle(make_scene, wf):
    scene = make_scene(wf("a", "b"), wf("b", "a"), wf("train", "a"))
    with pytest.raises(InputError, match="a -> b -> a") as caught:
        scene.plan("train")
    assert caught.value.where == ".dstack/workflows.yaml:1"


def test_nothing_is_written_by_planning(make_scene, wf):
    scene = make_scene(wf("data"), wf("train", "data"))
    scene.plan("train")
    assert list(scene.store.list("")) == []


def test_a_tag_is_an_input(make_scene, wf):
    scene = make_scene(wf("train", ":best", "other/repo/x", ":you/repo/theirs"))
    scene.change("train", deps=scene.workflows["train"].deps[::2])
    with pytest.raises(NotFoundError) as caught:
        scene.plan("train")
    assert str(caught.value) == ".dstack/workflows.yaml:5: there is no tag best"
    best, theirs = Artifact("model", "1" * 64), Artifact("data", "2" * 64)
    scene.tags = {("me/repo", "best"): (best,), ("you/repo", "theirs"): (theirs,)}
    assert [(s.dep, s.artifacts) for s in scene.plan("train").jobs[0].sources] == [
        (":best", (best,)),
        (":you/repo/theirs", (theirs,)),
    ]
    scene.run("train")
    assert scene.run("train") == ()
    scene.tags["me/repo", "best"] = (Artifact("model", "3" * 64),)
    assert scene.decisions("train") == {"train": ("run", "input :best changed")}


def test_a_dep_in_another_repository_is_its_newest_result(make_scene, wf):
    scene = make_scene(wf("train", "you/repo/data"))
    with pytest.raises(NotFoundError) as caught:
        scene.plan("train")
    assert caught.value.message == "train depends on you/repo/data, which has no finished run in this store"
    elsewhere = make_scene(wf("data"))
    elsewhere.store = scene.store
    plan_here, scene_repo = elsewhere.plan, "you/repo"
    from dstack_core._plan.build import Request, Surroundings, make_plan

    def plan(target, **request):
        plan_here(target)  # records the snapshot
        around = Surroundings(elsewhere.store, "5" * 64, elsewhere.paths, elsewhere.workflows.keys(),
                              elsewhere.define, elsewhere.tag, elsewhere.snapshots.get)  # fmt: skip
        return make_plan(Request(target, scene_repo, **request), around)

    elsewhere.plan = plan
    elsewhere.run("data")
    (source,) = scene.plan("train").jobs[0].sources
    assert source.job is None
    assert [a.path for a in source.artifacts] == ["data-out"]
    tree = source.artifacts[0].tree
    scene.store.delete(f"trees/{tree[:2]}/{tree}")
    with pytest.raises(NotFoundError, match="has lost the artifacts of its newest run"):
        scene.plan("train")


def test_this_repository_by_its_full_name_is_a_job_of_the_run(make_scene, wf):
    scene = make_scene(wf("data"), wf("train", "me/repo/data"))
    assert scene.plan("train").job("train").deps == ("data",)


def test_a_dep_that_is_written_twice_counts_at_its_last_place(make_scene, wf):
    scene = make_scene(wf("a", artifacts=("out",)), wf("b", artifacts=("out",)), wf("train", "a", "b", "a"))
    assert [s.dep for s in scene.plan("train").job("train").sources] == ["b", "a"]
    scene.changes = {"a": 1, "b": 2}
    scene.run("train")
    scene.change("train", deps=(Dep("workflow", "b"), Dep("workflow", "a")))
    assert scene.run("train") == ()
    scene.change("train", deps=(Dep("workflow", "a"), Dep("workflow", "b")))
    assert scene.run("train") == ("train",), "which of two artifacts lies on top matters"


def test_force_of_a_job_that_is_not_there(make_scene, wf):
    scene = make_scene(wf("data"), wf("other"), wf("train", "data"))
    with pytest.raises(NotFoundError, match="cannot force other: this run has no such job") as caught:
        scene.plan("train", force=frozenset({"other"}))
    assert caught.value.hint == "its jobs are data, train"
    with pytest.raises(NotFoundError) as caught:
        scene.plan("train", force=frozenset({"dta"}))
    assert caught.value.hint == "did you mean data?"


def test_a_glob_that_matches_nothing_is_a_warning(make_scene, wf):
    scene = make_scene(wf("train", inputs=("train.py", "tarin.py")))
    plan = scene.plan("train")
    assert plan.warnings == (".dstack/workflows.yaml:5: the input tarin.py of train matches no file of the repository",)


def test_jobs_share_what_they_watch(make_scene, wf):
    names = [f"w{n}" for n in range(50)]
    scene = make_scene(*(wf(name) for name in names), wf("some", inputs=("train.py",)), wf("all", "some", *names))
    assert len(scene.plan("all").watched) == 2


@pytest.mark.parametrize("count", [5, 40])
def test_requests_to_the_store_grow_with_what_was_run_not_with_what_is_planned(make_scene, wf, count):
    scene = make_scene(*(wf(f"w{n}") for n in range(count)), wf("all", *(f"w{n}" for n in range(count))))
    calls = []

    class Counted:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(store, name)

    store, scene.store = scene.store, Counted()
    scene.plan("all")
    assert len(calls) <= 16 * 2 if count < 16 else calls == ["list"]
