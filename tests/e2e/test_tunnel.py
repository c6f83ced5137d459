"""What jobs on machines elsewhere serve is reached from here, by whoever may, and by nobody else."""

from __future__ import annotations

import re
import urllib.request

import pytest
from aws_box import aws, aws_box
from elsewhere import IMAGE, Elsewhere, elsewhere, limits
from weed import weed

__all__ = ["aws", "aws_box", "elsewhere", "weed"]

SERVE = f"""
- name: serve
  provider: bash
  image: {IMAGE}
  ports: {{web: 8123}}
  env: {{COLOUR: "dark red"}}
  commands: ["echo hello > index.html", "exec httpd -f -p $DSTACK_HOST:$PORT_0"]
"""


@pytest.fixture
def limits() -> dict[str, str]:
    return {"lease": "120s"}


def got(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def line_with(stream, text: str) -> str:
    said = []
    for line in stream:
        said.append(line)
        if text in line:
            return line
    raise AssertionError(f"nothing said {text}, but:\n{''.join(said)}")


def test_a_port_is_reached_and_the_way_heals(elsewhere: Elsewhere):
    elsewhere.project.workflows(SERVE)
    following = elsewhere.project.start("run", "-r", "serve")
    line = line_with(following.stderr, "answers at")
    url = re.search(r"http://\S+", line)[0]
    assert got(url) == "hello\n"
