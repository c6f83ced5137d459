"""`dstack init` and `dstack schema`: what they write is right, and nothing of the user's is lost."""

from __future__ import annotations

import json
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from dstack_core._workflow.load import load_workflows


@pytest.fixture
def bare(project):
    """A project without anything of dstack's."""
    shutil.rmtree(project / ".dstack")
    subprocess.run(["git", "init", "-q"], check=True)
    return project


def written(project):
    return (project / ".dstack" / "workflows.yaml").read_text()


@pytest.mark.parametrize(
    ("files", "name", "commands"),
    [
        ([], "shout", None),
        (["train.py"], "train", ["python train.py ${{ run.args }}"]),
        (
            ["main.py", "requirements.txt"],
            "main",
            ["pip install -r requirements.txt", "python main.py ${{ run.args }}"],
        ),
    ],
)
@pytest.mark.parametrize("schema", [False, True])
def test_init_writes_what_fits(dstack, bare, files, name, commands, schema):
    for file in files:
        (bare / file).touch()
    done = dstack("init", *(["--schema"] if schema else []))
    assert (done.code, done.out.splitlines()[-1]) == (0, f"Run it: dstack run {name}")
    workflows = load_workflows(bare)
    assert workflows.problems == []
    assert commands in (None, workflows.get(name).data["commands"])
    plan = dstack("plan", name)
    assert plan.code == 0, plan.err
    assert written(bare).startswith("# yaml-language-server: $schema=schema.json\n") == schema
    if schema:
        found = json.loads((bare / ".dstack" / "schema.json").read_text())
        jsonschema.validate(yaml.safe_load(written(bare)), found, jsonschema.Draft7Validator)


@pytest.mark.parametrize("there", ["workflows.yaml", "workflows.yml", "workflows/a.yaml"])
def test_init_never_touches_what_is_there(dstack, project, there):
    file = project / ".dstack" / there
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    done = dstack("init")
    assert done.code == 73
    assert "there are workflows already" in done.err
    assert file.read_text() == "mine"
    assert [path for path in (project / ".dstack").rglob("*") if path.is_file()] == [file]


def test_schema_is_printed(dstack):
    found = dstack("schema").json
    assert found["definitions"]["workflow"]["properties"]["provider"]["enum"] == [
        "bash",
        "code",
        "docker",
        "lab",
        "notebook",
    ]
    about = found["definitions"]["bash"]["properties"]["commands"]["description"]
    assert about.startswith("Shell commands, run in order")


def test_install_keeps_the_settings_of_the_editor(dstack, project):
    settings = project / ".vscode" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"a": 1, "yaml.schemas": {"x.json": "y.yaml"}}')
    for _ in range(2):
        assert dstack("schema", "--install").code == 0
        found = json.loads(settings.read_text())
        assert found["a"] == 1
        assert set(found["yaml.schemas"]) == {"x.json", ".dstack/schema.json"}


@pytest.mark.parametrize("text", ["{// mine\n}", "[]", '{"yaml.schemas": 3}'])
def test_settings_that_cannot_be_changed_are_left_alone(dstack, project, text):
    settings = project / ".vscode" / "settings.json"
    settings.parent.mkdir()
    settings.write_text(text)
    done = dstack("schema", "--install")
    assert done.code == 0
    assert '"yaml.schemas": {".dstack/schema.json":' in done.out
    assert settings.read_text() == text
