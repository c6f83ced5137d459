"""The least that dstack must be allowed in an account, as IAM policies: to set it up, to use it, and on its machines.

Actions and the conditions that they know: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dstack_aws.ec2_request import MACHINE

Statement = dict[str, Any]
NAME: Final = "dstack"
"""Of the role, the instance profile, the security group and the role's policy, unless the settings say otherwise."""
TRUST: Final[Mapping[str, Any]] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
"""Who may be the role: machines of EC2."""
LABELLED: Final = {"Null": {f"aws:ResourceTag/{MACHINE}": "false"}}
"""What has a machine's label, and nothing else."""


@dataclass(frozen=True)
class Scope:
    """What policies are about.

    Attributes:
        bucket, prefix: the bucket, and its folder.
        secrets: how the names of secrets begin.
        profile: name of the machines' role and instance profile.
        launches: whether machines launch others.
        group: the machines' security group, by its tag `Name` or its id.
        key: the key that encrypts what is in the bucket, if one is set: its name of AWS, id or alias.
    """

    bucket: str = "BUCKET"
    prefix: str = ""
    secrets: str = "dstack"
    profile: str = NAME
    partition: str = "aws"
    launches: bool = True
    group: str = NAME
    key: str = ""

    def arn(self, service: str, resource: str, account: str = "*", region: str = "*") -> str:
        """A name of AWS."""
        return f"arn:{self.partition}:{service}:{region}:{account}:{resource}"


def use(scope: Scope) -> dict[str, Any]:
    """For whoever submits runs: launch, look at and end machines; use the store; keep secrets."""
    secrets = ["CreateSecret", "UpdateSecret", "DescribeSecret", "DeleteSecret", "RestoreSecret", "GetSecretValue"]
    ending = ["DeleteVolume", "ReleaseAddress", "CancelSpotInstanceRequests"]
    looking = ["DescribeVolumes", "DescribeAddresses", "DescribeSpotInstanceRequests", "DescribeSecurityGroupRules"]
    return _policy(
        *_machines(scope),
        _allow("EndLeftovers", [f"ec2:{name}" for name in ending], "*", LABELLED),
        _allow("FindLeftovers", [f"ec2:{name}" for name in looking], "*"),
        *_reach(scope),
        *_store(scope),
        _allow("KeepSecrets", [f"secretsmanager:{name}" for name in secrets], _secrets(scope)),
        _allow("ListSecrets", ["secretsmanager:ListSecrets"], "*"),
    )


def machine(scope: Scope) -> dict[str, Any]:
    """For a machine: launch the next one of a run, as itself, if it may; use the store; read secrets."""
    looking = _allow("Look", ["ec2:DescribeInstances"], "*")
    return _policy(
        *(_machines(scope) if scope.launches else [looking, END]),
        *_store(scope),
        _allow("ReadSecrets", ["secretsmanager:GetSecretValue"], _secrets(scope)),
    )


def setup(scope: Scope) -> dict[str, Any]:
    """For whoever gives `dstack aws setup`, once."""
    role, profile = (scope.arn("iam", f"{kind}/{scope.profile}", region="") for kind in ("role", "instance-profile"))
    roles = ["CreateRole", "GetRole", "UpdateAssumeRolePolicy", "PutRolePolicy", "PassRole"]
    profiles = ["CreateInstanceProfile", "GetInstanceProfile", "AddRoleToInstanceProfile"]
    group = ["DescribeVpcs", "DescribeSubnets", "DescribeSecurityGroups", "CreateSecurityGroup"]
    created = {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}}
    return _policy(
        _allow("Role", [f"iam:{name}" for name in roles], role),
        _allow("Profile", [f"iam:{name}" for name in profiles], profile),
        _allow("Group", [f"ec2:{name}" for name in group], "*"),
        _allow("LabelGroup", ["ec2:CreateTags"], scope.arn("ec2", "security-group/*"), created),
    )


