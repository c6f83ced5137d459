"""JupyterLab as people use it: in a browser, at the address that was printed. Edits, artifacts, and who gets in."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from browser import picture
from jupyter_page import PRINTED, notebook, opened, run_cell, start_cell

CHANGES = """\
from pathlib import Path

Path("out/made.txt").write_text("made")
print("six times seven is", 6 * 7)"""
OPEN_SOCKET = """address => new Promise(done => {
    const socket = new WebSocket(address);
    socket.onopen = () => done(true);
    socket.onerror = () => done(false);
})"""


@pytest.fixture
def lab(project, jupyter):
    jupyter(project.home / "cache" / "jobs")
    project.write("train.py", "print('hello')\n")
    project.write("demo.ipynb", notebook("# A cell"))
    project.workflows("""
    - name: ide
      provider: lab
      artifacts: [out]
    - name: short
      provider: lab
      artifacts: [out]
      idle_duration: 15s
    - name: classic
      provider: notebook
      working_dir: sub
      artifacts: [out]
    """)
    yield project
    if not project.view().finished:
        project.dstack("stop", "--abort", "-y", project.run())
        project.finished()


def address(project) -> str:
    """As `dstack open` prints it."""
    return project.dstack("open", "--no-browser", project.run()).out.strip()


def ask(url: str, path: str, *, method: str = "GET", data: object = None, token: str | None = None, **headers: str):
    """The status and what a request came to that has the token of `url`, or another, or a cookie."""
    base, _, query = url.partition("?")
    token = urllib.parse.parse_qs(query)["token"][0] if token is None else token
    body = None if data is None else json.dumps(data).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if "Cookie" not in named:
        named["Authorization"] = f"token {token}"
    request = urllib.request.Request(urllib.parse.urljoin(base, path), body, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wheel(name: str) -> bytes:
    """Of a package whose WORD is `found`."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "WORD = 'found'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return data.getvalue()


def test_edits_and_artifacts_are_saved_while_it_runs(lab, browser):
    (lab.folder / "tiny-1.0-py3-none-any.whl").write_bytes(wheel("tiny"))
    following = lab.terminal("run", "ide")
    following.expect(PRINTED)
    page = opened(browser, following.match.group(0), "demo.ipynb")
    assert "six times seven is 42" in run_cell(page, CHANGES)
    picture(page, "lab")
    python = run_cell(page, "import sys; print(sys.executable)\n!which python").split()
    assert python[0] == python[1], "the shell's Python is the kernel's"
    assert "/env/bin/python" in python[0], "and both are the job's"
    run_cell(page, f"%pip install --no-index -q {lab.folder}/tiny-1.0-py3-none-any.whl")
    assert "found in" in run_cell(page, "import tiny; print(tiny.WORD, 'in', tiny.__file__)")
    assert "jupyter" not in run_cell(page, "!pip list").lower(), "what pip knows is the job's alone"
    page.keyboard.press("Control+s")

    def pulled() -> dict:
        lab.dstack("code", "pull", "-y", lab.run())
        return json.loads((lab.root / "demo.ipynb").read_text())["cells"][0]

    cell = lab.wait_for(lambda: (found := pulled())["outputs"] and found, "the notebook to come back")
    assert "".join(cell["source"]) == CHANGES
    assert cell["outputs"][0]["text"] == ["six times seven is 42\n"]
    assert lab.job("ide").status == "running"
    assert (lab.artifact("ide", "out") / "made.txt").read_text() == "made"
    names = sorted(path.name for path in lab.root.iterdir())
    assert names == [".dstack", ".git", "demo.ipynb", "train.py"], "no checkpoints, nothing of Jupyter's"


