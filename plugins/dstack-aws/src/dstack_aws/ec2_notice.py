"""What the metadata service of a machine says of its end, by version 2 of the protocol
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html).

That a machine is at higher risk (a rebalance recommendation) is not looked at: most of those live on.
"""

from __future__ import annotations

import datetime
import json
import os
import urllib.error
import urllib.request
from typing import Final

ADDRESS: Final = "http://169.254.169.254"
QUICK: Final = 0.4
"""Seconds to wait for an answer: the service is on the very host."""
TOKEN: Final = "X-aws-ec2-metadata-token"  # noqa: S105  the name of a header


def interruption() -> float | None:
    """When this machine will be taken away, in seconds since the epoch; None if nobody says so. Raises nothing."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", ADDRESS).rstrip("/")
    try:
        token = _ask("PUT", f"{base}/latest/api/token", {f"{TOKEN}-ttl-seconds": "60"})
        told = json.loads(_ask("GET", f"{base}/latest/meta-data/spot/instance-action", {TOKEN: token}))
        when = datetime.datetime.strptime(told["time"], "%Y-%m-%dT%H:%M:%SZ")
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not a machine of EC2, not of spot, or 404: nothing is planned
    return when.replace(tzinfo=datetime.timezone.utc).timestamp()


def _ask(method: str, url: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
    with opener.open(request, timeout=QUICK) as answer:
        return str(answer.read().decode())
