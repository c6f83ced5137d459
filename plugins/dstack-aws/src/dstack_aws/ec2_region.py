"""One region of EC2: its calls, page by page, and what is remembered of it for an hour."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from dstack_aws.account import Account
from dstack_aws.calls import Calls
from dstack_aws.failures import explain
from dstack_core.cloud.cache import remembered
from dstack_core.errors import InputError

VARIABLE: Final = "AWS_ENDPOINT_URL_EC2"


class Region:
    """Calls of one region. Attributes: name; `ec2`, `ssm`: the services."""

    def __init__(self, account: Account, name: str, patience: float) -> None:
        self.name = name
        self._account = replace(account, region=name)
        self.ec2 = self._calls("ec2", f"EC2 in {name}", patience)
        self.ssm = self._calls("ssm", f"Systems Manager in {name}", patience)

    def pages(self, act: str, operation: str, key: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """What `operation` (the SDK's method) lists under `key`. Raises StoreError."""
        while True:
            page = self.ec2.call(act, lambda client: getattr(client, operation)(**asked))
            yield from page.get(key, ())
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]

    def remembered(self, what: Sequence[str], make: Callable[[], Any]) -> Any:
        """What `make` gives, or gave within the hour for the same credentials in this region."""
        account = self._account
        server = account.other_than_aws(VARIABLE) or ""
        return remembered(("ec2", self.name, *account.names(), server, *what), make)

    def _calls(self, service: str, where: str, patience: float) -> Calls:
        return Calls(self._account, lambda: self._account.client(service), where, patience)


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
