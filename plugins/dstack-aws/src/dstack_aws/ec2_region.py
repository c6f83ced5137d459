"""One region of EC2: its calls, page by page, and what is remembered of it for an hour."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from dstack_aws.account import Account
from dstack_aws.calls import Calls
from dstack_aws.failures import explain
from dstack_core.cloud.cache import HOUR, remembered
from dstack_core.errors import InputError

VARIABLE: Final = "AWS_ENDPOINT_URL_EC2"


class Region:
    """Calls of one region. Attributes: name; `ec2`, `ssm`, `quotas`, `pricing`: the services."""

    def __init__(self, account: Account, name: str, patience: float) -> None:
        self.name = name
        self._account = replace(account, region=name)
        self.ec2 = self._calls("ec2", f"EC2 in {name}", patience)
        self.ssm = self._calls("ssm", f"Systems Manager in {name}", patience)
        # Neither is worth a wait: EC2 itself says when a quota is used up, and there are other prices.
        self.quotas = self._calls("service-quotas", f"Service Quotas in {name}", 0.0)
        self.pricing = self._calls("pricing", "AWS's price list", 0.0, _near(name))

    def pages(self, act: str, operation: str, key: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """What EC2 lists, see `pages`."""
        return pages(self.ec2, act, operation, key, **asked)

    def remembered(self, what: Sequence[str], make: Callable[[], Any], seconds: float = HOUR) -> Any:
        """What `make` gives, or gave at most `seconds` ago for the same credentials in this region."""
        account = self._account
        server = account.other_than_aws(VARIABLE) or ""
        return remembered(("ec2", self.name, *account.names(), server, *what), make, seconds)

    def _calls(self, service: str, where: str, patience: float, elsewhere: str = "") -> Calls:
        account = replace(self._account, region=elsewhere) if elsewhere else self._account
        return Calls(account, lambda: account.client(service), where, patience)


def pages(calls: Calls, act: str, operation: str, key: str, **asked: Any) -> Iterator[Any]:
    """What `operation` (the SDK's method) lists under `key`, page by page. Raises StoreError."""
    while True:
        page = calls.call(act, lambda client: getattr(client, operation)(**asked))
        yield from page.get(key, ())
        if not page.get("NextToken"):
            return
        asked["NextToken"] = page["NextToken"]


def _near(region: str) -> str:
    """The region nearby that has the price list (https://docs.aws.amazon.com/general/latest/gr/billing.html)."""
    near = {"eu": "eu-central-1", "ap": "ap-south-1", "cn": "cn-northwest-1"}
    return near.get(region.partition("-")[0], "us-east-1")


def region_names(account: Account, wanted: Sequence[str]) -> Sequence[str]:
    """The regions to look in: those that are `wanted`, else the profile's.

    Raises:
        InputError: there is none, or AWS has none of that name.
        StoreError: there is no such profile.
    """
    try:
        names = wanted or [name for name in (account.default_region(),) if name]
        known = frozenset() if account.endpoint else account.known_regions("ec2")
    except Exception as error:
        raise explain(error, "look for machines", account, "EC2") from None
    hint = f"dstack config set settings.{account.plugin}.{account.region_setting} REGION"
    if not names:
        raise InputError("no AWS region is set", hint=hint)
    for name in names:
        if known and name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise InputError(f"AWS has no region {name}", hint=f"did you mean {close[0]}?" if close else hint)
    return names