def test_a_terminal_and_what_a_killed_runner_leaves(lab, browser):
    lab.dstack("run", "-d", "ide")
    url = address(lab)
    page = browser.new_page()
    page.goto(url)
    page.locator(".jp-LauncherCard", has_text="Terminal").click()
    page.locator(".jp-Terminal .xterm-screen").click()
    page.keyboard.type(
        "python -c 'import sys; print(sys.prefix)' > prefix.txt; echo kept > out/kept.txt; rm train.py\n"
    )
    # Saved in the course of the next seconds, with no more than that.
    lab.wait_for(lambda: (job := lab.job("ide")).edits and job.artifacts and job.artifacts[0].files, "it to be saved")
    lab.kill(lab.runner())
    lab.wait_for(lambda: len((job := lab.job("ide")).attempts) == 2 and job.status == "running", "another attempt")
    again = address(lab)
    assert again.partition("?")[2] != url.partition("?")[2], "each attempt has a token of its own"
    assert ask(again, "/api/contents/train.py")[0] == 404, "what was deleted is"
    prefix = json.loads(ask(again, "/api/contents/prefix.txt")[1])["content"]
    assert "/scratch/env" in prefix, "a terminal's Python is the job's"
    assert json.loads(ask(again, "/api/contents/out/kept.txt")[1])["content"] == "kept\n"
    ask(again, "/api/contents/last.txt", method="PUT", data={"type": "file", "format": "text", "content": "words"})
    lab.dstack("stop", "-y", lab.run())
    assert lab.finished().status() == "stopped"
    lab.dstack("code", "pull", "-y", lab.run())
    assert (lab.root / "last.txt").read_text() == "words", "what was written in the last moment is saved"
    assert not (lab.root / "train.py").exists()


