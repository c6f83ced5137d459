"""Who calls which service of AWS, and where: makes the SDK's clients."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PATIENCE: Final = 60.0
"""Seconds to go on trying while a service fails or does not answer."""
CONNECTIONS: Final = 32
"""Kept open at most: one for each thread of whatever core does at once, and some."""
CONNECT: Final = 4
"""Seconds to wait for a connection."""
ANSWER: Final = 30
"""Seconds of silence after which an answer is taken for lost."""
ANY_REGION: Final = "us-east-1"
"""What a server that knows no regions is told."""


@dataclass(frozen=True)
class Account:
    """Credentials by the name of their profile, a region, and an address other than AWS's.

    Attributes:
        plugin: whose settings these are; for hints.
        region_setting: what its setting of the region is called.
        bucket_owner: the account that the bucket must belong to, if that is set.
        kms_key: the key of what is made, if one is set.
    """

    plugin: str
    profile: str | None = None
    region: str | None = None
    endpoint: str | None = None
    region_setting: str = "region"
    bucket_owner: str | None = None
    kms_key: str | None = None

    @staticmethod
    def of(plugin: str, settings: Mapping[str, Any]) -> Account:
        """What the settings say. The SDK's own variables are heeded where they say nothing."""
        names = ("profile", "region", "endpoint_url", "expected_bucket_owner", "kms_key")
        profile, region, endpoint, owner, key = (str(settings[n]) if settings.get(n) else None for n in names)
        return Account(plugin, profile, region, endpoint, bucket_owner=owner, kms_key=key)

    def other_than_aws(self, variable: str) -> str | None:
        """The address of a server that is not AWS. `variable`: the SDK's for this service."""
        return self.endpoint or os.environ.get(variable) or os.environ.get("AWS_ENDPOINT_URL") or None

    def default_region(self) -> str | None:
        """The region that the SDK would take: the settings', else the profile's or the environment's."""
        return self.region or self._session().get_config_variable("region") or None

    def names(self) -> tuple[str, ...]:
        """By what names the credentials are found: another tuple may be another account. Asks nobody."""
        variables = (os.environ.get(name, "") for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE"))
        return (self.profile or "", *variables)

    def known_regions(self, service: str) -> frozenset[str]:
        """The regions in which the SDK knows a service to be."""
        session = self._session()
        partitions = session.get_available_partitions()
        return frozenset(r for p in partitions for r in session.get_available_regions(service, p))

    def client(self, service: str, *, regionless: bool = False, **config: Any) -> Any:
        """A client of the SDK that tries each request once: trying again is `Calls`' business.

        Args:
            regionless: the server has no regions, so that any will do.
            config: more of botocore's `Config`.

        Raises:
            botocore.exceptions.BotoCoreError: no such profile, no region.
        """
        from botocore.config import Config

        from dstack_aws import __name__ as program

        session = self._session()
        region = self.region or session.get_config_variable("region") or (ANY_REGION if regionless else None)
        options = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            connect_timeout=CONNECT,
            read_timeout=ANSWER,
            tcp_keepalive=True,
            user_agent_extra=program,
            **config,
        )
        return session.create_client(service, region_name=region, endpoint_url=self.endpoint, config=options)

    def _session(self) -> Any:
        import botocore.session

        session = botocore.session.Session(profile=self.profile)
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        return session


@functools.cache
def _loader(path: str | None) -> Any:
    """Reads the descriptions of services, which are large: once for all clients. `path`: where else to look."""
    from botocore.loaders import create_loader

    return create_loader(path)
