"""AWS for tests: an emulator that boots every instance, and an account of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import cloud_image
import pytest
from botocore.config import Config
from cloud_control import tell
from cloud_shared import shared

from dstack_core.testing.waiting import until

PATIENCE = 120.0
REGION = "us-east-1"
SERVER = Path(__file__).with_name("aws_server.py")
T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """How a command on a machine ended."""

    code: int
    out: str


class Box:
    """The emulator."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.address: str = about["address"]
        self.images = Path(about["images"])
        """Where `docker_archives` are that machines can load; `Account.image` names those that they do."""
        self.folder = Path(about["folder"])

    def tell(self, verb: str, **arguments: Any) -> Any:
        return tell(self.address, verb, **arguments)

    def account(self, region: str = REGION) -> Account:
        return Account(self, self.tell("account", region=region))


class Account:
    """One account, and what a test does in it, to it, and to its machines."""

    def __init__(self, box: Box, about: dict[str, str]) -> None:
        self.box = box
        self.id = about["account"]
        self.region = about["region"]
        self.key = about["key"]
        self.secret = about["secret"]
        self.image_id = about["image"]

    # --- as its user ---

    @property
    def environ(self) -> dict[str, str]:
        """Variables that make any AWS SDK speak to it, as its user."""
        return {
            "AWS_ENDPOINT_URL": self.box.address,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client. It tries each call once only, unless a test says otherwise."""
        options = {"config": Config(retries={"total_max_attempts": 1}), **options}
        return boto3.client(
            service, endpoint_url=self.box.address, region_name=options.pop("region_name", self.region),
            aws_access_key_id=options.pop("key", self.key), aws_secret_access_key=options.pop("secret", self.secret),
            **options,
        )  # fmt: skip

    def launch(self, user_data: str = "", **parameters: Any) -> str:
        """The id of a new instance, small and ended by its own shutdown unless told otherwise."""
        parameters = {
            "ImageId": self.image_id, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1,
            "InstanceInitiatedShutdownBehavior": "terminate", "UserData": user_data, **parameters,
        }  # fmt: skip
        return str(self.client("ec2").run_instances(**parameters)["Instances"][0]["InstanceId"])

    def instance(self, name: str) -> dict[str, Any]:
        """As DescribeInstances tells it."""
        (found,) = self.client("ec2").describe_instances(InstanceIds=[name])["Reservations"]
        return dict(found["Instances"][0])

    def wait_for_state(self, name: str, state: str) -> dict[str, Any]:
        self.wait_for(lambda: self.instance(name)["State"]["Name"] == state, f"{name} to be {state}", name)
        return self.instance(name)

    def wait_for(self, condition: Callable[[], T], what: str, name: str = "") -> T:
        return until(condition, what, PATIENCE, pause=0.05, story=lambda: self.console(name) if name else "")

    # --- how machines are made ---

    def boot(self, environment: dict[str, str] | None = None, ports: tuple[int, ...] = (),
             clock: str | None = None) -> None:  # fmt: skip
        """Later machines get these variables in their environment, reach these ports of the test's machine at the same
        address (127.0.0.1), and live at another time (`+1h`, as libfaketime takes it)."""
        self._tell("settings", environment=environment or {}, ports=ports, clock=clock)

    def image(self, name: str = "box", docker: bool = True, images: tuple[str, ...] = (), parameter: str = "",
              architecture: str = "x86_64", nvidia: bool = False) -> str:  # fmt: skip
        """Another image: with or without a Docker engine that runs, with images in it, with a stand-in for what
        NVIDIA's toolkit adds to an engine, found by an SSM parameter."""
        options = {"name": name, "docker": docker, "images": images, "parameter": parameter, "nvidia": nvidia}
        options["architecture"] = architecture
        return str(self._tell("image", region=self.region, **options))

    # --- faults of calls ---

    def fault(self, action: str, code: str = "", **what: Any) -> str:
        """Arrange a fault, see `cloud_faults.Fault`; its name."""
        return str(self._tell("fault", action=action, code=code, **what))

    def met(self, fault: str) -> int:
        """How many calls a fault has met."""
        return int(self.box.tell("met", fault=fault))

    def lift(self, fault: str) -> int:
        """End a fault and let go of the calls that it holds; how many it has met."""
        return int(self.box.tell("lift", fault=fault))

    def expire(self, key: str = "") -> None:
        """Make an access key one whose token has run out."""
        self.box.tell("expire", key=key or self.key)

    def set_price(self, kind: str, price: float, zone: str = "") -> None:
        """Spot price of an instance type, in dollars per hour."""
        self._tell("price", kind=kind, price=price, zone=zone)

    def set_quota(self, code: str, value: float) -> None:
        """How many vCPUs of the machines of this quota the account may have, in every region."""
        self._tell("quota", code=code, value=value)

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """All calls in this account: fields of `cloud_events.Call`."""
        return list(self._tell("events", after=after))

    # --- what happens to machines ---

    def lose(self, instance: str, told: bool = True) -> None:
        """The host fails: no notice, nothing is saved. `told` False: AWS goes on saying that it runs."""
        self.box.tell("lose", instance=instance, told=told)

    def warn(self, instance: str, seconds: float) -> None:
        """A spot notice, and so many seconds later the end."""
        self.box.tell("warn", instance=instance, seconds=seconds)

    def reclaim(self, instance: str) -> None:
        """A spot instance is taken without notice."""
        self.box.tell("reclaim", instance=instance)

    def plug(self, instance: str, plugged: bool) -> None:
        """Pull an instance's network cable, or plug it in again."""
        self.box.tell("plug", instance=instance, plugged=plugged)

    def cut(self, instance: str, cut: bool) -> None:
        """Let nothing through between this machine and an instance, nor tell anybody; what else it reaches it reaches
        still. Or let it through again."""
        self.box.tell("cut", instance=instance, cut=cut)

    def ways(self, instance: str) -> list[list[Any]]:
        """Addresses (host, port) of this machine that lead to ports of an instance: as its groups' rules say, or as the
        backend of `elsewhere` has asked for."""
        return list(self.box.tell("ways", instance=instance))

    def run(self, instance: str, *command: str) -> Done:
        """Run a command on an instance, as root, whatever its network does."""
        return Done(**self.box.tell("run", instance=instance, command=command))

    def console(self, instance: str) -> str:
        """What an instance has said, what user data printed included; also when it is gone."""
        return str(self.box.tell("console", instance=instance))

    # --- the end ---

    def leftovers(self) -> list[str]:
        """What is left that costs money, and machines that still exist."""
        return list(self._tell("leftovers"))

    def close(self, check: bool = True) -> None:
        """End what is left; with `check`, fail if there was anything."""
        try:
            if check:
                what, story = "the account to be empty", lambda: f"left: {self.leftovers()}"
                until(lambda: not self.leftovers(), what, PATIENCE, pause=0.05, story=story)
        finally:
            self._tell("empty")

    def _tell(self, verb: str, **arguments: Any) -> Any:
        return self.box.tell(verb, account=self.id, **arguments)


@pytest.fixture(scope="session")
def aws_box(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Box]:
    """The emulator that all workers share."""
    cloud_image.require_programs()
    cloud_image.disk()  # here, where it may take its time
    base = tmp_path_factory.getbasetemp()
    with shared(base if worker_id == "master" else base.parent, SERVER) as about:
        yield Box(about)


@pytest.fixture
def aws(aws_box: Box, request: pytest.FixtureRequest) -> Iterator[Account]:
    """An account that nobody else uses. It must be empty in the end, unless the test failed anyway."""
    account = aws_box.account()
    failed = request.session.testsfailed
    yield account
    account.close(check=request.session.testsfailed == failed)
