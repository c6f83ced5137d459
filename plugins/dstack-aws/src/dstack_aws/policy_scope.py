"""What the policies of a remote are about, by the user's config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dstack_aws.ec2_network import GROUP, PROFILE
from dstack_aws.policies import Scope
from dstack_core.settings import configured, machines_launch


def ec2_settings(remote: str | None) -> Mapping[str, Any]:
    """Of the backend, as a remote has them. Raises as `configured` does."""
    return configured("ec2", _model("Ec2Settings"), remote)


def scope_of(remote: str | None) -> Scope:
    """Of a remote, by default the user's default one. Raises as `configured` does."""
    ec2 = ec2_settings(remote)
    s3 = configured("s3", _model("S3Settings"), remote)
    secrets = configured("secrets-manager", _model("SecretsManagerSettings"), remote)
    region = str((ec2.get("regions") or [""])[0])
    partition = next((f"aws-{kind}" for kind in ("cn", "us-gov") if region.startswith(f"{kind}-")), "aws")
    bucket, prefix = str(s3.get("bucket") or "BUCKET"), str(s3.get("prefix") or "")
    key = str(s3.get("kms_key") or "")
    profile = str(ec2.get("instance_profile", PROFILE)) or PROFILE
    secret_prefix = str(secrets.get("prefix") or "dstack")
    group = str(ec2.get("security_group", GROUP)) or GROUP
    return Scope(bucket, prefix, secret_prefix, profile, partition, machines_launch(remote), group, key)


def _model(name: str) -> Any:
    def load() -> Any:
        from dstack_aws import settings

        return getattr(settings, name)

    return load
