"""What the runner fills in for an attempt."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dstack_core._engine.access import forget_token, read_token
from dstack_core._plan.job import PlannedJob
from dstack_core._runner.ports import choose_ports
from dstack_core._runner.task import Values
from dstack_core.errors import InputError, JobError, NotFoundError
from dstack_core.models import JobSpec, Port, RegistryAuth


def values(auth=None, own_ports=False, **spec):
    spec = replace(JobSpec(("true",), image="debian", registry_auth=auth), **spec)
    executor = SimpleNamespace(own_ports=own_ports)
    run = SimpleNamespace(name="r-1", workflow="job", repo="me/repo", user="octo")
    host = SimpleNamespace(
        run=run,
        machine=SimpleNamespace(id="m"),
        secret={"PASSWORD": "s3cr3t $x"}.__getitem__,
        executor=lambda name: executor,
    )
    return Values(host, PlannedJob("job", "job", "me/repo", "bash", spec, "w"), 1)


def test_who_asks_for_the_image_is_filled_in():
    made = values(RegistryAuth("${{ run.user }}", "${{ secrets.PASSWORD }}"))
    assert made.registry_auth() == RegistryAuth("octo", "s3cr3t $x")
    assert made.masked == [b"s3cr3t $x"]
    assert "s3cr3t" not in repr(made.registry_auth())


@pytest.mark.parametrize("auth", [None, RegistryAuth("me", "open")])
def test_what_has_no_templates_stays(auth):
    assert values(auth).registry_auth() == auth


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_token_lets_people_in(home):
    made = values(script="echo ${{ job.token }} >config\n", env={"TOKEN": "<${{ job.token }}>"})
    assert len(made.masked) == 1
    token = read_token(made.label)
    assert len(bytes.fromhex(token)) == 16
    assert (made.script(), made.env["TOKEN"]) == (f"echo {token} >config\n", f"<{token}>")
    assert made.masked == [token.encode()]
    (path,) = home.glob("work/*/*.token")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    again = values(page="/?token=${{ job.token }}")
    assert again.masked != made.masked
    assert read_token(made.label).encode() == again.masked[0]
    forget_token(made.label)
    with pytest.raises(NotFoundError):
        read_token(made.label)


def test_no_token_unless_asked_for(home):
    made = values(script="echo $TOKEN", env={"A": "b"})
    assert (made.script(), made.masked) == ("echo $TOKEN", [])
    assert not home.exists()


def test_no_token_for_a_command_line(home):
    with pytest.raises(InputError, match=r"job\.token"):
        values(argv=("serve", "--token", "${{ job.token }}"), page="/${{ job.token }}").argv()


def test_ports_of_a_job_on_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(JobError, match=f"port {number}") as caught:
            choose_ports([Port(), Port(number)], apart=False)
    assert "ports: 1" in caught.value.hint
    first, second, third = choose_ports([Port(), Port(number, local=1), Port()], apart=False)
    assert second == number
    assert len({first, second, third}) == 3


def test_ports_of_a_job_that_has_all_to_itself():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        other = choose_ports([Port(number)], apart=True)[0]
        assert other != number
        assert choose_ports([Port(number, local=other)], apart=True) == (other,)
    assert choose_ports([Port(number)], apart=True) == (number,)


def test_a_job_is_told_where_to_listen():
    made = values(own_ports=True, ports=(Port(80), Port()), script="${{ job.port_0 }}")
    inner = made.inner_ports
    assert (inner[0], inner[1]) == (80, made.ports[1])
    assert (made.env["PORT_0"], made.env["PORT_1"]) == ("80", str(inner[1]))
    assert made.script() == "80"
    assert made.env["DSTACK_HOST"] == "0.0.0.0"
    assert values(ports=(Port(),)).env["DSTACK_HOST"] == "127.0.0.1"
    assert made.ports[0] != 80 or os.geteuid() == 0
