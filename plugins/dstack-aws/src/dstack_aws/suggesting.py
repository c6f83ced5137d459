"""What is probably meant by a setting: profiles of this machine, regions, buckets of the account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dstack_aws.account import Account
from dstack_aws.calls import Calls

PATIENCE: Final = 5.0
"""Seconds that a suggestion may take."""


def suggest(plugin: str, service: str, field: str, given: Mapping[str, Any]) -> Sequence[str]:
    """See `dstack_core.setup.SupportsSuggestions`; for the settings of `plugin`. Raises StoreError."""
    account = Account.of(plugin, given)
    if field == "profile":
        return ["", *_profiles()]
    if field == "region":
        return _regions(account, service)
    return ["", *_buckets(account)] if field == "bucket" else ()


def _profiles() -> list[str]:
    import botocore.session

    found: list[str] = botocore.session.Session().available_profiles
    return sorted(found)


def _regions(account: Account, service: str) -> list[str]:
    """The profile's own first, if it has one."""
    import botocore.session

    session = botocore.session.Session(profile=account.profile)
    own = session.get_config_variable("region")
    there = session.get_available_regions(service)
    return list(dict.fromkeys([own or "", *there]))


def _buckets(account: Account) -> list[str]:
    where = account.endpoint or "AWS"
    calls = Calls(account, lambda: account.client("s3", regionless=True), where, PATIENCE)
    answer = calls.call("list the buckets", lambda client: client.list_buckets())
    return [str(bucket["Name"]) for bucket in answer.get("Buckets", ())]
