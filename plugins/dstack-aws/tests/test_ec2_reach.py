"""Who is let in to machines of EC2, and what becomes of the rules that let them in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aws_box import Account
from dstack_aws.ec2_backend import Ec2Backend
from dstack_aws.ec2_caller import caller
from dstack_aws.settings import Ec2Settings
from ec2_settings import settings_of
from pydantic import ValidationError

from dstack_core.errors import ReachError

TAGS = [{"Key": "dstack:machine", "Value": "0-ab"}, {"Key": "dstack:run", "Value": "run-1"},
        {"Key": "dstack:store", "Value": "store-1"}]  # fmt: skip


@pytest.fixture
def answer() -> Iterator[list[str]]:
    """What a service that tells addresses says: the first of it. Its URL is the second."""
    said = [""]

    class Tells(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said[0].encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Tells)
    said.append(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield said
    server.shutdown()
    server.server_close()


def test_the_callers_address_is_asked_for(answer):
    answer[0] = "198.51.100.7\n"
    assert caller(answer[1]) == "198.51.100.7/32"
    for wrong in ("", "2001:db8::1", "0.0.0.0/0", "<html>", "198.51.100.7 198.51.100.8"):
        answer[0] = wrong
        with pytest.raises(ReachError) as failure:
            caller(answer[1])
        assert "ssh_from" in failure.value.hint
    with pytest.raises(ReachError, match="does not say which address you have"):
        caller("http://127.0.0.1:9")


def test_settings_let_in_whom_they_name_but_never_everybody():
    for text, network in (("198.51.100.7", "198.51.100.7/32"), ("198.51.100.9/29", "198.51.100.8/29")):
        assert Ec2Settings(ssh_from=text).ssh_from == network
        assert caller(text) == network
    assert Ec2Settings(ssh_from="https://ip.example.org").ssh_from == "https://ip.example.org"
    for wrong in ("0.0.0.0/0", "10.0.0.0/8", "everybody", "", "ftp://example.org", "::/0"):
        with pytest.raises(ValidationError):
            Ec2Settings(ssh_from=wrong)


@pytest.fixture
def group(aws: Account) -> str:
    found = aws.client("ec2").describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    return str(found[0]["GroupId"])


@pytest.fixture
def backend(aws: Account, monkeypatch: pytest.MonkeyPatch) -> Ec2Backend:
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    instance = aws.launch(TagSpecifications=[{"ResourceType": "instance", "Tags": TAGS}])
    aws.wait_for_state(instance, "running")
    yield Ec2Backend(settings_of(aws, ssh_from="198.51.100.7"))
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def rules(aws: Account, group: str) -> list[dict[str, Any]]:
    found = aws.client("ec2").describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    return [rule for rule in found["SecurityGroupRules"] if not rule["IsEgress"]]


def test_a_rule_is_for_one_port_and_one_caller_and_is_labelled(aws, backend, group):
    before = rules(aws, group)
    with backend.reach("0-ab", None, 2222) as address, backend.reach("0-ab", None, 2222) as same:
        assert same == address
        (rule,) = [one for one in rules(aws, group) if one not in before]
        assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 2222, 2222)
        assert rule["CidrIpv4"] == "198.51.100.7/32"
        tags = {tag["Key"]: tag["Value"] for tag in rule["Tags"]}
        assert {"Key": "dstack:user", "Value": tags.pop("dstack:user")} in rule["Tags"]
        assert [{"Key": key, "Value": value} for key, value in tags.items()] == TAGS
        (left,) = [one for one in backend.leftovers() if one.kind == "rule"]
        assert (left.machine, left.run, left.store) == ("0-ab", "run-1", "store-1")
    assert rules(aws, group) == before


def test_a_rule_of_somebody_killed_serves_and_is_left_to_the_sweep(aws, backend, group):
    before = rules(aws, group)
    way = backend.reach("0-ab", None, 2222)
    way.__enter__()  # and nobody leaves
    other = Ec2Backend(settings_of(aws, ssh_from="198.51.100.7"))
    with other.reach("0-ab", None, 2222):
        pass
    (left,) = [one for one in other.leftovers() if one.kind == "rule"]
    other.end(left)
    other.end(left)
    assert rules(aws, group) == before


def test_what_stands_in_the_way_is_said(aws, backend):
    with backend.reach("0-ab", None, 2222) as address:
        public = address.host
    full = aws.fault("AuthorizeSecurityGroupIngress", "RulesPerSecurityGroupLimitExceeded")
    with pytest.raises(ReachError, match="no room for a rule"), backend.reach("0-ab", None, 2222):
        pass
    aws.lift(full)
    private = Ec2Backend(settings_of(aws, ssh_to="private"))
    with private.reach("0-ab", None, 2222) as address:
        assert address.host not in ("", public)
    with pytest.raises(ReachError, match="not there any more"), backend.reach("0-other", None, 2222):
        pass
