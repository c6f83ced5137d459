"""The plan of a run, as it is stored."""

from __future__ import annotations

from dstack_core._ledger.records import RunRecord
from dstack_core._ledger.runs import read_plan
from dstack_core._plan.job import RunPlan
from dstack_core.artifact_store import ArtifactStore
from dstack_core.codec import loads
from dstack_core.errors import StoreError


def read_run_plan(store: ArtifactStore, run: RunRecord) -> RunPlan:
    """What the run was planned to do. Raises StoreError, NotFoundError."""
    try:
        return loads(RunPlan, read_plan(store, run.plan))
    except ValueError as error:
        raise StoreError(f"the plan of {run.name} is damaged ({error})", hint="start the run again") from None
