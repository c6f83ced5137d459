"""What AWS says when it does not allow something, in words for people: which right is missing, and on what."""

from __future__ import annotations

import re
from typing import Final

from dstack_aws.account import Account
from dstack_core.errors import CredentialsError, StoreError

_KEY_RIGHT: Final = re.compile(r"not authorized to perform: (kms:\w+)(?: on resource: (arn:\S+))?")
_DECRYPT: Final = "kms:Decrypt"
_CIPHERTEXT: Final = "The ciphertext refers to a customer master key"
"""How S3 begins when the key cannot be seen by who reads; which key that is it does not say then."""
_WHY: Final = "not authorized to perform"
"""What S3 says to principals of the bucket's own account, but not to those who expected another one."""


class DeniedError(StoreError, CredentialsError):
    """A store cannot be used with these credentials. Core handles it as the store's failure, people as theirs."""

    owner = CredentialsError.owner
    exit_code = CredentialsError.exit_code


def explain_denial(said: str, act: str, account: Account, where: str) -> DeniedError:
    """The error for an answer that something is not allowed; `said` is its message."""
    right, key = _missing(said, account)
    if right:
        message = f"the right {right} on the key {key} is missing"
        hint = (
            "ask who administers the key to allow it to you, by the key's policy and yours: see dstack aws policy use"
        )
    elif account.bucket_owner and _WHY not in said:
        message = f"access denied: the bucket is not of the account {account.bucket_owner}, or you may not do this"
        hint = f"find out whose it is, then: dstack config set settings.{account.plugin}.expected_bucket_owner ACCOUNT"
    else:
        message = f"access denied ({said})"
        hint = "ask who administers the account for this permission; the README of dstack-aws lists what is needed"
    return DeniedError(f"cannot {act}: {message}", where=where, hint=hint, lasting=True)


def _missing(said: str, account: Account) -> tuple[str, str]:
    """The right on a key that is missing, and the key as far as it is known; nothing if it is not about keys."""
    unnamed = account.kms_key or "of the bucket"
    if found := _KEY_RIGHT.search(said):
        return found[1], found[2] or unnamed
    return (_DECRYPT, unnamed) if said.startswith(_CIPHERTEXT) else ("", "")
