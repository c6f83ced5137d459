"""Workflows of the provider `docker` on a real engine: the image's own command, commands in it, and its limits."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from docker_images import busybox_files, import_image
from docker_registry import PASSWORD, USER

DSTACK = str(Path(sys.executable).with_name("dstack"))
SERVE = b"""#!/bin/sh
echo "$PWD $*"
mkdir -p www && cp told www/index.html && exec httpd -f -p 0.0.0.0:80 -h www
"""


@pytest.fixture
def app(engine: str) -> str:
    """An image as people publish them: an entry point, arguments for it, a folder, a variable."""
    told = b'#!/bin/sh\necho "$PWD|$GREETING|$#|$*"\n[ "$1" != fail ] || exit 7\n'
    files = [*busybox_files(), ("app/told", told), ("app/serve", SERVE)]
    changes = ['ENTRYPOINT ["./told"]', 'CMD ["one", "two words"]', "WORKDIR /app", "ENV GREETING=hello PATH=/bin"]
    return import_image("dstack-test-app", files, changes)


def test_the_image_s_own_command(project, app):
    project.workflows(f"""
        - name: own
          provider: docker
          image: {app}
        - name: here
          provider: docker
          image: {app}
          entrypoint: /app/told ${{{{ run.args }}}} last
        - name: checkout
          provider: docker
          image: {app}
          entrypoint: ["/app/told"]
          working_dir: .
          env: [GREETING=moin]
    """)
    assert project.dstack("run", "own").out == "/app|hello|2|one two words\n"
    assert project.dstack("run", "own", "--", "a b", "$HOME", "${{ run.name }}").out == (
        "/app|hello|3|a b $HOME ${{ run.name }}\n"
    )
    assert project.dstack("run", "own", "--", "fail", expect=7).out.startswith("/app|hello|1|fail")
    assert project.dstack("run", "here", "--", "a b", "c").out == "/workflow|hello|3|a b c last\n"
    assert project.dstack("run", "checkout").out == "/workflow|moin|0|\n"
    told = project.dstack("run", "docker", "-c", "true", expect=65).err
    assert "no image" in told
    assert project.dstack("run", "docker", "--image", app, "-c", "echo $GREETING").out == "hello\n"


def test_a_file_of_2023(project, python_image):
    """Its fields, an entry point as it was written then, and what was learned about results since."""
    project.write("input.txt", "read me")
    project.workflows(f"""
        - name: hello
          provider: docker
          image: {python_image}
          entrypoint: bash -i -c
          commands:
            - mkdir -p output
            - X=(bash arrays)
            - echo "${{X[1]}} $PORT_1 $(cat input.txt)" | tee output/hello.txt
          ports: 2
          artifacts:
            - output
          resources:
            cpu: 1
            memory: 1GB
        - name: python
          provider: docker
          image: {python_image}
          deps: [hello]
          entrypoint: python -u
          commands:
            - import os, sys
            - print(os.getcwd(), open("output/hello.txt").read().split()[0])
            - sys.exit(int(os.environ.get("CODE", 0)))
        - name: fails
          provider: docker
          image: {python_image}
          commands: [echo a, (exit 42), echo b]
    """)
    assert project.dstack("run", "python").out.splitlines()[-1].endswith("/workflow arrays")
    said = project.artifact("hello", "output").joinpath("hello.txt").read_text()
    assert re.fullmatch(r"arrays \d+ read me\n", said)
    assert "reuse" in project.dstack("plan", "hello").out
    assert project.dstack("run", "python", "-e", "CODE=3", expect=3)
    assert project.dstack("run", "fails", expect=42).out == "a\n"


def test_it_serves_at_its_own_port(project, app):
    project.workflows(f"""
        - name: web
          provider: docker
          image: {app}
          entrypoint: ./serve
          ports: [8080:80]
          working_dir: .
          commands: []
    """)
    project.write("serve", SERVE, 0o755)
    project.write("told", "hello from the checkout\n")
    following = project.start("run", "web")
    url = project.dstack("open", project.run()).out.strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"hello from the checkout\n"
    project.dstack("stop", "--abort", "-y", project.run())
    project.end(following, None)


def test_a_private_image_whose_password_is_a_secret(project, app, registry):
    name = registry.push(app, "team/app:1")
    project.workflows(f"""
        - name: own
          provider: docker
          image: {name}
          registry_auth:
            username: {USER}
            password: ${{{{ secrets.REGISTRY }}}}
    """)
    assert "REGISTRY" in project.dstack("run", "own", expect=66).err
    given = {"input": PASSWORD, "text": True, "env": project.env, "cwd": project.root, "check": True}
    subprocess.run([DSTACK, "secrets", "add", "REGISTRY"], **given)
    assert project.dstack("run", "own").out == "/app|hello|2|one two words\n"
    registry.forget(name)


def test_images_that_cannot_be_run(project, engine):
    nothing = import_image("dstack-test-nothing", busybox_files())
    bare = import_image("dstack-test-bare", [("true", b"#!/nothing")], ['CMD ["/true"]', "ENV PATH=/bin:/usr/bin"])
    project.workflows(f"""
        - {{name: nothing, provider: docker, image: {nothing}}}
        - {{name: bare, provider: docker, image: {bare}}}
    """)
    told = project.dstack("run", "nothing", expect=None)
    assert told.code != 0
    assert "says nothing about what to run" in told.err
    assert "`commands:`" in told.err
    told = project.dstack("run", "bare", expect=None)
    assert told.code != 0
    assert f"the image {bare} has no `sh`" in told.err
    assert project.containers() == []
