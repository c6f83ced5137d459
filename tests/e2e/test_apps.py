"""Apps in jobs: the examples, used as people use them, and the ports at which a job can be reached."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import urllib.request
from pathlib import Path

import pytest
from browser import picture

EXAMPLE = Path(__file__).parents[2] / "examples" / "apps"
MINUTES = 60.0


@pytest.fixture
def apps(project):
    shutil.copytree(EXAMPLE, project.root, dirs_exist_ok=True)
    project.env["PIP_NO_COMPILE"] = "1"  # most of what it installs is never imported here
    return project


def serve(project, *arguments):
    """The address of an app that was started; it has installed what it needs, and answers."""
    project.dstack("run", "-d", *arguments)
    opening = project.start("open", "--no-browser", project.run())
    said, told = opening.communicate(timeout=10 * MINUTES)
    assert opening.returncode == 0, told + project.story()
    return said.strip()


def end(project, expected="stopped"):
    project.dstack("stop", "-y", project.run())
    assert project.finished().run.status == expected


def ask(url, data=None):
    request = urllib.request.Request(url, data and json.dumps(data).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def test_an_api(apps):
    url = serve(apps, "api")
    assert json.loads(ask(f"{url}/predict", {"text": "A sunny day!"})) == {"glad": 0.667, "sad": 0.333}
    assert "Sentiment" in ask(f"{url}/docs")
    end(apps)


def test_a_dashboard_reacts(apps, browser):
    page = browser.new_page()
    page.goto(serve(apps, "dashboard"))
    page.get_by_role("button", name="Train").click()
    page.get_by_text(re.compile("Loss after 30 steps: 0.001797")).wait_for()
    page.locator("canvas, svg.marks").first.wait_for()
    picture(page, "app-streamlit")
    end(apps)


def test_a_demo_reacts(apps, browser):
    page = browser.new_page()
    page.goto(serve(apps, "demo"))
    page.get_by_label("Text").fill("What a gloomy, terrible day")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("75%").wait_for()
    picture(page, "app-gradio")
    end(apps)


def test_tensorboard_beside_a_training(apps):
    url = serve(apps, "train", "--", "--pause", "0.05", "--steps", "100000")
    tags = f"{url}/data/plugin/scalars/tags"
    apps.wait_for(lambda: "loss" in ask(tags), "the first values")
    assert len(json.loads(ask(f"{url}/data/plugin/scalars/scalars?run=.&tag=loss"))) > 0
    end(apps)
    assert [*apps.artifact("train", "logs").glob("events.*")]


# --- ports ----------------------------------------------------------------------------------------------------------


def free(count):
    """So many ports that nobody has."""
    with contextlib.ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


SERVES = """
- name: app
  provider: bash
  {image}
  ports:
    web: {local}:{web}
    metrics: {metrics}
  commands:
    - mkdir web metrics && echo web > web/index.html && echo metrics > metrics/index.html
    - {gate}
    - python -m http.server {metrics} --bind $DSTACK_HOST -d metrics &
    - python -m http.server $PORT_0 --bind $DSTACK_HOST -d web
"""


def test_ports_of_a_process(project):
    """It is reached where it listens, whatever stands before the colon."""
    web, local, metrics = free(3)
    gate = project.gate("serve")
    project.workflows(SERVES.format(image="", local=local, web=web, metrics=metrics, gate=f"'{gate}'"))
    following = project.start("run", "app")
    project.reached("serve")
    opening = project.start("open", project.run())
    project.wait_for(lambda: project.job("app").ports, "its ports")
    assert project.dstack("open", "--no-wait", project.run()).out.split() == [
        "web:", f"http://127.0.0.1:{web}", "metrics:", f"http://127.0.0.1:{metrics}",
    ]  # fmt: skip
    assert opening.poll() is None, "nobody answers yet"
    project.open("serve")
    assert project.end(opening).out == f"web: http://127.0.0.1:{web}\nmetrics: http://127.0.0.1:{metrics}\n"
    assert (ask(f"http://127.0.0.1:{web}"), ask(f"http://127.0.0.1:{metrics}")) == ("web\n", "metrics\n")

    # Whoever comes second is told at once which port it is, and what to do.
    told = project.dstack("run", "app", expect=None)
    assert told.code != 0
    assert re.search(f"somebody on this machine has port ({web}|{metrics}), at which the job would listen", told.err)
    assert "`ports: 1`" in told.err
    first = project.runs()[0]
    project.dstack("stop", "-y", first)
    project.finished(first)
    said = project.end(following, None).err
    assert said.count("answers at") == 2
    assert f"app (web): answers at http://127.0.0.1:{web}\n" in said
    assert f"app (metrics): answers at http://127.0.0.1:{metrics}\n" in said


def test_ports_of_a_container(project, python_image):
    """It has all ports to itself, and is reached at the number before the colon, or another if somebody has that."""
    local, taken = free(2)
    gate = project.gate("serve").replace(str(project.sync), "/sync")
    (project.home / "config.yaml").write_text(f"settings: {{docker: {{mounts: ['{project.sync}:/sync']}}}}\n")
    asked = {"image": f"image: {python_image}", "web": 80, "metrics": taken, "gate": f"'{gate}'"}
    project.workflows(SERVES.format(local=local, **asked))
    with socket.create_server(("127.0.0.1", taken)):
        following = project.start("run", "app")
        project.reached("serve")
        project.open("serve")
        web, metrics = project.dstack("open", project.run()).out.split()[1::2]
    assert web == f"http://127.0.0.1:{local}"
    assert metrics != f"http://127.0.0.1:{taken}"
    assert (ask(web), ask(metrics)) == ("web\n", "metrics\n")
    project.dstack("stop", "-y", project.run())
    assert f"app (web): answers at {web}\n" in project.end(following, None).err
