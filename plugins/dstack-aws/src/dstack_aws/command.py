"""`dstack aws`: prepares an account."""

from __future__ import annotations

import json

import click

remote_option = click.option("-r", "--remote", metavar="NAME", help="With the settings of this remote.")


@click.group()
def aws() -> None:
    """Prepare an AWS account: roles, a security group, policies."""


@aws.command()
@click.argument("what", type=click.Choice(["setup", "use", "machine"]), default="use")
@remote_option
def policy(what: str, remote: str | None) -> None:
    """Print the least IAM policy as JSON: for who sets up, for who uses dstack (by default), or for its machines."""
    from dstack_aws.policies import MAKERS
    from dstack_aws.policy_scope import scope_of

    click.echo(json.dumps(MAKERS[what](scope_of(remote)), indent=2))


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
    from dstack_aws.policy_scope import ec2_settings, scope_of
    from dstack_core.errors import InputError

    given = ec2_settings(remote)
    scope = scope_of(remote)
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
