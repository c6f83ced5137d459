"""Pipelines of jobs that do nothing, in dstack and in five other tools: the table of docs/explanation/comparison.md.

    python bench/compare.py [--sizes 10,100,1000] [--timeout SECONDS] [--tools dstack,doit] [--write]

Each tool is installed from PyPI into an environment of its own, in a cache folder (`--cache`), at its newest version.
Each is asked for what its own documentation would suggest, with two jobs at once where it can: first in a fresh folder,
then again with nothing changed. Sizes are run one after the other, tools by turns; the best of the rounds counts.
Without `--write` the table is only printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure import DSTACK, scratch

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "comparison.md"
BEGIN, END = "<!-- made by bench/compare.py: begin -->\n", "<!-- made by bench/compare.py: end -->\n"
SHAPES = ("independent", "chain")


@dataclass(frozen=True)
class Tool:
    """One tool. `write` lays out a pipeline of so many jobs in the current folder, a chain or independent ones."""

    name: str
    write: Callable[[int, bool], None]
    command: Sequence[str]
    asked: str
    prepare: Sequence[Sequence[str]] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


def each(count: int, line: Callable[[int], str]) -> str:
    return "".join(map(line, range(count)))


def write_dstack(count: int, chain: bool) -> None:
    def entry(name: str, deps: str) -> str:
        made = f"commands: ['touch {name}'], artifacts: [{{path: {name}}}]"
        return f"- {{name: {name}, provider: bash, {made}, deps: [{deps}]}}\n"

    jobs = each(count, lambda n: entry(f"job{n}", f"job{n - 1}" if chain and n else ""))
    needs = f"job{count - 1}" if chain else ", ".join(f"job{n}" for n in range(count))
    Path(".dstack").mkdir()
    Path(".dstack/workflows.yaml").write_text(f"workflows:\n{jobs}{entry('all', needs)}")


def write_snakemake(count: int, chain: bool) -> None:
    above = "    input: lambda w: f'done/{int(w.n) - 1}' if int(w.n) else []\n" if chain else ""
    wanted = f"'done/{count - 1}'" if chain else f"expand('done/{{n}}', n=range({count}))"
    job = f"rule job:\n{above}    output: touch('done/{{n}}')\n    shell: 'true'\n"
    Path("Snakefile").write_text(f"rule all:\n    input: {wanted}\n\n{job}")


def write_dvc(count: int, chain: bool) -> None:
    def stage(n: int) -> str:
        dep = f"done/{n - 1}" if chain and n else "start"
        return f"  job{n}:\n    cmd: touch done/{n}\n    deps: [{dep}]\n    outs: [done/{n}]\n"

    Path("done").mkdir()
    Path("start").write_text("\n")
    Path("dvc.yaml").write_text("stages:\n" + each(count, stage))


def write_luigi(count: int, chain: bool) -> None:
    needs = f"Job(n={count - 1})" if chain else f"[Job(n=n) for n in range({count})]"
    above = "    def requires(self):\n        return Job(n=self.n - 1) if self.n else []\n\n" if chain else ""
    Path("pipeline.py").write_text(
        "import subprocess\n\nimport luigi\n\n\nclass Job(luigi.Task):\n    n = luigi.IntParameter()\n\n"
        f"{above}    def run(self):\n        subprocess.run(['true'], check=True)\n"
        "        with self.output().open('w'):\n            pass\n\n"
        "    def output(self):\n        return luigi.LocalTarget(f'done/{self.n}')\n\n\n"
        f"class All(luigi.WrapperTask):\n    def requires(self):\n        return {needs}\n"
    )


def write_doit(count: int, chain: bool) -> None:
    dep = "[f'done/{n - 1}'] if n else ['start']" if chain else "['start']"
    Path("done").mkdir()
    Path("start").write_text("\n")
    Path("dodo.py").write_text(
        f"def task_job():\n    for n in range({count}):\n        yield {{\n            'name': n,\n"
        f"            'actions': ['touch %(targets)s'],\n            'file_dep': {dep},\n"
        "            'targets': [f'done/{n}'],\n        }\n"
    )


def write_metaflow(count: int, chain: bool) -> None:
    head = "import subprocess\n\nfrom metaflow import FlowSpec, step\n\n\nclass Pipeline(FlowSpec):\n"
    last = "    @step\n    def end(self):\n        pass\n\n\nif __name__ == '__main__':\n    Pipeline()\n"
    act = "        subprocess.run(['true'], check=True)\n"

    def step(n: int) -> str:
        following = f"job{n + 1}" if n + 1 < count else "end"
        return f"    @step\n    def job{n}(self):\n{act}        self.next(self.{following})\n\n"

    if chain:
        jobs = "    @step\n    def start(self):\n        self.next(self.job0)\n\n" + each(count, step)
    else:
        jobs = (
            f"    @step\n    def start(self):\n        self.n = list(range({count}))\n"
            "        self.next(self.job, foreach='n')\n\n"
            f"    @step\n    def job(self):\n{act}        self.next(self.join)\n\n"
            "    @step\n    def join(self, inputs):\n        self.next(self.end)\n\n"
        )
    Path("flow.py").write_text(head + jobs + last)


TOOLS = (
    Tool(
        "dstack", write_dstack, [DSTACK, "run", "all"],
        "`dstack run all`: workflows that `touch` their one artifact, and one that needs them all; as many at once as "
        "there are CPUs",
    ),
    Tool(
        "snakemake", write_snakemake, ["snakemake", "--cores", "2", "--quiet", "all"],
        "`snakemake --cores 2`: a rule with a wildcard, `shell: 'true'` and `output: touch(...)`",
    ),
    Tool(
        "dvc", write_dvc, ["dvc", "repro", "--quiet"],
        "`dvc repro`: stages with one dep and one out, `cmd: touch OUT`. It runs stages one at a time",
        prepare=[["dvc", "init", "--no-scm", "--quiet"], ["dvc", "config", "core.analytics", "false"]],
    ),
    Tool(
        "luigi", write_luigi,
        ["luigi", "--module", "pipeline", "All", "--local-scheduler", "--workers", "2", "--log-level", "WARNING"],
        "`luigi --local-scheduler --workers 2`: a task that runs `true` and writes a `LocalTarget`",
    ),
    Tool(
        "doit", write_doit, ["doit", "-n", "2"],
        "`doit -n 2`: tasks with `file_dep`, `targets` and the action `touch TARGET`",
    ),
    Tool(
        "metaflow", write_metaflow,
        ["python", "flow.py", "--quiet", "run", "--max-workers", "2", "--max-num-splits", "2000"],
        "`python flow.py run --max-workers 2`: a `foreach`, or a step for each job; each runs `true`. A run does not "
        "look for results of earlier ones, so the second does everything again",
        environ={"USERNAME": "bench", "METAFLOW_DATASTORE_SYSROOT_LOCAL": "store"},
    ),
)  # fmt: skip


def install(tool: Tool, cache: Path) -> tuple[Path, str]:
    """The tool's folder of programs, and its version."""
    if tool.name == "dstack":
        from dstack_core import __version__

        return Path(DSTACK).parent, __version__
    home = cache / tool.name
    if not (home / "bin" / "pip").exists():
        venv.create(home, with_pip=True)
    pip = [home / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    if subprocess.run([*pip, "show", "-q", tool.name], stderr=subprocess.DEVNULL, check=False).returncode:
        print(f"installing {tool.name} ...", file=sys.stderr, flush=True)
        subprocess.run([*pip, "install", "-q", tool.name], check=True)
    shown = subprocess.run([*pip, "show", tool.name], check=True, capture_output=True, text=True).stdout
    return home / "bin", next(line.split()[1] for line in shown.splitlines() if line.startswith("Version:"))


def call(args: Sequence[str], programs: Path, environ: Mapping[str, str], timeout: float) -> float | str:
    """Seconds; or in words why there are none."""
    home = os.environ["DSTACK_HOME"]
    env = {**os.environ, "HOME": home, **environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    env["PYTHONPATH"] = "."  # where luigi finds its module
    with open(f"{home}/output", "ab") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            args, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )  # fmt: skip
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"> {timeout:.0f}"
    if code:
        print(Path(f"{home}/output").read_text(errors="replace")[-2000:], file=sys.stderr)
        return "failed"
    return time.perf_counter() - start


def measure(tool: Tool, programs: Path, count: int, chain: bool, timeout: float, folder: Path) -> list[float | str]:
    """First run, and run with nothing changed."""
    for old in (folder, f"{folder}-home"):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir()
    os.mkdir(f"{folder}-home", 0o700)
    before = os.getcwd()
    os.chdir(folder)
    os.environ["DSTACK_HOME"] = f"{folder}-home"  # and $HOME, outside of the folder: its content is the code
    try:
        tool.write(count, chain)
        for args in tool.prepare:
            call(args, programs, tool.environ, 60)
        first = call(tool.command, programs, tool.environ, timeout)
        return [first, call(tool.command, programs, tool.environ, timeout) if isinstance(first, float) else "-"]
    finally:
        os.chdir(before)


def best(found: Sequence[float | str]) -> float | str:
    numbers = [value for value in found if isinstance(value, float)]
    return min(numbers) if numbers else found[-1]


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def table(results: Mapping[tuple[str, str, int], list[float | str]], names: Mapping[str, str], sizes: list[int]) -> str:
    """Markdown: seconds, first run / again, for each tool, shape and size."""
    lines = []
    for shape in SHAPES:
        lines += ["", f"**{shape.capitalize()} jobs**, seconds: first run / again" if shape == "independent" else
                  "**A chain**, seconds: first run / again", "",
                  "| tool | " + " | ".join(f"{size:,} jobs" for size in sizes) + " |",
                  "|---|" + "---:|" * len(sizes)]  # fmt: skip
        for name, title in names.items():
            cells = [" / ".join(map(shown, results[name, shape, size])) for size in sizes]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines).lstrip("\n") + "\n"


