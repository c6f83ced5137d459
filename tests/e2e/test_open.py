"""`dstack open`: waits for what a job serves, says where it is, and shows it in the user's browser."""

from __future__ import annotations

import os
import sys
import urllib.request

import pytest

SERVE = "exec {python} -m http.server --bind 127.0.0.1 $PORT_0"


@pytest.fixture
def served(project):
    """A run whose job is about to serve; it does when the gate `serve` is opened."""
    serve = SERVE.format(python=sys.executable)
    project.write(".dstack/workflows.yaml", f"""workflows:
- name: serve
  provider: bash
  ports: 1
  commands:
  - '{project.gate("serve")}'
  - '{serve}'
- name: two
  provider: bash
  deps: [quiet]
  ports: 2
  commands: ['{project.gate("two")}']
- name: quiet
  provider: bash
  commands: ["true"]
""")  # fmt: skip
    project.env.pop("DISPLAY", None)
    project.env.pop("WAYLAND_DISPLAY", None)
    project.env.pop("BROWSER", None)
    return project


def end(project):
    project.dstack("stop", "--abort", "-y", project.run(), expect=None)
    project.finished()


def test_address_is_said_when_it_answers(served):
    said = served.dstack("run", "-d", "serve").err
    assert f"Open it: dstack open {served.run()}\n" in said
    opening = served.start("open", served.run())
    served.reached("serve")
    assert opening.poll() is None
    served.open("serve")
    url = served.end(opening).out.strip()
    port = served.job("serve").ports[0]
    assert url == f"http://127.0.0.1:{port}"
    with urllib.request.urlopen(url) as answer:
        assert answer.status == 200
    end(served)


def test_browser_is_opened(served):
    browser = served.write("browser", f"#!/bin/sh\necho $1 > {served.sync}/shown\n", 0o755)
    served.dstack("run", "-d", "serve")
    served.open("serve")
    url = served.dstack("open", served.run(), "serve", env={"BROWSER": f"{browser} %s"}).out.strip()
    served.wait_for((served.sync / "shown").exists, "the browser")
    served.wait_for(lambda: (served.sync / "shown").read_text().strip() == url, "the address")
    os.unlink(served.sync / "shown")
    served.dstack("open", served.run(), "--no-browser", env={"BROWSER": f"{browser} %s"})
    assert not (served.sync / "shown").exists()
    end(served)


def test_without_waiting(served):
    served.dstack("run", "-d", "two")
    served.reached("two")
    served.wait_for(lambda: served.job("two").ports, "the job to run")
    urls = served.dstack("open", "--no-wait", served.run()).out.split()
    assert urls == [f"http://127.0.0.1:{port}" for port in served.job("two").ports]
    assert len(urls) == 2
    done = served.dstack("open", served.run(), "quiet", expect=65)
    assert "quiet of" in done.err
    assert "has no ports" in done.err
    done = served.dstack("open", served.run(), "tow", expect=66)
    assert "did you mean two?" in done.err
    served.open("two")
    name = served.finished().run.name
    done = served.dstack("open", name, expect=65)
    assert f"two of {name} is not running: it is done" in done.err
    done = served.dstack("open", "--no-wait", name, "two", expect=65)
    assert "is not running" in done.err


def test_job_that_ends_before_it_answers(served):
    served.dstack("run", "-d", "two")
    served.reached("two")
    opening = served.start("open", served.run())
    assert "waiting for two to answer" in opening.stderr.readline()
    served.open("two")
    assert "ended before it answered" in served.end(opening, 65).err


def test_no_job_has_ports(served):
    served.dstack("run", "quiet")
    assert "no job of" in served.dstack("open", served.run(), expect=65).err


@pytest.mark.parametrize("terminal", [False, True])
def test_a_followed_run_says_it_once(served, terminal):
    if terminal:
        following = served.terminal("run", "serve")
        served.open("serve")
        following.expect(r"serve answers at (http://127.0.0.1:\d+)")
        url = following.match.group(1)
        end(served)
        following.expect(served.run())
        following.close(force=True)
    else:
        following = served.start("run", "serve")
        served.open("serve")
        url = served.dstack("open", served.run()).out.strip()
        served.wait_for(lambda: served.job("serve").status == "running", "it to run")
        line = following.stderr.readline()
        while "answers at" not in line:
            line = following.stderr.readline()
        assert line == f"serve: answers at {url}\n"
        end(served)
        assert "answers at" not in served.end(following, 130).err


def test_what_runs_on_another_computer_is_not_looked_for_on_this_one(served, tmp_path):
    """Two computers that share a store: the other one's port is not ours."""
    served.dstack("run", "-d", "serve")
    served.open("serve")
    served.dstack("open", served.run())
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text(f"settings: {{local: {{path: {served.home / 'store'}}}}}\n")
    done = served.dstack("open", served.run(), env={"DSTACK_HOME": str(other)}, expect=68)
    assert "serve of " in done.err
    assert "runs on another computer" in done.err
    end(served)
