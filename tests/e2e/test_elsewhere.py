"""Runs on machines that are other computers. Each boots, works, and is gone in the end: the account must be empty."""

from __future__ import annotations

from aws_box import aws, aws_box
from elsewhere import IMAGE, Elsewhere, elsewhere, limits
from weed import weed

__all__ = ["aws", "aws_box", "elsewhere", "limits", "weed"]

PIPELINE = f"""
- name: data
  provider: bash
  image: {IMAGE}
  commands: ["seq 1000 > rows.txt", "echo on $(hostname)"]
  artifacts: [rows.txt]
- name: train
  provider: bash
  image: {IMAGE}
  deps: [data]
  commands: ["wc -l < rows.txt > model.txt", "cat model.txt"]
  artifacts: [model.txt]
  resources: {{memory: 8GB}}
"""


def test_a_pipeline_of_two_machines_finishes_with_nobody_looking(elsewhere: Elsewhere):
    elsewhere.project.workflows(PIPELINE)
    run = elsewhere.submit("train")
    view = elsewhere.finished(run)
    assert dict(view.progress.status) == {"data": "done", "train": "done"}
    assert elsewhere.log(run, "train") == "1000\n"
    elsewhere.wait_for(lambda: {m.status for m in elsewhere.machines(run)} == {"gone"}, "machines to leave")
    assert [machine.offer.name for machine in elsewhere.machines(run)] == ["t3.small", "r5.large"]
    assert "1000" in elsewhere.project.dstack("logs", run).out
