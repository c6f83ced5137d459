"""Time of planning a large DAG, from workflow files to the plan, and how it grows.

    python bench/plan.py [--full] [--workflows N]

Layers of 100 workflows, each with two deps in the layer before; the target needs them all. `fresh`: nothing was ever
run. `done`: everything was, so that every job is looked up, verified and reused.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Report, options, scratch

LAYER = 100


def write_workflows(root: Path, count: int) -> None:
    (root / ".dstack" / "workflows").mkdir(parents=True)
    entries = [entry(n, count) for n in range(count)]
    for start in range(0, count, 1000):
        file = root / ".dstack" / "workflows" / f"part-{start:06d}.yaml"
        file.write_text("workflows:\n" + "".join(entries[start : start + 1000]))


def entry(n: int, count: int) -> str:
    above = [f"w{d}" for d in (n - LAYER, n - LAYER + 1) if 0 <= d < n - n % LAYER]
    if n == count - 1:
        above = [f"w{d}" for d in range(max(0, n - 2 * LAYER), n)]
    deps = "    deps:\n" + "".join(f"      - workflow: {d}\n" for d in above) if above else ""
    return (
        f"  - name: w{n}\n    provider: bash\n    commands:\n      - python step.py {n}\n{deps}"
        f"    env:\n      N: {n}\n    artifacts:\n      - path: out/{n}\n"
    )


class Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def measure(count: int, folder: Path) -> tuple[dict[str, float], int]:
    from dstack_local.store import FolderStore
    from dstack_provider_bash.provider import BashProvider

    from dstack_core._ledger import documents, traces
    from dstack_core._plan.build import Request, Surroundings, make_plan
    from dstack_core._plan.trace import trace_of
    from dstack_core._workflow.load import load_workflows
    from dstack_core._workflow.own import OwnProperties
    from dstack_core._workflow.resolve import resolve
    from dstack_core.codec import dumps
    from dstack_core.models import Artifact

    write_workflows(folder, count)
    clock, provider, store = Clock(), BashProvider(), FolderStore({"path": str(folder / "store")})
    with clock("load"):
        workflows = load_workflows(folder)
    resolved, own = {}, OwnProperties(provider)
    with clock("resolve"):
        for name in workflows.names():
            workflow = resolve(workflows.get(name), own, {}, (), {})
            resolved[name] = workflow, provider.job_spec(workflow)
    around = Surroundings(
        store, "5" * 64, {f"src/{n}.py": "f 1" for n in range(1000)}, workflows.names(), resolved.__getitem__,
        lambda _repo, _tag: (), lambda _snapshot: None,
    )  # fmt: skip
    request = Request(f"w{count - 1}", "bench/repo")
    with clock("plan, fresh"):
        plan = make_plan(request, around)
    with clock("json"):
        dumps(plan)
    done: dict[str, tuple[Artifact, ...]] = {}
    for job in plan.jobs:
        tree = hashlib.sha256(job.name.encode()).hexdigest()
        done[job.name] = (Artifact(f"out/{job.name}", tree),)
        trace = trace_of(plan, job, job.inputs(done), done[job.name], run="r", user="u", finished=1.0, duration=1.0)
        # What `record` and the runner leave behind, without waiting for the disk each time.
        _plain_write(folder, f"trees/{tree[:2]}/{tree}", b"tree")
        _plain_write(folder, f"latest/bench%2Frepo/{job.workflow}", dumps({**vars(trace), "format": documents.FORMAT}))
    with clock("plan, done"):
        again = make_plan(request, around)
    assert {job.decision for job in plan.jobs} == {"run"}
    assert {job.decision for job in again.jobs} == {"reuse"}, "what is measured is reuse"
    assert traces.recorded(store, "bench/repo")
    return clock.seconds, len(plan.jobs)


def _plain_write(folder: Path, key: str, data: bytes) -> None:
    path = folder / "store" / "objects" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> int:
    chosen = options(__doc__, workflows=(10_000, 10_000, "workflows"))
    report = Report()
    each: dict[str, float] = {}
    with scratch() as folder:
        measure(LAYER, folder / "first")  # imports, once a command, would hide how the rest grows
        for count in (chosen.workflows // 10, chosen.workflows):
            seconds, jobs = measure(count, folder / str(count))
            report.note(f"{jobs:,} jobs: " + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()))
            for case in ("fresh", "done"):
                total = seconds["load"] + seconds["resolve"] + seconds[f"plan, {case}"]
                if count == chosen.workflows:
                    name = f"plan of {count:,} workflows, {case}"
                    if case == "fresh":
                        report.row(name, total, 2, unit="s")
                    else:
                        report.note(f"{name}: {total:.2f} s")
                    report.row("  a workflow of it / one of a tenth as many", total / count / each[case], 1.5)
                each[case] = total / count
    return report.code


if __name__ == "__main__":
    sys.exit(main())