def test_who_gets_in(lab, browser):
    following = lab.start("run", "ide")
    url = address(lab)
    token = PRINTED.fullmatch(url).group(1)
    assert ask(url, "/api/contents")[0] == 200
    for wrong in ("", "0" * 32):
        for path in ("/api/contents", "/api/kernels", "/api/terminals"):
            assert ask(url, path, token=wrong)[0] == 403, path
        for path in ("/lab", "/files/train.py"):
            said = ask(url, path, token=wrong)[1]
            assert "Token authentication is enabled" in said, path
            assert "hello" not in said, path
    assert ask(url, "/api/contents", Host="elsewhere.example")[0] == 403, "nor by a name that leads here"
    page = browser.new_page()
    page.goto(url)
    # Which a browser would send along, whatever page asks.
    cookies = {"Cookie": "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in browser.cookies())}
    evil = {"Origin": "http://elsewhere.example", "Referer": "http://elsewhere.example/", **cookies}
    assert ask(url, "/api/contents", **cookies)[0] == 200
    assert ask(url, "/api/kernels", method="POST", data={}, **evil)[0] in (403, 404)
    kernel = json.loads(ask(url, "/api/kernels", method="POST", data={})[1])["id"]
    socket = urllib.parse.urljoin(url, f"/api/kernels/{kernel}/channels").replace("http:", "ws:")
    assert page.evaluate(OPEN_SOCKET, socket)
    with other_site() as site:
        page.goto(site)
        assert not page.evaluate(OPEN_SOCKET, socket), "though the browser sends the cookies along"
    assert listening(lab) == {"127.0.0.1"}

    assert [line for process in psutil.process_iter() for line in arguments(process) if token in line] == []
    private = [path for path in files_with(lab, token) if not is_private(path, lab.home)]
    assert private == [], "while it runs, files that only the user can read have it"
    assert [path for path in files_with(lab, token) if lab.home / "work" not in path.parents] == []
    lab.dstack("stop", "-y", lab.run())
    done = lab.end(following, 130)
    assert token not in done.said, "it is for a terminal"
    assert token not in lab.log("ide")
    lab.wait_for(lambda: files_with(lab, token) == [], "its traces to be gone")


def test_in_a_container(lab, jupyter, jupyter_image, browser):
    jupyter(lab.home / "cache" / "containers" / "jobs", copy=True)
    lab.write("tiny-1.0-py3-none-any.whl", wheel("tiny"))
    lab.dstack("run", "-d", "ide", "--image", jupyter_image)
    url = address(lab)
    page = opened(browser, url, "demo.ipynb")
    assert "six times seven is 42" in run_cell(page, CHANGES)
    assert "/usr/bin/python" in run_cell(page, "!which python")
    run_cell(page, "%pip install --no-index -q tiny-1.0-py3-none-any.whl")
    assert "found in" in run_cell(page, "import tiny; print(tiny.WORD, 'in', tiny.__file__)")
    page.keyboard.press("Control+s")
    lab.wait_for(lambda: (job := lab.job("ide")).edits and job.artifacts and job.artifacts[0].files, "it to be saved")
    assert ask(url, "/api/contents", Host="elsewhere.example")[0] == 403
    assert ask(url, "/api/contents", token="0" * 32)[0] == 403
    assert listening(lab) <= {"127.0.0.1"}
    lab.dstack("stop", "-y", lab.run())
    lab.finished()
    lab.dstack("code", "pull", "-y", lab.run())
    assert "six times seven" in (lab.root / "demo.ipynb").read_text()
    assert (lab.artifact("ide", "out") / "made.txt").read_text() == "made"


def test_a_busy_kernel_keeps_it_and_an_open_tab_does_not(lab, browser):
    lab.dstack("run", "-d", "short")
    page = opened(browser, address(lab), "demo.ipynb")
    start_cell(page, "import time; time.sleep(20); open('out/after', 'w').close()")
    lab.wait_for(lambda: lab.view().finished, "it to end, twice as long after the last automatic save", patience=240)
    assert lab.view().status() == "done"
    assert (lab.artifact("short", "out") / "after").exists(), "it worked longer than it may be idle"
    assert "Nobody has used it" in lab.log("short")
    assert not page.is_closed()


def test_notebook(lab, browser):
    lab.write("sub/inner.ipynb", notebook("# A cell"))
    lab.dstack("run", "-d", "classic")
    url = address(lab)
    page = browser.new_page()
    page.goto(url)
    page.get_by_text("inner.ipynb").wait_for()
    page.goto(url.replace("/tree?", "/notebooks/sub/inner.ipynb?"))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    lab.wait_for(lambda: has_kernel(url), "its kernel to be ready")
    assert "six times seven is 42" in run_cell(page, CHANGES)
    page.keyboard.press("Control+s")
    lab.wait_for(lambda: (job := lab.job("classic")).edits and job.artifacts[0].files, "it to be saved")
    lab.dstack("code", "pull", "-y", lab.run())
    assert "six times seven" in (lab.root / "sub" / "inner.ipynb").read_text()


@contextlib.contextmanager
def other_site() -> Iterator[str]:
    """The address of a page at another port of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    with server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def has_kernel(url: str) -> bool:
    """Whether a kernel is ready, and a page is connected to it."""
    status, said = ask(url, "/api/kernels")  # which fails for a moment while one is being started
    kernels = json.loads(said) if status == 200 else []
    return any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels)


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def listening(project) -> set[str]:
    """Addresses at which processes of the project listen, kernels' own ports included."""
    numbers = {process.pid for process in project.processes()}
    found = psutil.net_connections("tcp")
    return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN and c.pid in numbers}


def files_with(project, value: str) -> list[Path]:
    found = []
    for top in (project.home, project.root):
        for path in top.rglob("*"):
            if "cache" in path.parts or not path.is_file():
                continue
            try:
                found += [path] if value.encode() in path.read_bytes() else []
            except FileNotFoundError:
                continue
    return found


def is_private(path: Path, top: Path) -> bool:
    """Whether only its owner can read a file: by its mode, or by that of a folder above."""
    return any(there.stat().st_mode & 0o077 == 0 for there in [path, *path.parents] if top in there.parents)
