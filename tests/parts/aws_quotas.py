"""Quotas of EC2, which moto does not have: as tests set them, page by page."""

from __future__ import annotations

import json

from aws_calls import Response
from cloud_events import Call

USUAL = {
    "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 640.0),
    "L-34B43A08": ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 640.0),
    "L-DB2E81BA": ("Running On-Demand G and VT instances", 640.0),
    "L-3819A6DF": ("All G and VT Spot Instance Requests", 640.0),
    "L-417A185B": ("Running On-Demand P instances", 640.0),
    "L-7212CCBC": ("All P4, P3 and P2 Spot Instance Requests", 640.0),
}
PAGE = 4


class Quotas:
    """By account and region. Whoever calls holds the lock of the whole state."""

    def __init__(self) -> None:
        self._set: dict[tuple[str, str], float] = {}

    def set(self, account: str, code: str, value: float) -> None:
        self._set[account, code] = value

    def answer(self, call: Call) -> Response:
        """ListServiceQuotas of EC2."""
        start = int(call.parameters.get("NextToken") or 0)
        listed = [
            {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": name, "Unit": "None", "Adjustable": True,
             "Value": self._set.get((call.account, code), value)}
            for code, (name, value) in USUAL.items()
        ]  # fmt: skip
        page: dict[str, object] = {"Quotas": listed[start : start + PAGE]}
        if start + PAGE < len(listed):
            page["NextToken"] = str(start + PAGE)
        return Response("200 OK", [("Content-Type", "application/x-amz-json-1.1")], json.dumps(page).encode())
