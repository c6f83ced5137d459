"""What the runner fills in for an attempt."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dstack_core._plan.job import PlannedJob
from dstack_core._runner.task import Values
from dstack_core.models import JobSpec, RegistryAuth


def values(auth):
    spec = JobSpec(("true",), image="debian", registry_auth=auth)
    run = SimpleNamespace(name="r-1", workflow="job", repo="me/repo", user="octo")
    host = SimpleNamespace(run=run, machine=SimpleNamespace(id="m"), secret={"PASSWORD": "s3cr3t $x"}.__getitem__)
    return Values(host, PlannedJob("job", "job", "me/repo", "bash", spec, "w"), 1)


def test_who_asks_for_the_image_is_filled_in():
    made = values(RegistryAuth("${{ run.user }}", "${{ secrets.PASSWORD }}"))
    assert made.registry_auth() == RegistryAuth("octo", "s3cr3t $x")
    assert made.masked == [b"s3cr3t $x"]
    assert "s3cr3t" not in repr(made.registry_auth())


@pytest.mark.parametrize("auth", [None, RegistryAuth("me", "open")])
def test_what_has_no_templates_stays(auth):
    assert values(auth).registry_auth() == auth
