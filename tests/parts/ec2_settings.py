"""What tests of the backend `ec2` share."""

from __future__ import annotations

from typing import Any

from aws_box import Account

SMALL = "t3.small"


def settings_of(account: Account, **more: Any) -> dict[str, Any]:
    """Of the backend in an account that was not set up. One type: the emulator is slow to list all."""
    return {"instance_types": [SMALL], "ami": account.image_id, "gpu_ami": account.image_id, "security_group": "",
            "instance_profile": "", "patience": 5, "ssh_from": "127.0.0.1", **more}  # fmt: skip
