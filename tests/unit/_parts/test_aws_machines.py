"""Instances of the emulated AWS are machines that live, run what they are given, and end."""

from __future__ import annotations

import gzip
import socketserver
import threading
from collections.abc import Iterator

import pytest
from aws_box import Account, Box
from docker_archives import keep_archive
from docker_images import busybox_files

SLEEPER = "#!/bin/bash\necho up\n"


def up(aws: Account, *, script: str = SLEEPER, **parameters: object) -> str:
    """An instance that runs, and has printed `up`."""
    instance = aws.launch(script, **parameters)
    aws.wait_for_state(instance, "running")
    aws.wait_for(lambda: "up\n" in aws.console(instance), "the user data to run", instance)
    return instance


def test_user_data_runs_as_root_and_shutdown_terminates(aws: Account):
    instance = aws.launch(
        "#!/bin/bash\necho hello from $(id -un) at $AWS_ENDPOINT_URL ${HOME-homeless}\nshutdown -h now\n"
    )
    assert aws.instance(instance)["State"]["Name"] in ("pending", "running")
    gone = aws.wait_for_state(instance, "terminated")
    assert f"hello from root at {aws.box.address} homeless" in aws.console(instance)
    assert gone["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    output = aws.client("ec2").get_console_output(InstanceId=instance)["Output"]
    assert "hello from root" in output


def test_shutdown_may_stop_and_the_disk_stays(aws: Account):
    script = "#!/bin/sh\necho kept > /root/note\necho up\n"
    instance = up(aws, script=script, InstanceInitiatedShutdownBehavior="stop")
    aws.run(instance, "poweroff")
    aws.wait_for_state(instance, "stopped")
    aws.client("ec2").start_instances(InstanceIds=[instance])
    aws.wait_for_state(instance, "running")
    assert aws.run(instance, "cat", "/root/note").out == "kept\n"
    assert aws.console(instance).count("up\n") == 1  # user data runs on the first boot only
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_terminate_kills_at_once_what_ignores_its_signals(aws: Account):
    instance = up(aws, script="#!/bin/bash\ntrap '' TERM\necho up\nwhile :; do sleep 1000; done\n")
    (change,) = aws.client("ec2").terminate_instances(InstanceIds=[instance])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "shutting-down"
    gone = aws.wait_for_state(instance, "terminated")
    assert gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    aws.client("ec2").terminate_instances(InstanceIds=[instance])  # again: nothing happens
    assert aws.instance(instance)["State"]["Name"] == "terminated"
    assert aws.leftovers() == []


def test_terminate_while_it_boots(aws: Account):
    instance = aws.launch(SLEEPER)
    aws.client("ec2").terminate_instances(InstanceIds=[instance])
    aws.wait_for_state(instance, "terminated")


def test_stop_lets_the_machine_save_its_things(aws: Account):
    script = "#!/bin/bash\ntrap 'echo saved; exit' TERM\necho up\nwhile :; do sleep 0.1; done\n"
    instance = up(aws, script=script)
    aws.client("ec2").stop_instances(InstanceIds=[instance])
    aws.wait_for_state(instance, "stopped")
    assert "saved\n" in aws.console(instance)
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


@pytest.mark.parametrize("by", ["the machine", "the cloud"])
def test_a_reboot_runs_what_is_to_run_at_each_boot(aws: Account, by: str):
    at_boot = "/var/lib/cloud/scripts/per-boot/50-count"
    script = f"#!/bin/bash\nprintf '#!/bin/sh\\necho booted\\n' > {at_boot}\nchmod +x {at_boot}\necho up\n"
    instance = up(aws, script=script)
    if by == "the machine":
        aws.run(instance, "reboot")
    else:
        aws.client("ec2").reboot_instances(InstanceIds=[instance])
    aws.wait_for(lambda: "booted\n" in aws.console(instance), "the second boot", instance)
    assert aws.wait_for_state(instance, "running")
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_a_shutdown_is_planned_and_cancelled(aws: Account):
    instance = aws.launch("#!/bin/bash\nshutdown -P +60\nshutdown -c\nshutdown -h +0\n")
    aws.wait_for_state(instance, "terminated")
    assert "'delay': 3600.0" in aws.console(instance)


def test_docker_runs_a_container_that_does_not_reach_the_metadata(aws: Account, aws_box: Box):
    archive = keep_archive(aws_box.images, "box-busybox", busybox_files())
    image = aws.image(images=(archive,))
    options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    instance = up(aws, ImageId=image, MetadataOptions=options)
    hello = ["docker", "run", "--rm", "box-busybox", "echo", "hello from inside"]
    assert aws.run(instance, *hello).out == "hello from inside\n"
    job = ["docker", "run", "--rm", "-v", "/:/host:ro", "box-busybox", "chroot", "/host"]
    ask = ["curl", "-s", "-m", "2", "-w", "%{http_code}", "http://169.254.169.254/latest/meta-data/instance-id"]
    assert aws.run(instance, *job, *ask).out == "401"
    header = ["-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"]
    token = ["curl", "-s", "-m", "2", *header, "http://169.254.169.254/latest/api/token"]
    assert aws.run(instance, *token).code == 0
    assert aws.run(instance, *job, *token).code == 28  # the answer dies on the way: one hop too many
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_an_image_without_an_engine(aws: Account):
    instance = up(aws, ImageId=aws.image(docker=False))
    assert aws.run(instance, "docker", "ps").code != 0
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server on this machine that sends back what it gets."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65536):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


TALK = """
import socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=float(sys.argv[2]))
size = int(sys.argv[3])
threading.Thread(target=s.sendall, args=(bytes(size),), daemon=True).start()
got = 0
while got < size:
    got += len(s.recv(1 << 20))
print(got)
"""


def test_a_machine_reaches_a_server_here_until_its_cable_is_pulled(aws: Account, echo: int):
    aws.boot({"GREETING": "good morning"}, ports=(echo,))
    instance = up(aws, script="#!/bin/sh\necho $GREETING\necho up\n")
    talk = ["python3", "-c", TALK, str(echo)]
    assert aws.run(instance, *talk, "30", "50000000").out == "50000000\n"
    aws.plug(instance, plugged=False)
    assert "imed out" in aws.run(instance, *talk, "1", "10").out
    aws.plug(instance, plugged=True)
    assert aws.run(instance, *talk, "30", "10").out == "10\n"
    assert "good morning" in aws.console(instance)
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_machines_reach_nothing_else(aws: Account, echo: int):
    instance = up(aws)
    for address in ("127.0.0.1", "172.31.0.1", "192.0.2.1"):
        assert aws.run(instance, "curl", "-sm", "1", f"http://{address}:{echo}/").code in (7, 28)
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_a_host_fails(aws: Account):
    instance, silent = up(aws), up(aws)
    aws.lose(instance)
    assert aws.wait_for_state(instance, "terminated")["StateReason"]["Code"] == "Server.InternalError"
    aws.lose(silent, told=False)
    assert aws.instance(silent)["State"]["Name"] == "running"
    aws.client("ec2").terminate_instances(InstanceIds=[silent])
    aws.wait_for_state(silent, "terminated")


def test_a_clock_goes_wrong(aws: Account):
    aws.boot(clock="+10y")
    instance = up(aws)
    wrong = int(aws.run(instance, "sh", "-c", "FAKETIME_NO_CACHE=1 date +%Y").out)
    aws.run(instance, "sh", "-c", "echo +20y > /etc/faketimerc")
    assert int(aws.run(instance, "sh", "-c", "FAKETIME_NO_CACHE=1 date +%Y").out) in (wrong + 10, wrong + 11)
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_gzipped_user_data(aws: Account):
    data = gzip.compress(b"#!/bin/bash\necho up\nshutdown now\n")
    ec2 = aws.client("ec2")
    made = ec2.run_instances(
        ImageId=aws.image_id, MinCount=1, MaxCount=1, UserData=data, InstanceInitiatedShutdownBehavior="terminate"
    )
    instance = made["Instances"][0]["InstanceId"]
    aws.wait_for_state(instance, "terminated")
    assert "up\n" in aws.console(instance)


def test_what_is_left_is_found(aws_box: Box):
    account = aws_box.account()
    instance = account.launch(SLEEPER, InstanceMarketOptions={"MarketType": "spot"})
    volume = account.client("ec2").create_volume(Size=1, AvailabilityZone="us-east-1a")["VolumeId"]
    address = account.client("ec2").allocate_address(Domain="vpc")["PublicIp"]
    account.wait_for_state(instance, "running")
    left = "\n".join(account.leftovers())
    for kind in (f"{instance} is running", f"volume {volume}", f"address {address}", "spot request", "machine i-"):
        assert kind in left
    account.box.tell("empty", account=account.id)
    account.close()
