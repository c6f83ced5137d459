"""The secret store `secrets-manager`: each secret is one of AWS Secrets Manager.

There the name tells the repository, so that a policy can give a repository's secrets and no others:
`arn:aws:secretsmanager:*:*:secret:dstack/OWNER/REPO/*`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from dstack_aws.account import PATIENCE, Account
from dstack_aws.calls import Calls
from dstack_aws.failures import Refused
from dstack_aws.secret_names import folder, names_in
from dstack_core.errors import InputError, NotFoundError, StoreError
from dstack_core.secret_store import SecretStore

LONGEST: Final = 65536
"""Bytes of a value."""
VARIABLE: Final = "AWS_ENDPOINT_URL_SECRETS_MANAGER"
MISSING: Final = "ResourceNotFoundException"
EXISTS: Final = "ResourceExistsException"
DELETED: Final = "InvalidRequestException"
"""Among others: the secret is scheduled for deletion."""
ROUNDS: Final = 20
"""So often to try to put a secret that others create and delete meanwhile, or whose deletion is not quite over: AWS
says neither when it will be."""


class SecretsManagerStore(SecretStore):
    """Secrets in AWS Secrets Manager. The settings are those of `dstack_aws.settings.SecretsManagerSettings`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        account = Account.of("secrets-manager", settings)
        endpoint = account.other_than_aws(VARIABLE)
        self._prefix = str(settings.get("prefix") or "dstack")
        self._key = {"KmsKeyId": str(settings["kms_key"])} if settings.get("kms_key") else {}
        self._calls = Calls(
            account,
            lambda: account.client("secretsmanager", regionless=endpoint is not None),
            endpoint or "AWS Secrets Manager",
            float(settings.get("patience", PATIENCE)),
        )

    def list(self, repo: str) -> Sequence[str]:
        """See `SecretStore.list`. AWS may take minutes to list what is new."""
        begin = folder(self._prefix, repo)
        return names_in(begin, self._found(begin))

    def get(self, repo: str, name: str) -> str:
        """See `SecretStore.get`."""
        full = folder(self._prefix, repo) + name
        try:
            found = self._calls.call(
                f"read the secret {name}", lambda client: client.get_secret_value(SecretId=full), (MISSING, DELETED)
            )
        except Refused:
            raise _missing(name) from None
        if "SecretString" not in found:
            raise StoreError(f"the secret {name} is no text", where=full, lasting=True)
        return str(found["SecretString"])

    def put(self, repo: str, name: str, value: str) -> None:
        """See `SecretStore.put`."""
        if not value or "\0" in value or len(value.encode("utf-8")) > LONGEST:
            problem = "is empty" if not value else f"is longer than {LONGEST:,} bytes"
            raise InputError(f"the value of {name} {'holds a NUL character' if chr(0) in value else problem}")
        full = folder(self._prefix, repo) + name
        for n in range(ROUNDS):
            if self._replace(name, full, value) or self._create(name, full, value):
                return
            time.sleep(min(0.05 * 2**n, 2.0))
        raise StoreError(f"cannot write the secret {name}: it is deleted again and again", where=full)

    def delete(self, repo: str, name: str) -> None:
        """See `SecretStore.delete`. At once, without the days in which it could be restored."""
        full = folder(self._prefix, repo) + name
        act = f"delete the secret {name}"
        try:
            # Forced deletion of what is not there is no error of the service.
            found = self._calls.call(act, lambda client: client.describe_secret(SecretId=full), (MISSING,))
            if found.get("DeletedDate"):
                raise _missing(name)
            self._calls.call(
                act,
                lambda client: client.delete_secret(SecretId=full, ForceDeleteWithoutRecovery=True),
                (MISSING, DELETED),
            )
        except Refused:
            raise _missing(name) from None

    def _replace(self, name: str, full: str, value: str) -> bool:
        """Whether there was a secret to replace."""
        # The token makes a second try, when the answer to the first was lost, the same request.
        given = {"SecretId": full, "SecretString": value, "ClientRequestToken": _token()}
        act = f"write the secret {name}"
        try:
            self._calls.call(act, lambda client: client.update_secret(**given), (MISSING, DELETED))
        except Refused as refused:
            if refused.code == DELETED:
                self._restore(act, full)
            return False
        return True

    def _create(self, name: str, full: str, value: str) -> bool:
        """Whether there was none."""
        given = {"Name": full, "SecretString": value, "ClientRequestToken": _token(), **self._key}
        given["Description"] = "made by dstack"
        act = f"write the secret {name}"
        try:
            self._calls.call(act, lambda client: client.create_secret(**given), (EXISTS, DELETED))
        except Refused:
            return False
        return True

    def _restore(self, act: str, full: str) -> None:
        """One that somebody deleted in the console, with days to think it over."""
        try:
            self._calls.call(act, lambda client: client.restore_secret(SecretId=full), (MISSING, DELETED))
        except Refused:
            return

    def _found(self, begin: str) -> Iterator[str]:
        asked: dict[str, Any] = {"Filters": [{"Key": "name", "Values": [begin]}], "MaxResults": 100}
        while True:
            page = self._calls.call("list the secrets", lambda client: client.list_secrets(**asked))
            yield from (secret["Name"] for secret in page["SecretList"] if not secret.get("DeletedDate"))
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]


def _token() -> str:
    return os.urandom(16).hex()


def _missing(name: str) -> NotFoundError:
    return NotFoundError(f"there is no secret {name}", hint=f"dstack secrets add {name}")
