"""The example as its README tells it: a model is trained, the second run reuses all, an edit runs what it touches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
MINUTES = 60.0

FILES = {
    "data/train.npz", "data/test.npz", "data/preview.png",
    "model/model.joblib", "model/metrics.json", "model/loss.png", "model/confusion.png",
}  # fmt: skip


def _plan(project, *arguments: str) -> dict[str, tuple[str, str]]:
    plan = json.loads(project.dstack("plan", "train-digits", "--json", *arguments).out)
    return {job["job"]: (job["decision"], job["reason"]) for job in plan["jobs"]}


def test_the_example(project):
    shutil.copytree(EXAMPLE, project.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", "model"))
    before = set(project.root.rglob("*"))

    process = project.start("run", "train-digits")
    said, _ = process.communicate(timeout=15 * MINUTES)  # it installs scikit-learn, twice
    assert process.returncode == 0, said + project.story()
    assert "epoch 30/30" in said
    assert set(project.root.rglob("*")) == before

    files = json.loads(project.dstack("ls", "-r", "--json", project.run()).out)
    assert {file["path"] for file in files} == FILES
    metrics = json.loads(project.dstack("run", "bash", "--dep", "train-digits", "-c", "cat model/metrics.json").out)
    assert metrics["accuracy"] > 0.95
    assert f"accuracy on the test set: {metrics['accuracy']:.2%}" in said

    assert {decision for decision, _ in _plan(project).values()} == {"reuse"}
    explore = json.loads(project.dstack("plan", "explore", "--json").out)["jobs"]
    assert [job["decision"] for job in explore if job["job"] != "explore"] == ["reuse", "reuse"]
    longer = _plan(project, "--", "--epochs", "60")
    assert (longer["digits-data"][0], longer["train-digits"][0]) == ("reuse", "run")
    with (project.root / "train.py").open("a") as script:
        script.write("# edited\n")
    edited = _plan(project)
    assert edited["digits-data"][0] == "reuse"
    assert edited["train-digits"][0] == "run"
    assert "train.py" in edited["train-digits"][1]