def _machines(scope: Scope) -> list[Statement]:
    """Launches are allowed only with a machine's label in the call, this profile, and no metadata without a token."""
    role = scope.arn("iam", f"role/{scope.profile}", region="")
    profile = scope.arn("iam", f"instance-profile/{scope.profile}", region="")
    labelled = {"Null": {f"aws:RequestTag/{MACHINE}": "false"}}
    careful = {
        **labelled,
        "ArnLike": {"ec2:InstanceProfile": profile},
        "StringEquals": {"ec2:MetadataHttpTokens": "required"},
    }
    made = [scope.arn("ec2", f"{kind}/*") for kind in ("volume", "network-interface", "spot-instances-request")]
    used = [scope.arn("ec2", f"{kind}/*") for kind in ("subnet", "security-group")]
    kinds = ["Images", "InstanceTypes", "InstanceTypeOfferings", "SpotPriceHistory", "Subnets", "SecurityGroups"]
    spot = scope.arn("iam", "role/aws-service-role/spot.amazonaws.com/*", region="")
    return [
        _allow(
            "Look",
            [
                *(f"ec2:Describe{kind}" for kind in ["Instances", *kinds]),
                "pricing:GetProducts",
                "servicequotas:ListServiceQuotas",
            ],
            "*",
        ),
        _allow("FindImage", ["ssm:GetParameter"], scope.arn("ssm", "parameter/aws/service/*")),
        _allow("Launch", ["ec2:RunInstances"], scope.arn("ec2", "instance/*"), careful),
        _allow("LaunchWith", ["ec2:RunInstances"], [*made, *used, scope.arn("ec2", "image/*", account="")]),
        _allow("Label", ["ec2:CreateTags"], "*", {"StringEquals": {"ec2:CreateAction": "RunInstances"}}),
        END,
        _allow("BeItself", ["iam:PassRole"], role, {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}),
        _allow("FirstSpot", ["iam:CreateServiceLinkedRole"], spot),
    ]


def _reach(scope: Scope) -> list[Statement]:
    """Rules for machines' ports: made with a machine's label only, in our group only; and no others are removed."""
    rules = scope.arn("ec2", "security-group-rule/*")
    by_id = scope.group.startswith("sg-")
    group = scope.arn("ec2", f"security-group/{scope.group if by_id else '*'}")
    ours = None if by_id else {"StringEquals": {"aws:ResourceTag/Name": scope.group}}
    change = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
    labelled = {"Null": {f"aws:RequestTag/{MACHINE}": "false"}}
    made = {"StringEquals": {"ec2:CreateAction": "AuthorizeSecurityGroupIngress"}}
    return [
        _allow("ChangeGroup", change, group, ours),
        _allow("LetIn", change[:1], rules, labelled),
        _allow("LetInNoMore", change[1:], rules, LABELLED),
        _allow("LabelRule", ["ec2:CreateTags"], rules, made),
    ]


def _store(scope: Scope) -> list[Statement]:
    bucket = f"arn:{scope.partition}:s3:::{scope.bucket}"
    folder = f"{bucket}/{scope.prefix}/*" if scope.prefix else f"{bucket}/*"
    objects = ["GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"]
    return [
        _allow("Objects", [f"s3:{name}" for name in objects], folder),
        _allow("Bucket", ["s3:ListBucket", "s3:ListBucketMultipartUploads"], bucket),
        *([_key(scope)] if scope.key else []),
    ]


def _key(scope: Scope) -> Statement:
    """An upload in parts needs both rights."""
    rights, name = ["kms:Decrypt", "kms:GenerateDataKey"], scope.key.rpartition(":")[2]
    if name.startswith("alias/"):
        # No policy can name a key by its alias.
        named = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": name}}
        return _allow("Key", rights, scope.arn("kms", "key/*"), named)
    return _allow("Key", rights, scope.key if scope.key != name else scope.arn("kms", f"key/{name}"))


def _secrets(scope: Scope) -> str:
    return scope.arn("secretsmanager", f"secret:{scope.secrets}/*")


def _allow(sid: str, actions: Sequence[str], resource: Any, condition: Mapping[str, Any] | None = None) -> Statement:
    found: Statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {**found, "Condition": condition} if condition else found


def _policy(*statements: Statement) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


END: Final = _allow("End", ["ec2:TerminateInstances"], "*", LABELLED)
"""Machines of ours, among them one of the run that was given up."""

MAKERS: Final[Mapping[str, Callable[[Scope], dict[str, Any]]]] = {"setup": setup, "use": use, "machine": machine}
"""By who needs it."""