def machine() -> str:
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = models[0].partition(":")[2].strip() if models else model
    load = os.getloadavg()[1]
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs ({model}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; processes that wanted a CPU at the end: {load:.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100,1000")
    parser.add_argument("--rounds", type=int, default=1, help="of each size; the best counts")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one command")
    parser.add_argument("--tools", default=",".join(tool.name for tool in TOOLS))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dstack-bench"
    parser.add_argument("--cache", type=Path, default=cache)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    chosen = parser.parse_args()
    sizes = [int(size) for size in chosen.sizes.split(",")]
    tools = [tool for tool in TOOLS if tool.name in chosen.tools.split(",")]
    installed = {tool.name: install(tool, chosen.cache.absolute()) for tool in tools}
    results: dict[tuple[str, str, int], list[float | str]] = {}
    with scratch() as folder:
        for size in sizes:
            for shape in SHAPES:
                for number in range(chosen.rounds):
                    for tool in tools:
                        place = folder / "pipeline"
                        taken = measure(tool, installed[tool.name][0], size, shape == "chain", chosen.timeout, place)
                        known = results.get((tool.name, shape, size), taken)
                        results[tool.name, shape, size] = list(map(best, zip(known, taken, strict=True)))
                        told = " / ".join(map(shown, taken))
                        print(
                            f"{tool.name}, {shape}, {size:,}, round {number + 1}: {told}", file=sys.stderr, flush=True
                        )
    names = {tool.name: f"{tool.name} {installed[tool.name][1]}" for tool in tools}
    asked = "".join(f"- **{names[tool.name]}**: {tool.asked}.\n" for tool in tools)
    about = f"{machine()}. Time-out: {chosen.timeout:.0f} s.\n\nWhat each was asked for:\n\n{asked}"
    text = f"{table(results, names, sizes)}\n{about}"
    print(text)
    if chosen.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.partition(END)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
