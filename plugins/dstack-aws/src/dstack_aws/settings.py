"""What can be set of plugins `s3`, `secrets-manager` and `ec2`; a module of its own, as pydantic is slow to import."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dstack_aws.account import PATIENCE
from dstack_aws.ec2_caller import ASK, network_of
from dstack_core.settings import HERE
from dstack_core.setup import ASKED


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL like https://minio.example.org:9000")
    if parts.username or parts.password:
        raise ValueError("must have no credentials in it: use a profile or AWS_ACCESS_KEY_ID")
    return url.rstrip("/")


def _source(source: str) -> str:
    return _endpoint(source) if "://" in source else network_of(source)


def _prefix(prefix: str) -> str:
    return prefix.strip("/")


def _bucket(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots and dashes, as names of buckets are")
    return name


def _several(value: object) -> object:
    """One alone is as a list of one."""
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_several)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
PROFILE = "Profile of ~/.aws/config; by default AWS_PROFILE, else whatever credentials there are."


class S3Settings(BaseModel):
    """`settings: {s3: {...}}` of the user's config."""

    model_config = ConfigDict(extra="forbid")

    profile: str | None = Field(None, description=PROFILE, json_schema_extra={**ASKED, **HERE})
    region: str | None = Field(
        None, description="The bucket's region; by default the profile's.", json_schema_extra=ASKED
    )
    bucket: Annotated[str, AfterValidator(_bucket)] | None = Field(
        None,
        description="The bucket. `dstack config` makes one that does not exist.",
        json_schema_extra=ASKED,
    )
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "", max_length=400, pattern=r"^[A-Za-z0-9._=+/-]*$", description="Folder of the bucket that dstack keeps to."
    )
    endpoint_url: Endpoint | None = Field(
        None, description="Another server that speaks S3: MinIO, Ceph, R2, SeaweedFS. By default AWS."
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="Where the bucket's name is in a URL; `auto`: in the path unless the server is AWS."
    )
    expected_bucket_owner: str | None = Field(
        None, pattern=r"^\d{12}$", description="Account that the bucket must belong to: requests to another's fail."
    )
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None, description="Encryption that each object asks for; by default the bucket's own."
    )
    kms_key: str | None = Field(None, description="Key of the encryption; by default the one of AWS for S3.")
    patience: float = Field(
        PATIENCE, ge=0, le=3600, description="Seconds to go on trying while the store fails or does not answer."
    )

    @classmethod
    def suggestions(cls, field: str, given: Mapping[str, Any]) -> Sequence[str]:
        """See `dstack_core.setup.SupportsSuggestions`."""
        from dstack_aws.suggesting import suggest

        return suggest("s3", "s3", field, given)


class SecretsManagerSettings(BaseModel):
    """`settings: {secrets-manager: {...}}` of the user's config."""

    model_config = ConfigDict(extra="forbid")

    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "dstack", min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._=+@/-]*$", description="How all names begin."
    )
    profile: str | None = Field(None, description=PROFILE, json_schema_extra={**ASKED, **HERE})
    region: str | None = Field(None, description="The region; by default the profile's.", json_schema_extra=ASKED)
    endpoint_url: Endpoint | None = Field(None, description="Another server with this API; by default AWS.")
    kms_key: str | None = Field(None, description="Key that encrypts new secrets; by default the one of AWS.")
    patience: float = Field(
        PATIENCE, ge=0, le=3600, description="Seconds to go on trying while the service fails or does not answer."
    )

    @classmethod
    def suggestions(cls, field: str, given: Mapping[str, Any]) -> Sequence[str]:
        """See `dstack_core.setup.SupportsSuggestions`."""
        from dstack_aws.suggesting import suggest

        return suggest("secrets-manager", "secretsmanager", field, given)


class Ec2Settings(BaseModel):
    """`settings: {ec2: {...}}` of the user's config."""

    model_config = ConfigDict(extra="forbid")

    profile: str | None = Field(None, description=PROFILE, json_schema_extra={**ASKED, **HERE})
    regions: Names = Field(
        [],
        description="Regions to look for machines in, best first; by default the profile's.",
        json_schema_extra=ASKED,
    )
    zones: Names = Field([], description="Their only zones to use, e.g. us-east-1a; by default all.")
    instance_types: Names = Field([], description="The only types to use: names, or patterns like g5.*; else all.")
    endpoint_url: Endpoint | None = Field(None, description="Another server with this API; by default AWS.")
    subnet: str | None = Field(
        None, pattern=r"^subnet-[0-9a-f]+$", description="Subnet of the machines; else the default one of a zone."
    )
    security_group: str = Field(
        "dstack", description="Their security group, by name or id; made by `dstack aws setup`. Empty: the default one."
    )
    instance_profile: str = Field(
        "dstack", description="Their instance profile, by name; made by `dstack aws setup`. Empty: none."
    )
    ami: str | None = Field(
        None, description="Image of machines: ami-..., a parameter that has it, or OWNER/NAME*; by default Ubuntu."
    )
    gpu_ami: str | None = Field(
        None, description="The same for machines with GPUs; by default Ubuntu with NVIDIA's driver, from AWS."
    )
    ssh_from: Annotated[str, AfterValidator(_source)] = Field(
        ASK,
        description="Who reaches jobs: an address, a network, or a URL that says which address you have.",
        json_schema_extra=HERE,
    )
    ssh_to: Literal["public", "private"] = Field(
        "public",
        description="Which address of a machine is used for that; private needs a VPN.",
        json_schema_extra=HERE,
    )
    disk: int = Field(100, ge=8, le=16000, description="GB of a machine's disk, if a job does not ask for more.")
    disk_price: float | None = Field(None, ge=0, description="USD for a GB of disk and month; else the list price.")
    prices: dict[str, float] = Field({}, description="USD per hour by type, where it is not the list price.")
    patience: float = Field(
        PATIENCE, ge=0, le=3600, description="Seconds to go on trying while AWS fails or does not answer."
    )

    @classmethod
    def suggestions(cls, field: str, given: Mapping[str, Any]) -> Sequence[str]:
        """See `dstack_core.setup.SupportsSuggestions`."""
        from dstack_aws.suggesting import suggest

        return suggest("ec2", "ec2", "region" if field == "regions" else field, given)
