"""The parts that these tests are about."""

from aws_box import aws, aws_box
from browser import browser

__all__ = ["aws", "aws_box", "browser"]
