"""When a job can be observed, what is told when it cannot, and what its declared inputs leave out."""

import pytest

from dstack_core._content.entries import Tree, TreeEntry
from dstack_core._plan.watch import Code, tree_paths
from dstack_core._runner import access, observing
from dstack_core._runner.observing import Observation
from dstack_core._runner.workspace import Workspace
from dstack_core.executor import Executor
from dstack_core.models import Artifact, ArtifactSpec, JobSpec

FILES = ("a.py", "b.py", "c.py", "d.py", "sub/e.py", "out/old")


class InPlace(Executor):
    in_place = True

    def start(self, task):
        raise AssertionError("nothing is started here")

    def sweep(self, label):
        return 0


class Elsewhere(InPlace):
    in_place = False


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """Each test has file systems of its own."""
    monkeypatch.setattr(access, "_known", {})


@pytest.fixture
def observe(tmp_path):
    """Lays FILES out, reads some of them as a job would, and returns the observation."""

    def observe(
        *read, artifacts=("out",), inputs=None, given=(), executor=None, link=None, working_dir=None, folder=None
    ):
        spec = JobSpec(("sh",), artifacts=tuple(map(ArtifactSpec, artifacts)), working_dir=working_dir)
        entries = [TreeEntry(path, "file", 0o644, "1" * 64) for path in FILES]
        entries += [TreeEntry(path, "dir", 0o755) for path in ("", "sub", "out")]
        entries += [TreeEntry(link, "link", target="sub")] if link else []
        tree = Tree(entries)
        workspace = Workspace((folder or tmp_path) / "attempt", spec)
        for path in FILES:
            (workspace.root / path).parent.mkdir(parents=True, exist_ok=True)
            (workspace.root / path).write_text("x")
        observation = Observation(spec, Code(tree_paths(tree)).watched(inputs)[0])
        observation.begin(workspace, tree, [Artifact(path, "2" * 64) for path in given], executor or InPlace())
        for path in read:
            (workspace.root / path).read_text()
        observation.end()
        return observation

    return observe


def test_what_was_read_is_learned(observe):
    watched = observe("a.py", "sub/e.py").watched
    assert watched.observed
    assert {path for path in watched.paths if path.endswith(".py")} == {"a.py", "sub/e.py"}


def test_what_lies_where_an_artifact_will_is_none_of_the_job_s(observe):
    """The runner removes it before the job begins, and a file there now is the job's own."""
    assert "out/old" not in observe("out/old").watched.paths


def test_the_names_around_artifacts_and_inputs_count(observe):
    watched = observe(artifacts=["made/out"], given=["given/in"], working_dir="sub").watched
    assert {"/", "sub/", "sub/made/", "sub/given/", "sub/given/in//"} <= watched.paths.keys()


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        ({"executor": Elsewhere()}, "its executor does not run jobs on the files of the checkout"),
        ({"artifacts": ["./"]}, "its artifact . holds the code"),
        ({"given": ["."]}, "an artifact of a dep lies over all of the code"),
        ({"link": "way", "artifacts": ["way/out"]}, "a link of the repository is on the way"),
        ({"link": "way", "given": ["way/in"]}, "a link of the repository is on the way"),
        ({"link": "way", "working_dir": "way"}, "a link of the repository is on the way"),
    ],
)
def test_all_of_the_code_counts_and_why(observe, situation, words):
    watched = observe("a.py", **situation).watched
    assert (watched.kind, watched.observed) == ("tree", False)
    assert words in watched.hindrance
    assert watched.code


def test_a_file_system_without_access_times(observe, tmp_path, without_access_times):
    without_access_times(tmp_path / "folder")
    assert "keeps no access time" in observe("a.py", folder=tmp_path / "folder").watched.hindrance


def test_access_times_that_cannot_be_set(observe, monkeypatch):
    def refuse(reading):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(observing, "hindrance", lambda folder: "")
    monkeypatch.setattr(observing.Reading, "mark", refuse)
    assert observe().watched.hindrance == "access times cannot be set: Operation not permitted"


def test_what_is_declared_stays_what_counts(observe):
    observation = observe("a.py", inputs=("*.py",))
    assert not observation.watched.observed
    assert set(observation.watched.paths) == {"a.py", "b.py", "c.py", "d.py"}
    assert observation.warnings == ()


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (["a.py", "b.py"], "it used b.py, which its inputs do not cover"),
        (["sub/e.py", "d.py", "c.py", "b.py"], "it used b.py, c.py, d.py and 1 more, which its inputs do not cover"),
    ],
)
def test_what_is_used_and_not_declared_is_a_warning(observe, read, words):
    assert observe(*read, inputs=("a.py",)).warnings == (words,)


def test_nothing_is_learned_of_a_job_that_did_not_end():
    planned = Code({}).watched(None)[0]
    assert Observation(JobSpec(("sh",)), planned).watched.hindrance == "it was not run to its end"
