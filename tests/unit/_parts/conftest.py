"""The harness that these tests are about."""

from aws_box import aws, aws_box

__all__ = ["aws", "aws_box"]
