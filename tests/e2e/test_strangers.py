"""Plugins of strangers that do what their contract does not allow: the error names them, and the core survives."""

from __future__ import annotations

import textwrap

import pytest

ODD = """
    from dstack_local.{module} import {name}
    class Odd({name}):
        def {method}(self, *arguments): {act}
"""
HOOKS = """
    from dstack_core.hookspecs import Entry, hookimpl
    def found(what, module, name):
        import importlib
        if what == {odd!r}:
            return lambda: importlib.import_module("strange.odd").Odd
        return lambda: getattr(importlib.import_module(f"dstack_local.{{module}}"), name)
    @hookimpl
    def dstack_backends():
        return [Entry("local", "This machine", found("backend", "backend", "LocalBackend"))]
    @hookimpl
    def dstack_artifact_stores():
        return [Entry("local", "A folder", found("store", "store", "FolderStore"))]
    @hookimpl
    def dstack_executors():
        return [Entry("process", "A process", found("process", "process", "ProcessExecutor"))]
"""
NAMES = {"backend": "LocalBackend", "store": "FolderStore", "process": "ProcessExecutor"}
PROVIDER = """
    from dstack_core.hookspecs import Entry, hookimpl
    from dstack_core.models import ArtifactSpec, JobSpec
    from dstack_core.provider import Provider
    from pydantic import BaseModel
    class Properties(BaseModel, extra="forbid"):
        pass
    class Odd(Provider):
        def properties(self):
            return Properties
        def job_spec(self, workflow):
            return JobSpec(("bash",), "true", artifacts=(ArtifactSpec("../out", mount=True),))
    @hookimpl
    def dstack_providers():
        return [Entry("odd", "Odd", lambda: Odd)]
"""
ACTS = {"raises": "raise RuntimeError('how odd')", "exits": "raise SystemExit(0)"}


@pytest.fixture
def stranger(project):
    """Installs the distribution `dstack-strange`: names of its plugins, their source, and that of another module."""
    site = project.folder / "site"

    def install(names, plugin, odd=""):
        info = site / "dstack_strange-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: dstack-strange\nVersion: 1.0\nRequires-Dist: dstack-core\n"
        )
        lines = [f"{name} = strange.plugin\n" for name in names]
        (info / "entry_points.txt").write_text("".join(["[dstack.plugins]\n", *lines]))
        (site / "strange").mkdir()
        (site / "strange" / "plugin.py").write_text(textwrap.dedent(plugin))
        (site / "strange" / "odd.py").write_text(textwrap.dedent(odd))
        project.env["PYTHONPATH"] = str(site)

    return install


def use(project, stranger, what, method, act):
    """A stranger stands in for `dstack-local`, and one method of one of its classes does what it must not."""
    odd = ODD.format(module=what, name=NAMES[what], method=method, act=ACTS[act])
    stranger(["local", "process"], HOOKS.format(odd=what), odd)
    project.env["DSTACK_DISABLED_PLUGINS"] = "dstack-local"


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("what", "method"), [("backend", "offers"), ("backend", "launch"), ("store", "exists"), ("store", "list")]
)
def test_the_plugin_whose_code_fails_is_named(project, stranger, what, method, act):
    use(project, stranger, what, method, act)
    done = project.dstack("run", "bash", "-c", "true", expect=69)
    assert "error: plugin local (dstack-strange 1.0) failed: " in done.err
    assert "mistake of ours" not in done.err


@pytest.mark.parametrize("act", ACTS)
def test_a_listing_goes_on_without_a_plugin_that_fails(project, stranger, act):
    project.workflows(f"- {{name: work, provider: bash, commands: ['{project.gate('g')}']}}")
    project.dstack("run", "work", "-d")
    project.reached("g")
    use(project, stranger, "backend", "state", act)
    done = project.dstack("ps")
    assert project.run() in done.out
    assert "plugin local (dstack-strange 1.0) failed: " in done.err
    project.open("g")
    assert project.finished().run.status == "done"


@pytest.mark.parametrize("act", ACTS)
def test_an_executor_that_fails_fails_its_job_and_is_named(project, stranger, act):
    use(project, stranger, "process", "start", act)
    done = project.dstack("run", "bash", "-c", "true", expect=1)
    assert "(dstack-strange 1.0) failed: " in done.said
    assert len(project.job("bash").attempts) == 1


def test_an_artifact_outside_of_the_checkout_fails_the_job_and_not_its_runner(project, stranger):
    stranger(["odd"], PROVIDER)
    project.workflows("- {name: work, provider: odd}")
    done = project.dstack("run", "work", expect=1)
    assert "outside the working folder" in done.said
    assert [attempt.status for attempt in project.job("work").attempts] == ["failed"]
