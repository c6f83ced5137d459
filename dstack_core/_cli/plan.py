"""`dstack plan`: what a run would do, and why. Also the few lines of it that `dstack run` shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context
from dstack_core._cli.target import Target, TargetCommand, planning_options

if TYPE_CHECKING:
    from dstack_core._cli.planning import Planned

MOST_JOBS = 12
"""Jobs that `dstack run` shows before it starts; a plan with more is summed up."""
STYLES = {"run": "36", "reuse": "32", "later": "33"}


def print_short(run: str, planned: Planned) -> None:
    """The plan as `dstack run` shows it, on stderr."""
    jobs = planned.plan.jobs
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    for warning in planned.plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"\x1b[1m{run}\x1b[0m" if colours else run, file=sys.stderr)
    if len(jobs) > MOST_JOBS:
        counts = [f"{sum(j.decision == d for j in jobs)} to {word}" for d, word in _COUNTED]
        print(f"  {len(jobs)} jobs: {', '.join(counts)}", file=sys.stderr)
        return
    width = max(words.columns(job.name) for job in jobs)
    for job in jobs:
        decision = f"{job.decision:<5}"
        shown = f"\x1b[{STYLES[job.decision]}m{decision}\x1b[0m" if colours else decision
        print(f"  {words.padded(job.name, width)}  {shown}  {job.reason}", file=sys.stderr)
    sys.stderr.flush()


_COUNTED = (("run", "run"), ("reuse", "reuse"), ("later", "decide later"))


def _plan(context: Context, target: Target) -> int:
    from dstack_core._cli.planning import plan_for
    from dstack_core._cli.render import table, write_json
    from dstack_core._plan.reason import listed

    planned = plan_for(context, target)
    rows = [_row(planned, job) for job in planned.plan.jobs]
    warnings = [*planned.plan.warnings, *_unknown(planned)]
    if target.options.get("json"):
        write_json(
            {
                "target": planned.plan.target,
                "repo": planned.plan.repo,
                "snapshot": planned.plan.snapshot,
                "branch": planned.snapshot.branch,
                "commit": planned.snapshot.commit,
                "changes": planned.snapshot.summary,
                "files": planned.snapshot.tree.files,
                "warnings": warnings,
                "jobs": rows,
            }
        )
        return 0
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    table(("job", "decision", "reason", "deps", "machine"), rows, formats={"deps": listed})
    for line in _machines(planned):
        print(line)
    return 0


def _machines(planned: Planned) -> Iterator[str]:
    """What machines that cost something cost, and why others were rejected; each choice once."""
    told = set()
    for job in planned.plan.jobs:
        found = planned.offers.get(job.spec.requirements)
        if found is None or job.decision == "reuse" or job.spec.requirements in told or not found.fitting[0].price:
            continue
        told.add(job.spec.requirements)
        offer = found.fitting[0]
        spot = ", interruptible" if offer.spot else ""
        yield f"\n{job.name}: {offer.name} in {offer.place} at {offer.price:.4g} USD per hour{spot}"
        yield from _rejected(found.rejected)


def _rejected(reasons: Sequence[str]) -> Iterator[str]:
    """Those with the same reason on one line: a cloud has hundreds of kinds of machine."""
    from dstack_core._plan.reason import listed

    alike: dict[str, list[str]] = {}
    for line in reasons:
        name, _, reason = line.partition(": ")
        alike.setdefault(reason.replace(name, "NAME"), []).append(name)
    for reason, names in alike.items():
        yield f"  not {listed(names)}: {reason.replace('NAME', names[0]) if len(names) == 1 else reason}"


def _unknown(planned: Planned) -> list[str]:
    """Which images could not be looked at: those jobs would not start as things are."""
    from dstack_core._plan.reason import listed

    why: dict[str, list[str]] = {}
    for name, error in planned.unknown.items():
        why.setdefault(f"{error.message}{f' ({error.hint})' if error.hint else ''}", []).append(name)
    return [f"{listed(names)}: the image is not known: {reason}" for reason, names in why.items()]


def _row(planned: Planned, job: Any) -> dict[str, Any]:
    found = planned.offers.get(job.spec.requirements) if job.decision != "reuse" else None
    offer = found.fitting[0] if found else None
    return {
        "job": job.name,
        "decision": job.decision,
        "reason": job.reason,
        "deps": [source.dep for source in job.sources],
        "matrix": dict(job.cell.values) if job.cell else None,
        "machine": offer.name if offer else None,
        "price": offer.price if offer else None,
        "region": offer.place if offer else None,
        "spot": offer.spot if offer else None,
        "rejected": list(found.rejected) if found else [],
        "reused_from": f"{job.reused.run}/{job.reused.job}" if job.reused else None,
        "files_read": job.reused.read if job.reused else None,
        "artifacts": [artifact.path for artifact in job.spec.artifacts],
        "executor": job.spec.executor,
        "image": job.spec.image,
        "image_digest": job.spec.image_digest,
    }


plan = TargetCommand(
    "plan",
    act=_plan,
    options=[*planning_options(), click.Option(["json", "--json"], is_flag=True, help="Print the plan as JSON.")],
    help="Show what a run would do, and why. Runs nothing.",
)
