"""The JSON Schema takes every workflow file that is right, and refuses what is misspelt."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Literal

import jsonschema
import pytest
import yaml
from dstack_provider_bash.properties import BashProperties
from dstack_provider_code.properties import CodeProperties
from dstack_provider_docker.properties import DockerProperties
from dstack_provider_jupyter.properties import LabProperties, NotebookProperties
from pydantic import BaseModel, Field

from dstack_core._workflow import json_schema, schema

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


class Notebook(BaseModel):
    file: str
    kernel: Literal["python3", "ir"] = "python3"
    timeout: int = Field(60, description="Seconds.")


OURS = {
    "bash": BashProperties, "code": CodeProperties, "docker": DockerProperties, "lab": LabProperties,
    "notebook": NotebookProperties,
}  # fmt: skip
SCHEMA = json_schema.json_schema({"bash": BashProperties, "notebook": Notebook})


class Loader(yaml.SafeLoader):
    """As an editor reads YAML 1.2: `on` and `yes` are text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def errors(text, checked=SCHEMA):
    document = yaml.load(textwrap.dedent(text), Loader)
    return [error.message for error in jsonschema.Draft7Validator(checked).iter_errors(document)]


def entry(text):
    return errors("workflows:\n- name: a\n  provider: bash\n  commands: [x]\n" + textwrap.indent(text, "  "))


def files():
    """Everything in the repository that holds workflows and is right."""
    for path in sorted(ROOT.glob("examples/**/.dstack/**/*.yaml")):
        yield pytest.param(path.read_text(), id=str(path.relative_to(ROOT)))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/*.md")]:
        for index, block in enumerate(BLOCK.findall(page.read_text())):
            text = textwrap.dedent(block)
            found = yaml.safe_load(text)
            if isinstance(found, dict) and all(w.get("provider") in OURS for w in found.get("workflows") or [{}]):
                yield pytest.param(text, id=f"{page.relative_to(ROOT)}-{index}")


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_every_property_is_described():
    assert schema.PROPERTIES.keys() <= json_schema.PROPERTIES.keys() | {"provider", "resources"}
    assert schema.RESOURCES.keys() == json_schema.RESOURCES.keys()
    for name, one in SCHEMA["definitions"]["bash"]["properties"].items():
        assert name == "provider" or one["description"], name


@pytest.mark.parametrize("text", list(files()))
def test_what_the_documentation_shows_is_right(text):
    assert errors(text, json_schema.json_schema(OURS)) == []


@pytest.mark.parametrize(
    "text",
    [
        "python: 3.11",
        "python: 3",
        "env: {A: 1, B: true, C: , D: x}",
        "env: [A=1, B]",
        "env: A=1",
        "environment: [A=1]",
        "deps: data",
        "deps: [data, ':best', a/b/c]",
        "deps: [{workflow: data, mount: true}, {tag: best}]",
        "deps:",
        "artifacts: ./a",
        "artifacts: [./a, {path: ./b, mount: yes}]",
        "resources: {cpu: 2, memory: 16GB, gpu: 1, shm_size: 8GB, interruptible: yes}",
        "resources: {disk: 200GB, max_price: 1.5, instance_types: [m5.large, t3.large]}",
        "resources: {max_price: '2', instance_types: m5.large}",
        "resources: {gpu: {count: 2, name: V100, memory: 16GB}, remote: true}",
        "resources: {gpu: 'V100:2', memory: }",
        "retry: 3",
        "retry: {attempts: 3, on: [failure], backoff: 10s}",
        "retry: {attempts: 3, on: failure}",
        "max_duration: 2h",
        "ports: 2",
        "ports: '2'",
        "ports: [8501, '8080:80']",
        "ports: {web: 8501, api: '8080:80'}",
        "ports: 8080:80",
        "working_dir: src",
        "inputs: [src/**]",
        "image: ubuntu:22.04",
        "executor: docker",
        "registry_auth: {username: me, password: '${{ secrets.TOKEN }}'}",
        "matrix: {lr: [0.1, 1], model: [big]}",
        "matrix: {values: {lr: [0.1]}, max_parallel: 2, exclude: [{lr: 0.1}], include: [{lr: 1}]}",
        "setup: echo hi",
        "setup: [1, true]",
        "help: what it does",
    ],
)
def test_every_form_of_a_property(text):
    assert entry(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "comands: [x]",
        "arttifacts: [x]",
        "resources: {memori: 1GB}",
        "resources: 4GB",
        "retry: {attempt: 3}",
        "retry: {attempts: 3, on: [faliure]}",
        "deps: [{workflw: data}]",
        "deps: {workflow: data}",
        "artifacts: [{paths: x}]",
        "env: {A: [1]}",
        "ports: [web]",
        "ports: [{web: 80}]",
        "resources: {interruptible: perhaps}",
        "file: x.ipynb",
        "registry_auth: {username: me, pasword: x}",
        "registry_auth: {username: me}",
        "matrix: {lr: 0.1}",
        "matrix: {values: {lr: [0.1]}, max_paralel: 2}",
        "commands: {a: b}",
    ],
)
def test_mistakes(text):
    assert entry(text)


@pytest.mark.parametrize(
    "text",
    [
        "workflow: []",
        "workflows: {name: a}",
        "workflows: [{name: a, provider: bsh, commands: [x]}]",
        "workflows: [{provider: bash, commands: [x]}]",
        "workflows: [{name: a, commands: [x]}]",
        "workflows: [{name: a, provider: bash}]",
        "workflows: [{name: a, provider: notebook, file: x, kernel: ruby}]",
        "workflows: [{name: a, provider: notebook, file: x, commands: [x]}]",
        "workflows: [{name: a, provider: notebook}]",
    ],
)
def test_mistakes_around_workflows(text):
    assert errors(text)


@pytest.mark.parametrize("more", ["timeout: 5", "timeout: '5'", "kernel: ir", "kernel:"])
def test_the_provider_decides_what_else_there_is(more):
    assert errors(f"workflows:\n- name: n\n  provider: notebook\n  file: x\n  {more}\n") == []
