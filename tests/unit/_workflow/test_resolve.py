"""Every property of a workflow, what the command line changes, and errors that say where."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated, Any

import pytest
from dstack_provider_bash.provider import BashProvider
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from dstack_core._workflow import fields
from dstack_core._workflow.own import OwnProperties
from dstack_core._workflow.raw import RawWorkflow
from dstack_core._workflow.resolve import ad_hoc, resolve
from dstack_core.errors import InputError, PluginError
from dstack_core.models import ArtifactSpec, Dep, Gpu, JobSpec, Port, Requirements, Retry, Workflow
from dstack_core.provider import Provider


class Own(BaseModel):
    model_config = ConfigDict(extra="forbid")
    script: str
    fast: bool = False
    level: int = 1
    ratio: float | None = None
    nested: dict[str, list[str]] = {}


class OwnProvider(Provider):
    model: type[BaseModel] = Own

    def properties(self) -> type[BaseModel]:
        return self.model

    def job_spec(self, workflow: Workflow) -> JobSpec:
        return JobSpec(("true",))


def provider_with(model: type[BaseModel]) -> OwnProvider:
    provider = OwnProvider()
    provider.model = model
    return provider


def test_all_2023_properties_together(project):
    project.write(
        """
        workflows:
          - name: train
            help: Trains a model
            provider: bash
            deps:
              - workflow: data
              - tag: mnist
            setup:
              - pip install torch
            commands:
              - python train.py
            env:
              - LR=0.10
            python: 3.10
            ports: 2
            working_dir: src
            artifacts:
              - path: ./model
                mount: true
            resources: {cpu: 4, memory: 16GB, shm_size: 8GB, gpu: {name: V100, count: 2, memory: 16GiB},
                        interruptible: true, remote: true}
        """
    )
    assert project.resolve("train") == Workflow(
        name="train",
        provider="bash",
        help="Trains a model",
        deps=(Dep("workflow", "data"), Dep("tag", "mnist")),
        env={"LR": "0.10"},
        python="3.10",
        ports=(Port(), Port()),
        working_dir="src",
        artifacts=(ArtifactSpec("./model", True),),
        resources=Requirements(4.0, 16 * 10**9, Gpu(2, "V100", 16 << 30), 8 * 10**9, True),
        remote=True,
        properties={"commands": ["python train.py"], "setup": ["pip install torch"]},
        where=".dstack/workflows.yaml:3:5",
    )


def test_nothing_but_what_is_needed(project):
    workflow = project.one("")
    assert workflow == Workflow(
        "w", "bash", properties={"commands": ["echo"], "setup": []}, where=".dstack/workflows.yaml:2:5"
    )


@pytest.mark.parametrize(
    ("lines", "env"),
    [
        ("env: [A=1, 'B=x=y', C=, D= ]", {"A": "1", "B": "x=y", "C": "", "D": ""}),
        (
            "env: {A: 1, LR: 0.10, ON: yes, E: '', N: 'null'}",
            {"A": "1", "LR": "0.10", "ON": "yes", "E": "", "N": "null"},
        ),
        ("environment: [A=1]", {"A": "1"}),
        ("env: A=1", {"A": "1"}),
        ("env:", {}),
        ("environment:", {}),
        ("env: [FROM_SHELL, A=1]", {"FROM_SHELL": "value", "A": "1"}),
        ("env: [LD_PRELOAD=x, PATH=y]", {"LD_PRELOAD": "x", "PATH": "y"}),
    ],
)
def test_env(project, lines, env):
    assert project.one(lines, environ={"FROM_SHELL": "value", "OTHER": "x"}).env == env


def test_what_comes_from_the_callers_environment_is_no_template(project):
    from dstack_core._workflow.template import fill

    workflow = project.one("env: [A]", environ={"A": "$${{ x }} ${{ run.name }}"})
    assert fill(workflow.env["A"], {}, "plain") == "$${{ x }} ${{ run.name }}"


@pytest.mark.parametrize(
    ("lines", "where", "words"),
    [
        ("env: [A]", "5:11", "does not have it | `export A=...`"),
        ("environment: [B=1, A]", "5:24", "does not have it"),
        ("env: [1A=x]", "5:11", "`1A` is not a name for a variable"),
        ("env: ['A B=x']", "5:11", "`A B` is not a name for a variable"),
        ("env: [A-B=x]", "5:11", "not a name"),
        ("env: {é: x}", "5:14", "not a name"),
        ("env: ['=x']", "5:11", "not a name"),
        ("env: [A=1, ]\nenvironment: [B=1]", "6:5", "is the same as `env`"),
        ("env: {A: }", "5:", "taken from your environment"),
        ("env: {A: [1]}", "5:14", "must be one text value"),
        ("env: [{A: 1}]", "5:11", "must be `NAME=VALUE`"),
        ("env: [[A=1]]", "5:11", "must be one text value"),
        ('env: ["A=\\0"]', "5:11", "NUL"),
    ],
)
def test_wrong_env(project, lines, where, words):
    message = project.error(lambda: project.one(lines), InputError)
    assert message.startswith(f".dstack/workflows.yaml:{where}")
    assert words in message


@pytest.mark.parametrize(
    ("item", "dep"),
    [
        ("workflow: data", Dep("workflow", "data")),
        ("tag: v1", Dep("tag", "v1")),
        ("workflow: own/repo/data", Dep("workflow", "data", "own/repo")),
        ("tag: own/repo/v1", Dep("tag", "v1", "own/repo")),
        ("data", Dep("workflow", "data")),
        ("':v1'", Dep("tag", "v1")),
        ("own/repo/data", Dep("workflow", "data", "own/repo")),
        ("':own/repo/v1'", Dep("tag", "v1", "own/repo")),
        ("own/repo/:v1", Dep("tag", "v1", "own/repo")),
        ("3.10", Dep("workflow", "3.10")),
        ("{workflow: data, mount: true}", Dep("workflow", "data")),
    ],
)
def test_deps(project, item, dep):
    assert project.one(f"deps:\n  - {item}").deps == (dep,)
    assert fields.deps([str(dep)]) == (dep,)


def test_deps_keep_their_order_and_come_once(project):
    names = [d.name for d in project.one("deps: [c, a, c, {workflow: a}, b]").deps]
    assert names == ["c", "a", "b"]
    assert project.one("deps: data").deps == (Dep("workflow", "data"),)


@pytest.mark.parametrize(
    ("lines", "where", "words"),
    [
        ("deps: [{workflow: a, tag: b}]", "5:12", "one of them"),
        ("deps: [{}]", "5:12", "one of them"),
        ("deps: [{workfow: a}]", "5:13", "did you mean `workflow`?"),
        ("deps: [a/b]", "5:12", "`OWNER/REPO/NAME`"),
        ("deps: [a//b]", "5:12", "`OWNER/REPO/NAME`"),
        ("deps: [':']", "5:12", "`OWNER/REPO/NAME`"),
        ("deps: [a, ]\nports: x", "6:12", "`ports`: must be a whole number"),
        ("deps: {workflow: a}", "5:11", "must be a list"),
        ("deps: [~]", "5:12", "is empty"),
        ("deps: ['${{ run.name }}']", "5:12", "takes no `${{ }}`"),
    ],
)
def test_wrong_deps(project, lines, where, words):
    message = project.error(lambda: project.one(lines), InputError)
    assert message.startswith(f".dstack/workflows.yaml:{where}: ")
    assert words in message


def test_artifacts(project):
    found = project.one(
        "artifacts:\n  - path: ./data\n  - model/\n  - {path: /cache, mount: yes}\n  - a/../b\n  - ./data"
    )
    assert found.artifacts == (
        ArtifactSpec("./data"),
        ArtifactSpec("model/"),
        ArtifactSpec("/cache", True),
        ArtifactSpec("a/../b"),
    )
    assert project.one("artifacts: out").artifacts == (ArtifactSpec("out"),)


@pytest.mark.parametrize(
    ("lines", "where", "words"),
    [
        ("artifacts: [..]", "5:17", "`..` leads out"),
        ("artifacts: [{path: ../x}]", "5:24", "leads out"),
        ("artifacts: [a/../../b]", "5:17", "leads out"),
        ("artifacts: ['']", "5:17", "is empty"),
        ("artifacts: [{mount: true}]", "5:17", "has no `path`"),
        ("artifacts: [{path: a, mount: maybe}]", "5:34", "`true` or `false`"),
        ("artifacts: [{pth: a}]", "5:18", "did you mean `path`?"),
        ("artifacts: [a, {path: ./a, mount: true}]", "5:20", "twice"),
        ("artifacts: [{path: 'x${{ run.name }}'}]", "5:24", "takes no"),
        ("working_dir: ../x", "5:18", "leads out"),
        ("working_dir: /x", "5:18", "write `x`"),
        ("inputs: [a, ../b]", "5:17", "leads out"),
    ],
)
def test_wrong_paths(project, lines, where, words):
    message = project.error(lambda: project.one(lines), InputError)
    assert message.startswith(f".dstack/workflows.yaml:{where}: ")
    assert words in message


@pytest.mark.parametrize(
    ("lines", "requirements"),
    [
        ("cpu: 0.5", Requirements(cpu=0.5)),
        ("cpu: 0", Requirements()),
        ("memory: 16G", Requirements(memory=16 * 10**9)),
        ("memory: 512MiB", Requirements(memory=512 << 20)),
        ("shm_size: 1GiB", Requirements(shm_size=1 << 30)),
        ("disk: 200GB", Requirements(disk=200 * 10**9)),
        ("max_price: 1.25", Requirements(max_price=1.25)),
        ("max_price: 0", Requirements(max_price=0.0)),
        ("instance_types: [a1.x, b2.y]", Requirements(instance_types=("a1.x", "b2.y"))),
        ("instance_types: a1.x", Requirements(instance_types=("a1.x",))),
        ("interruptible: on", Requirements(interruptible=True)),
        ("interruptible: no", Requirements()),
        ("gpu: 2", Requirements(gpu=Gpu(2))),
        ("gpu: 0", Requirements()),
        ("gpu: V100", Requirements(gpu=Gpu(1, "V100"))),
        ('gpu: "V100:2"', Requirements(gpu=Gpu(2, "V100"))),
        ("gpu: V100:2", Requirements(gpu=Gpu(2, "V100"))),
        ("gpu: {count: 2}", Requirements(gpu=Gpu(2))),
        ("gpu: {name: RTX 4090, memory: 24GB}", Requirements(gpu=Gpu(1, "RTX 4090", 24 * 10**9))),
        ("gpu: {name: A100, count: 0}", Requirements()),
        ("gpu:", Requirements()),
        ("local: true", Requirements()),
    ],
)
def test_resources(project, lines, requirements):
    workflow = project.one(f"resources:\n  {lines}")
    assert workflow.resources == requirements
    assert workflow.remote is False


@pytest.mark.parametrize(
    ("lines", "where", "words"),
    [
        ("memory: 16", "5:25", "`resources.memory`: `16` has no unit | write `16GB`"),
        ("memory: lots", "5:25", "not a size"),
        ("cpu: many", "5:22", "above 0"),
        ("cpu: -2", "5:22", "above 0"),
        ("cpu: true", "5:22", "above 0"),
        ("gpu: -1", "5:22", "not the name of a GPU"),
        ("gpu: 'V100:x'", "5:22", "write it like `V100:2`"),
        ("gpu: [V100]", "5:22", "one text value"),
        ("gpu: {nme: V100}", "5:23", "did you mean `name`?"),
        ("gpu: {count: x}", "5:30", "`resources.gpu.count`: must be a whole number"),
        ("gpu: {memory: 16}", "5:31", "no unit"),
        ("memroy: 16GB", "5:17", "did you mean `memory`?"),
        ("zzz: 1", "5:17", "known are: cpu, disk, gpu"),
        ("interruptible: 1", "5:32", "`true` or `false`"),
        ("remote: true, local: true", "5:38", "contradicts"),
    ],
)
def test_wrong_resources(project, lines, where, words):
    message = project.error(lambda: project.one(f"resources: {{{lines}}}"), InputError)
    assert message.startswith(f".dstack/workflows.yaml:{where}: ")
    assert words in message


@pytest.mark.parametrize("value", ["2", "[cpu]", "''"])
def test_resources_that_are_no_mapping(project, value):
    assert ":5:16: `resources`: must be a mapping" in project.error(
        lambda: project.one(f"resources: {value}"), InputError
    )


@pytest.mark.parametrize(
    ("lines", "name", "value"),
    [
        ("python: 3.10", "python", "3.10"),
        ("python: '3.10'", "python", "3.10"),
        ("python: 3", "python", "3"),
        ("python: 3.11.4", "python", "3.11.4"),
        ("python: null", "python", None),
        ("ports: 3", "ports", (Port(), Port(), Port())),
        ("ports: 0", "ports", ()),
        ("ports: [8501, '8080:80']", "ports", (Port(8501), Port(80, 8080))),
        ("ports: {web: 8501, api: 8080:80}", "ports", (Port(8501, name="web"), Port(80, 8080, "api"))),
        ("ports: 8080:80", "ports", (Port(80, 8080),)),
        ("working_dir: ./src", "working_dir", "./src"),
        ("image: ghcr.io/a/b:1.0@sha256:aa", "image", "ghcr.io/a/b:1.0@sha256:aa"),
        ("inputs: src/**", "inputs", ("src/**",)),
        ("inputs: ['*.py', data/]", "inputs", ("*.py", "data/")),
        ("inputs: []", "inputs", ()),
        ("max_duration: 1h30m", "max_duration", 5400.0),
        ("max_duration: 90", "max_duration", 90.0),
        ("retry: 3", "retry", Retry(3, ("failed", "interrupted"))),
        ("retry: {attempts: 2, on: [failure], backoff: 30s}", "retry", Retry(2, ("failed",), 30.0)),
        ("retry: {attempts: 2, on: interruption, backoff: 0}", "retry", Retry(2, ("interrupted",))),
        ("help: 'Text: with colon'", "help", "Text: with colon"),
    ],
)
def test_scalars(project, lines, name, value):
    assert getattr(project.one(lines), name) == value


@pytest.mark.parametrize(
    ("lines", "where", "words"),
    [
        ("comands: [x]", "5:5", "unknown property `comands` | did you mean `commands`?"),
        ("Resources: {}", "5:5", "did you mean `resources`?"),
        ("artefacts: []", "5:5", "did you mean `artifacts`?"),
        ("qqqqq: 1", "5:5", "known are: artifacts, commands, deps, env"),
        ("nodes: 2", "5:5", "`nodes` is not supported yet"),
        ("python: latest", "5:13", "`python`: must be a version"),
        ("ports: [web]", "5:13", "must be a port like `8501`"),
        ("ports: [65536]", "5:13", "must be a port"),
        ("ports: ['80:']", "5:13", "must be a port"),
        ("ports: [8501, 8501]", "5:12", "8501 is there twice"),
        ("ports: ['1:2', '1:3']", "5:12", "1 is there twice"),
        ("ports: {web: x}", "5:18", "must be a port"),
        (
            "ports: 8501",
            "5:12",
            "from 0 to 100 | it is how many ports there are; the port 8501 would be `ports: [8501]`",
        ),
        ("ports: 101", "5:12", "from 0 to 100"),
        ("ports: -1", "5:12", "from 0 to 100"),
        ("image: a b", "5:12", "one word"),
        ("help: [x]", "5:11", "one text value"),
        ("max_duration: soon", "5:19", "write it like `30s`"),
        ("retry: 0", "5:12", "from 1 to 100"),
        ("retry: {on: [failure]}", "5:", "`retry`: has no `attempts`"),
        ("retry: {attempts: 2, on: [sunday]}", "5:31", "`failure` or `interruption`"),
        ("retry: {attempt: 2}", "5:13", "did you mean `attempts`?"),
        ("setup: {a: b}", "5:12", "`setup`: must be a list"),
        ("setup: [[a]]", "5:13", "`setup[0]`: must be one text value"),
        ("setup: [a, ]\nports: no", "6:12", "`ports`"),
    ],
)
def test_wrong_properties(project, lines, where, words):
    message = project.error(lambda: project.one(lines), InputError)
    assert message.startswith(f".dstack/workflows.yaml:{where}")
    assert words in message


def test_commands_are_text_whatever_yaml_thinks(project):
    project.write("workflows:\n- {name: w, provider: bash, commands: [true, 'null', 1e3, 0x10], setup: 3.10}\n")
    assert project.resolve().properties == {"commands": ["true", "null", "1e3", "0x10"], "setup": ["3.10"]}


@pytest.mark.parametrize("commands", ["", "commands:", "commands: null"])
def test_a_required_property_is_missed(project, commands):
    project.write(f"workflows:\n- name: w\n  provider: bash\n  {commands}\n")
    message = project.error(project.resolve, InputError)
    assert "provider `bash` needs `commands` | add `commands:`, or give -c or --commands" in message
    assert message.startswith(".dstack/workflows.yaml:")


# --- the command line ---


def test_overrides_of_every_kind(project):
    overrides = {
        "gpu": "2", "memory": "32GB", "cpu": "4", "shm_size": "1GiB", "env": ["K=V", "SHELL_VAR"], "python": "3.12",
        "interruptible": True, "working_dir": "sub", "image": "ubuntu", "max_duration": "2h", "retry": "3",
        "artifact": ["./x", "y"], "dep": ["data", ":tag"], "input": ["*.py"], "commands": ["ls"], "setup": None,
        "gpu_name": None, "ports": "1", "disk": "9GB", "max_price": "2", "instance_types": ["a1.x"],
    }  # fmt: skip
    found = project.one(
        "env: {A: 1, K: old}\nartifacts: [z]", overrides=overrides, args=["a", "-b"], environ={"SHELL_VAR": "s"}
    )
    assert found.resources == Requirements(4.0, 32 * 10**9, Gpu(2), 1 << 30, True, 9 * 10**9, 2.0, ("a1.x",))
    assert found.env == {"A": "1", "K": "V", "SHELL_VAR": "s"}
    assert (found.python, found.working_dir, found.image, found.ports) == ("3.12", "sub", "ubuntu", (Port(),))
    assert (found.max_duration, found.retry) == (7200.0, Retry(3, ("failed", "interrupted")))
    assert found.artifacts == (ArtifactSpec("./x"), ArtifactSpec("y"))
    assert found.deps == (Dep("workflow", "data"), Dep("tag", "tag"))
    assert found.inputs == ("*.py",)
    assert found.properties == {"commands": ["ls"], "setup": []}
    assert found.args == ("a", "-b")


def test_what_is_not_given_stays(project):
    lines = "resources: {cpu: 2, memory: 8GB, interruptible: true, remote: true}\nports: 1"
    given = {"memory": "16GB", "env": (), "dep": [], "cpu": None}
    found = project.one(lines, overrides=given)
    assert found.resources == Requirements(2.0, 16 * 10**9, interruptible=True)
    assert (found.remote, found.ports, found.env) == (True, (Port(),), {})
    assert project.one(lines, overrides={"interruptible": False}).resources.interruptible is False


def test_retry_override_changes_the_number_only(project):
    lines = "retry: {attempts: 2, on: [interruption], backoff: 30s}"
    assert project.one(lines, overrides={"retry": "5"}).retry == Retry(5, ("interrupted",), 30.0)


@pytest.mark.parametrize(
    ("overrides", "gpu"),
    [
        ({"gpu": "4"}, Gpu(4, "V100", 16 << 30)),
        ({"gpu": 4}, Gpu(4, "V100", 16 << 30)),
        ({"gpu": "0"}, None),
        ({"gpu": "A100"}, Gpu(1, "A100")),
        ({"gpu": "A100:8"}, Gpu(8, "A100")),
        ({"gpu_name": "A100"}, Gpu(2, "A100", 16 << 30)),
        ({"gpu_memory": "40GB"}, Gpu(2, "V100", 40 * 10**9)),
        ({"gpu": "A100:8", "gpu_memory": "80GB"}, Gpu(8, "A100", 80 * 10**9)),
    ],
)
def test_gpu_overrides(project, overrides, gpu):
    lines = "resources: {gpu: {name: V100, count: 2, memory: 16GiB}}"
    assert project.one(lines, overrides=overrides).resources.gpu == gpu


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"memory": "32"}, "--memory: `32` has no unit | write `32GB` or `32MB`"),
        ({"gpu": "x:y"}, "--gpu: `x:y` is not"),
        ({"gpu_memory": "16"}, "--gpu-memory: `16` has no unit"),
        ({"env": ["1=2"]}, "--env: `1` is not a name"),
        ({"env": ["NOT_THERE"]}, "--env: the variable NOT_THERE"),
        ({"env": ["A=${{ oops }}"]}, "--env: `env.A`: unknown reference"),
        ({"dep": ["a/b"]}, "--dep: "),
        ({"artifact": ["../x"]}, "--artifact: "),
        ({"max_duration": "x"}, "--max-duration: "),
        ({"shm_size": "x"}, "--shm-size: "),
        ({"disk": "9"}, "--disk: `9` has no unit"),
        ({"max_price": "cheap"}, "--max-price: must be a number"),
        ({"instance_types": ["a b"]}, "--instance-type: must be one word"),
        ({"python": "x"}, "--python: "),
        (
            {"commands": ["${{ run.nam }}"]},
            "--commands: `commands[0]`: unknown reference `${{ run.nam }}` | did you",
        ),
        ({"nonsense": "1"}, "--nonsense: unknown option"),
    ],
)
def test_a_wrong_option_is_cited_as_the_option(project, overrides, message):
    assert message in project.error(lambda: project.one("", overrides=overrides), InputError)


def test_a_provider_without_yaml():
    found = ad_hoc("bash", OwnProperties(BashProvider()), {"commands": ["echo hi"], "gpu": "1"}, ["x"], {})
    assert found == Workflow(
        "bash",
        "bash",
        args=("x",),
        resources=Requirements(gpu=Gpu(1)),
        properties={"commands": ["echo hi"], "setup": []},
    )
    with pytest.raises(InputError) as caught:
        ad_hoc("bash", OwnProperties(BashProvider()), {}, [], {})
    assert caught.value.hint == "give it with -c or --commands"


# --- templates ---


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            "setup: ['echo ${{ run.nme }}']",
            ":5:13: `setup[0]`: unknown reference `${{ run.nme }}` | did you mean `run",
        ),
        (
            "setup: |\n  echo\n  echo ${{ oops",
            "`setup`: `${{` without a name and `}}` (line 2, column 6 of the text)",
        ),
        ("setup: ['${{ job.port_1 }}']\nports: 1", "but the job has 1 ports | add `ports: 2`"),
        ("setup: ['${{ env.LRR }}']\nenv: {LR: 1}", "`env` has no `LRR` | did you mean `env.LR`?"),
        ("setup: ['${{ env.X }}']", "`env` has no `X`"),
        ("env: {A: '${{ env.B }}', B: 1}", ":5:14: `env.A`: a variable of `env` cannot be made from another one"),
        ("env: [A=1, 'B=${{ run.x }}']", ":5:16: `env[1]`: unknown reference"),
    ],
)
def test_references_are_checked_before_anything_runs(project, lines, words):
    message = project.error(lambda: project.one(lines), InputError)
    assert words.replace("`setup`:", "`setup[0]`:") in message


def test_good_references(project):
    lines = "setup: ['${{ run.args }} ${{run_name}} ${{ job.port_0 }} ${{ env.A }} $${{ x }}']\nports: 1\n"
    found = project.one(lines + "env: {A: '${{ secrets.TOKEN }}', P: 'x${{ job.port_0 }}'}")
    assert found.env == {"A": "${{ secrets.TOKEN }}", "P": "x${{ job.port_0 }}"}


# --- strangers' providers ---


def test_a_providers_own_types(project):
    lines = "- {name: w, provider: own, script: 3.10, fast: yes, level: 7, ratio: 0.5, nested: {a: [1, yes]}}"
    project.write(f"workflows:\n{lines}\n")
    found = project.resolve(provider=OwnProvider())
    assert found.properties == {"script": "3.10", "fast": True, "level": 7, "ratio": 0.5, "nested": {"a": ["1", "yes"]}}
    assert project.resolve(provider=OwnProvider(), overrides={"fast": False, "level": 3}).properties["level"] == 3


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("script: x, level: y", ":2:46: `level`: must be a whole number"),
        ("script: x, fast: 7", ":2:45: `fast`: must be `true` or `false`"),
        ("script: [x]", ":2:36: `script`: must be one text value"),
        ("script: x, nested: {a: [[b]]}", ":2:52: `nested.a[0]`: must be one text value"),
        ("script: x, levle: 1", ":2:39: unknown property `levle` | did you mean `level`?"),
        ("level: 1", "provider `own` needs `script`"),
    ],
)
def test_wrong_own_properties(project, rest, words):
    project.write(f"workflows:\n- {{name: w, provider: own, {rest}}}\n")
    assert words in project.error(lambda: project.resolve(provider=OwnProvider()), InputError)


def test_a_provider_may_ask_for_a_common_property(project):
    class Needs(BaseModel):
        image: str

    provider = provider_with(Needs)
    project.write("workflows:\n- {name: w, provider: own, image: ubuntu}\n- {name: x, provider: own}\n")
    found = project.resolve(provider=provider, overrides={"image": "debian"})
    assert (found.image, found.properties) == ("debian", {"image": "debian"})
    assert "needs `image` | add `image:`, or give --image" in project.error(
        lambda: project.resolve("x", provider=provider), InputError
    )


def test_an_open_ended_provider_takes_any_property(project):
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    project.write("workflows:\n- {name: w, provider: own, anything: {a: 1}, ports: 1}\n")
    found = project.resolve(provider=provider_with(Open))
    assert (found.properties, found.ports) == ({"anything": {"a": "1"}}, (Port(),))


def test_an_alias_is_the_name_in_yaml(project):
    class Aliased(BaseModel):
        class_: Annotated[str, Field(alias="class")] = "x"

    project.write("workflows:\n- {name: w, provider: own, class: y}\n")
    assert project.resolve(provider=provider_with(Aliased)).properties == {"class": "y"}


def test_nul_in_a_provider_s_property_is_told_with_its_place(project):
    project.write('workflows:\n- {name: w, provider: bash, commands: [echo a, "echo b\\0c"]}\n')
    message = project.error(lambda: project.resolve(), InputError)
    assert message.startswith(".dstack/workflows.yaml:2:48: `commands[1]`: holds a NUL character")


def test_a_broken_provider_is_told_as_the_providers_fault(project):
    class Broken(Provider):
        def properties(self) -> Any:
            raise KeyError("oops")

        def job_spec(self, workflow: Workflow) -> JobSpec:
            raise NotImplementedError

    project.write("workflows:\n- {name: w, provider: own}\n")
    message = project.error(lambda: project.resolve(provider=Broken()), PluginError)
    assert "provider `Broken` failed when asked for its properties" in message
    assert "KeyError" in message
    assert "test_resolve.py:" in message


# --- anything at all ---

KEYS = st.sampled_from(
    """name provider help deps commands setup env environment python ports working_dir artifacts resources inputs image
    retry max_duration workflow tag path mount cpu memory gpu shm_size interruptible count attempts on backoff remote
    local""".split()
)
TEXTS = st.sampled_from(["1", "16GB", "V100:2", "yes", "a/b/c", "A=1", "${{ run.name }}", "2h"])
PLAIN = st.recursive(
    st.none() | st.text(max_size=12) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(KEYS, PLAIN, max_size=8), st.dictionaries(KEYS, PLAIN, max_size=3))
def test_any_values_give_a_workflow_or_an_input_error(data, overrides):
    raw = RawWorkflow("w", {"commands": ["x"], **data, "provider": "bash"})
    try:
        found = resolve(raw, OwnProperties(BashProvider()), overrides, [], {})
    except InputError as error:
        assert error.message  # noqa: PT017
    else:
        assert isinstance(found, Workflow)
        hash((found.deps, found.artifacts, found.resources))


def test_values_never_reach_a_shell(tmp_path):
    canary = tmp_path / "canary"
    bad = f"$(touch {canary})`touch {canary}`';touch {canary};'"
    raw = RawWorkflow("w", {"provider": "bash", "commands": ["true"], "env": {"A": bad}, "help": bad})
    found = resolve(raw, OwnProperties(BashProvider()), {}, [bad], {})
    spec = BashProvider().job_spec(found)
    subprocess.run([*spec.argv, "-c", spec.script], env={**os.environ, **spec.env}, check=True)
    assert found.env == {"A": bad}
    assert spec.args == (bad,)
    assert not canary.exists()


def test_ten_thousand_workflows_make_a_bounded_number_of_calls(project):
    """Linear: twice the workflows, twice the calls."""
    counts = []
    for number in (100, 200):
        project.write(
            "workflows:\n"
            + "".join(
                f"- {{name: w{i}, provider: bash, deps: [w{i - 1}], commands: [echo], resources: {{memory: 1GB}}}}\n"
                for i in range(1, number + 1)
            )
        )
        calls = 0

        def count(frame: Any, event: str, arg: Any) -> None:
            nonlocal calls
            calls += event == "call"

        from dstack_core._workflow.load import load_workflows

        own = OwnProperties(BashProvider())
        project.resolve("w1")
        sys.setprofile(count)
        try:
            loaded = load_workflows(project.root)
            for name in loaded.names():
                resolve(loaded.get(name), own, {}, (), {})
        finally:
            sys.setprofile(None)
        counts.append(calls)
    assert counts[1] < 2.1 * counts[0]
    assert counts[1] < 200 * 120
