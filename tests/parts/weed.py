"""SeaweedFS as a server of S3: on disk, with signatures, conditions and checksums. One bucket for all tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from shared_server import Server, shared

KEY, SECRET, BUCKET = "test-key", "test-secret", "dstack-test"
OFFSETS = (0, 1, 2, 3, 10_000, 10_001, 10_002, 10_003)
"""Of S3, master, volume and filer, and of the second port that each opens."""


@dataclass(frozen=True)
class S3Server:
    """Where a server of S3 is, and who may use its bucket."""

    endpoint: str
    bucket: str = BUCKET
    key: str = KEY
    secret: str = SECRET

    @property
    def environ(self) -> dict[str, str]:
        """Credentials, and nothing of the developer's own."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip

    def client(self, service: str = "s3") -> Any:
        """The SDK's, with its own habits: a witness."""
        import botocore.session
        from botocore.config import Config

        session = botocore.session.Session()
        session.set_credentials(self.key, self.secret)
        config = Config(s3={"addressing_style": "path"})
        return session.create_client(service, region_name="us-east-1", endpoint_url=self.endpoint, config=config)


def command(folder: Path, port: int) -> list[str]:
    (folder / "data").mkdir()
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    identities = {"identities": [{"name": "test", "credentials": credentials, "actions": ["Admin"]}]}
    (folder / "ids.json").write_text(json.dumps(identities))
    program = str(Path(sys.executable).with_name("weed"))
    return [
        program, "mini", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={port}",
        f"-s3.config={folder}/ids.json", f"-master.port={port + 1}", f"-volume.port={port + 2}",
        f"-filer.port={port + 3}", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip


def start_weed() -> Server:
    """Until it has a bucket."""
    server = Server("weed", command, OFFSETS)
    server.await_answer(has_bucket)
    return server


def has_bucket(port: int) -> bool:
    client = S3Server(f"http://127.0.0.1:{port}").client()
    try:
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"")  # its disks come later than its port
    except Exception as error:
        return "BucketAlready" in str(error)
    return True


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server of S3 that heeds conditions."""
    with shared(tmp_path_factory, "weed", start_weed) as port:
        yield S3Server(f"http://127.0.0.1:{port}")
