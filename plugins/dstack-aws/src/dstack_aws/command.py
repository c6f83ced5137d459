"""`dstack aws`: prepares an account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dstack_aws.policies import Scope

remote_option = click.option("-r", "--remote", metavar="NAME", help="With the settings of this remote.")


@click.group()
def aws() -> None:
    """Prepare an AWS account: roles, a security group, policies."""


@aws.command()
@click.argument("what", type=click.Choice(["setup", "use", "machine"]), default="use")
@remote_option
def policy(what: str, remote: str | None) -> None:
    """Print the least IAM policy as JSON: for who sets up, for who uses dstack (by default), or for its machines."""
    from dstack_aws import policies

    makers = {"setup": policies.setup, "use": policies.use, "machine": policies.machine}
    click.echo(json.dumps(makers[what](_scope(remote, _ec2(remote))), indent=2))


@aws.command()
@remote_option
def setup(remote: str | None) -> None:
    """Make the role, the instance profile and the security group that machines have.

    May be given again at any time: what is there already stays. Nothing lets anybody in: machines only call out.
    """
    from dstack_aws.account import PATIENCE, Account
    from dstack_aws.account_setup import Setup, make_group
    from dstack_aws.ec2_backend import account_of
    from dstack_aws.ec2_region import Region, region_names
    from dstack_core.errors import InputError

    given = _ec2(remote)
    scope = _scope(remote, given)
    if scope.bucket == "BUCKET":
        raise InputError("no bucket is set that machines could use", hint="dstack config set settings.s3.bucket NAME")
    account: Account = account_of(given)
    patience = float(given.get("patience", PATIENCE))
    for line in Setup(account, scope, patience).role():
        click.echo(line)
    group, subnet = str(given.get("security_group", "dstack")), given.get("subnet")
    if group and not group.startswith("sg-"):
        names = region_names(account, given.get("regions") or ())
        for name in names[:1] if subnet else names:
            for line in make_group(Region(account, name, patience), group, subnet):
                click.echo(line)


def _ec2(remote: str | None) -> Mapping[str, Any]:
    from dstack_core.settings import configured

    return configured("ec2", _model("Ec2Settings"), remote)


def _scope(remote: str | None, ec2: Mapping[str, Any]) -> Scope:
    from dstack_aws.ec2_network import PROFILE
    from dstack_aws.policies import Scope
    from dstack_core.settings import configured

    s3 = configured("s3", _model("S3Settings"), remote)
    secrets = configured("secrets-manager", _model("SecretsManagerSettings"), remote)
    region = str((ec2.get("regions") or [""])[0])
    partition = next((f"aws-{kind}" for kind in ("cn", "us-gov") if region.startswith(f"{kind}-")), "aws")
    bucket, prefix = str(s3.get("bucket") or "BUCKET"), str(s3.get("prefix") or "")
    profile = str(ec2.get("instance_profile", PROFILE)) or PROFILE
    return Scope(bucket, prefix, str(secrets.get("prefix") or "dstack"), profile, partition)


def _model(name: str) -> Any:
    def load() -> Any:
        from dstack_aws import settings

        return getattr(settings, name)

    return load
