"""What every executor must do. Subclass `ExecutorSuite`, override `open_executor`."""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dstack_core.errors import JobError
from dstack_core.executor import Executor, SupportsImages, SupportsShell, Task
from dstack_core.models import Requirements
from dstack_core.testing.executor_endings import Endings
from dstack_core.testing.executor_jobs import BEAT, Job, Jobs
from dstack_core.testing.waiting import until

__all__ = ["BEAT", "ExecutorSuite", "Job", "Jobs"]

_TYPED = 'set -- "a  b"; ls; printf %s "$WHO $1"; exit 7\n'


class ExecutorSuite(Endings):
    """Tests of the contract in `dstack_core.executor`. The image or machine must have `sh`. See `Endings`, too.

    Attributes:
        supports_python: whether `Task.python` chooses an interpreter.
        supports_places: whether a job can be given absolute paths.
        supports_memory: whether a job that takes more memory than it asked for is ended.
        server: shell command that serves HTTP at `{port}`, to the machine and to what forwards from it.
    """

    supports_python = True
    supports_places = True
    supports_memory = True
    server = "exec python3 -m http.server {port}"

    @pytest.fixture
    def open_executor(self) -> Callable[[], Executor]:
        """Override: a function that makes an executor. It must survive pickling: `functools.partial(Yours, {})`."""
        raise NotImplementedError("override the fixture `open_executor`")

    @pytest.fixture
    def executor(self, open_executor: Callable[[], Executor]) -> Executor:
        """The executor under test."""
        return open_executor()

    @pytest.fixture
    def jobs(self, executor: Executor, tmp_path: Path) -> Iterator[Jobs]:
        """Starts jobs; ends them with the test."""
        jobs = Jobs(executor, tmp_path / "jobs with spaces")
        yield jobs
        jobs.close()

    # --- one job ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("code", [0, 1, 7, 127, 255])
    def test_the_exit_code_is_the_job_s(self, jobs: Jobs, code: int) -> None:
        """All of them, unchanged."""
        assert jobs.run(f"exit {code}", **self.task) == (code, "")

    @pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("TERM", 143), ("INT", 130)])
    def test_a_signal_is_128_plus_its_number(self, jobs: Jobs, signal: str, code: int) -> None:
        """As shells say it; 137 is also how the end by lack of memory looks."""
        assert jobs.run(f"kill -{signal} $$; sleep 60", **self.task)[0] == code

    def test_the_exit_code_stays(self, jobs: Jobs) -> None:
        """Asked twice, after `close`, and from another thread."""
        job = jobs.start("exit 3", **self.task)
        codes: list[int | None] = [job.execution.wait(60)]
        thread = threading.Thread(target=lambda: codes.append(job.execution.wait()))
        thread.start()
        thread.join(60)
        job.execution.close()
        job.execution.close()
        codes.append(job.execution.wait(0))
        assert codes == [3, 3, 3]

    def test_waiting_can_end_before_the_job(self, jobs: Jobs) -> None:
        """With None; the job goes on."""
        job = jobs.start("while [ ! -e go ]; do sleep 0.01; done; exit 4", **self.task)
        assert job.execution.wait(0) is None
        assert job.execution.wait(0.05) is None
        (job.root / "go").touch()
        assert job.ended() == 4

    def test_output_goes_where_it_should(self, jobs: Jobs) -> None:
        """Bytes as they are, stdout and stderr apart, all of it."""
        job = jobs.start("printf 'a\\000\\377\\r\\n'; printf 'oops' >&2; seq 1 20000", **self.task)
        assert job.ended() == 0
        expected = b"a\0\xff\r\n" + "".join(f"{n}\n" for n in range(1, 20001)).encode()
        assert job.out.read_bytes() == expected
        assert job.err.read_bytes() == b"oops"

    def test_the_job_runs_in_its_checkout(self, jobs: Jobs, tmp_path: Path) -> None:
        """Sees its files, in its working folder, and what it writes is there afterwards."""
        root = tmp_path / "check out"
        (root / "sub dir").mkdir(parents=True)
        (root / "sub dir" / "in").write_text("hello")
        code, output = jobs.run(
            "cat in; echo made > ../out; mkdir -p d/e", root=root, working_dir="sub dir", **self.task
        )
        assert (code, output) == (0, "hello")
        assert (root / "out").read_text() == "made\n"
        assert (root / "sub dir" / "d" / "e").is_dir()
        assert (root / "out").stat().st_uid == os.geteuid()

    def test_no_such_working_folder(self, jobs: Jobs) -> None:
        """Is an error that names it."""
        with pytest.raises(JobError, match="nowhere"):
            jobs.start("true", working_dir="nowhere", **self.task)

    def test_no_such_program(self, executor: Executor, tmp_path: Path) -> None:
        """Is an error that names it, or the exit code that shells give it."""
        (tmp_path / "scratch").mkdir()
        (tmp_path / "root").mkdir()
        null = os.open(os.devnull, os.O_WRONLY)
        task = Task(
            label=uuid.uuid4().hex,
            argv=("no-such-program",),
            root=tmp_path / "root",
            scratch=tmp_path / "scratch",
            working_dir=".",
            stdout=null,
            stderr=null,
            **self.task,
        )
        try:
            execution = executor.start(task)
        except JobError as error:
            assert "no-such-program" in str(error)  # noqa: PT017  either answer is right
        else:
            assert execution.wait(60) == 127
            execution.close()
        finally:
            os.close(null)

    def test_the_environment_is_as_given(self, jobs: Jobs) -> None:
        """Values are data: nothing is expanded, cut or split."""
        values = {"A": "1", "EMPTY": "", "SPACES": "  a  b ", "LINES": "a\nb\n", "ODD": "$A `x` \"q\" 'q' \\ é=;"}
        script = "".join(f'printf "%s\\001" "${name}"; ' for name in values)
        code, output = jobs.run(script, env=values, **self.task)
        assert code == 0
        assert output.split("\1")[:-1] == list(values.values())

    def test_the_caller_s_environment_stays_outside(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever secrets it holds."""
        monkeypatch.setenv("A_SECRET_TOKEN", "s3cr3t")
        monkeypatch.setenv("PYTHONPATH", "/nowhere")
        names = {line.partition("=")[0] for line in jobs.run("env", **self.task)[1].splitlines()}
        assert "A_SECRET_TOKEN" not in names
        assert "PYTHONPATH" not in names

    def test_a_job_has_what_a_process_needs(self, jobs: Jobs) -> None:
        """PATH, HOME, and a place for temporary files."""
        script = 'test -n "$PATH"; test -d "$HOME"; f=$(mktemp); echo x > "$f"; rm "$f"'
        assert jobs.run(script, **self.task) == (0, "")

    def test_standard_input_is_empty(self, jobs: Jobs) -> None:
        """Nobody is there to answer."""
        assert jobs.run("cat; echo end", **self.task) == (0, "end\n")

    def test_there_is_no_terminal(self, jobs: Jobs) -> None:
        """A program that asks for a password cannot hang the runner's terminal."""
        assert jobs.run("(: < /dev/tty) 2>/dev/null && echo terminal; true", **self.task) == (0, "")

    def test_no_such_python(self, jobs: Jobs) -> None:
        """Is an error that says what was asked for."""
        if not self.supports_python:
            pytest.skip("chooses no Python")
        with pytest.raises(JobError, match=r"1\.5") as failure:
            jobs.start("true", python="1.5", **self.task)
        assert failure.value.hint

    def test_only_the_job_reads_where_it_works(self, jobs: Jobs, tmp_path: Path) -> None:
        """If jobs work in place, access times tell what they read: nothing else may be read, nor any of it missed."""
        if not jobs.executor.in_place:
            pytest.skip("jobs do not work in place")
        root = tmp_path / "code"
        paths = [root, root / "read", root / "sub", root / "sub/unread", root / "listed", root / "listed/unread"]
        for path in paths[1::2]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        for path in paths:
            os.utime(path, (0, path.stat().st_mtime))
        assert jobs.run("cat read; ls listed", root=root, **self.task) == (0, "xunread\n")
        assert [path.name for path in paths if path.stat().st_atime] == ["read", "listed"]

    # --- what it is given -------------------------------------------------------------------------------------------

    def test_ports_are_the_machine_s(self, jobs: Jobs) -> None:
        """Two of them. Inside, they have numbers of their own where a job has all ports to itself."""
        ports = (_free_port(), _free_port())
        inner = (8080, 9000) if jobs.executor.own_ports else ports
        servers = f"({self.server.format(port=inner[0])}) & {self.server.format(port=inner[1])}"
        jobs.start(f"echo hello > greeting; {servers}", ports=ports, inner_ports=inner, **self.task)
        for port in ports:
            until(functools.partial(_greeted, port), f"the job answered at port {port}")

    def test_people_get_into_a_running_job(self, jobs: Jobs, executor: Executor, tmp_path: Path) -> None:
        """Into its environment and working folder, with what they give as input; the exit code is passed on."""
        if not isinstance(executor, SupportsShell):
            pytest.skip("not a SupportsShell")
        (tmp_path / "root" / "sub dir").mkdir(parents=True)
        script = "echo > here; while :; do sleep 0.01; done"
        root, where = tmp_path / "root", "sub dir"
        job = jobs.start(script, env={"WHO": "it's me"}, root=root, working_dir=where, **self.task)
        until((tmp_path / "root" / "sub dir" / "here").exists, "the job ran")
        for command, given in (["sh", "-c", 'ls; cat; printf %s "$WHO $1"; exit 7', "-", "a  b"], ""), ([], _TYPED):
            inside = executor.inside(job.label, command, terminal=False)
            done = subprocess.run(inside.argv, cwd=inside.folder, env=inside.env, input=given, text=True,
                                  stdout=subprocess.PIPE, check=False)  # fmt: skip
            assert (done.returncode, done.stdout) == (7, "here\nit's me a  b")
        job.execution.close()
        with pytest.raises(JobError):
            executor.inside(job.label, ["true"], terminal=False)

    def test_jobs_share_a_cache(self, jobs: Jobs) -> None:
        """`DSTACK_CACHE`: what one job puts there the next one finds."""
        name = uuid.uuid4().hex
        assert jobs.run(f'echo hello > "$DSTACK_CACHE/{name}"', **self.task) == (0, "")
        assert jobs.run(f'cd "$DSTACK_CACHE" && cat {name} && rm {name}', **self.task) == (0, "hello\n")

    def test_a_place_is_given_or_refused(self, jobs: Jobs, tmp_path: Path) -> None:
        """An absolute path in the job is a folder outside: both see what the other writes."""
        folder, place = tmp_path / "out side", f"/opt/{uuid.uuid4().hex}/in side"
        folder.mkdir()
        (folder / "given").write_text("hello")
        script = f"cd '{place}'; cat given; mkdir made; echo made > made/file"
        if not self.supports_places:
            with pytest.raises(JobError, match=place):
                jobs.start(script, places={place: folder}, **self.task)
            return
        code, output = jobs.run(script, places={place: folder}, **self.task)
        assert (code, output) == (0, "hello")
        assert (folder / "made" / "file").read_text() == "made\n"
        assert (folder / "made").stat().st_uid == os.geteuid()

    def test_a_file_can_be_given(self, jobs: Jobs, tmp_path: Path) -> None:
        """Not only folders."""
        if not self.supports_places:
            pytest.skip("gives no absolute paths")
        file, place = tmp_path / "file", f"/opt/{uuid.uuid4().hex}.txt"
        file.write_text("hello")
        assert jobs.run(f"cat {place}", places={place: file}, **self.task) == (0, "hello")

    def test_too_much_memory(self, jobs: Jobs) -> None:
        """Ends the job, and the executor can say so. One that ends with less is not accused."""
        if not self.supports_memory:
            pytest.skip("enforces no limit of memory")
        limit = Requirements(memory=64_000_000)
        grow = "x=0123456789abcdef; while :; do x=$x$x; done"
        job = jobs.start(grow, requirements=limit, **self.task)
        assert job.ended() == 137
        assert job.execution.cause() == "out of memory (limit 64 MB)"
        job = jobs.start("exit 3", requirements=limit, **self.task)
        assert job.ended() == 3
        assert job.execution.cause() is None

    # --- images -----------------------------------------------------------------------------------------------------

    def test_an_image_is_known_by_its_content(self, jobs: Jobs, executor: Executor) -> None:
        """Before a job starts, and by the job that ran in it."""
        image = self._image(executor)
        digest = executor.digest(image)  # type: ignore[attr-defined]
        assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
        job = jobs.start("exit 0", **self.task)
        assert job.ended() == 0
        assert job.execution.image_digest == digest
        job = jobs.start("exit 0", image_digest=digest, **self.task)
        assert job.ended() == 0

    def test_another_image_of_that_name_is_not_taken(self, jobs: Jobs, executor: Executor) -> None:
        """What was planned runs, or nothing."""
        self._image(executor)
        with pytest.raises(JobError):
            jobs.start("exit 0", image_digest=f"sha256:{'0' * 64}", **self.task)

    def test_no_such_image(self, jobs: Jobs, executor: Executor) -> None:
        """Is an error that names it, when planned and when started."""
        self._image(executor)
        missing = f"127.0.0.1:{_free_port()}/nobody/nothing:v1"
        for ask in (executor.digest, lambda image: jobs.start("true", **{**self.task, "image": image})):  # type: ignore[attr-defined]
            with pytest.raises(JobError, match="nobody/nothing:v1") as failure:
                ask(missing)
            assert failure.value.hint
        assert executor.digest(missing, ask_registry=False) is None  # type: ignore[attr-defined]

    def _image(self, executor: Executor) -> str:
        if not isinstance(executor, SupportsImages):
            pytest.skip("not a SupportsImages")
        return str(self.task.get("image") or executor.default_image)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _greeted(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/greeting", timeout=5) as answer:
            return bool(answer.read() == b"hello\n")
    except (OSError, urllib.error.URLError):
        return False
