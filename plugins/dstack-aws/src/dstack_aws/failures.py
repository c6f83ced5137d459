"""What the SDK and AWS say when something fails, in words for people: one sentence, and what to do next."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from dstack_aws.account import Account
from dstack_aws.denials import DeniedError, explain_denial
from dstack_core.errors import StoreError


class Refused(Exception):
    """The service answered with an error that its caller knows what to do with."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.code = answer.code
        self.status = answer.status
        self.message = answer.message


class Answer(NamedTuple):
    """An error that the service answered with."""

    code: str
    status: int
    message: str
    region: str

    @staticmethod
    def of(response: Any) -> Answer:
        """From what the SDK parsed, or what its `ClientError` has as `response`."""
        error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
        headers = meta.get("HTTPHeaders", {})
        # What EC2 adds is for those who may decode it, and longer than all the rest.
        lines = str(error.get("Message") or "").partition(" Encoded authorization failure")[0].strip().splitlines()
        return Answer(
            str(error.get("Code", "")),
            int(meta.get("HTTPStatusCode", 0)),
            lines[0] if lines else "",
            str(headers.get("x-amz-bucket-region") or error.get("Region") or ""),
        )


UNKNOWN_KEYS: Final = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException",
     "InvalidToken", "InvalidSignatureException", "IncompleteSignature", "AuthFailure"}
)  # fmt: skip
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedAccess", "403",
     "UnauthorizedOperation"}
)  # fmt: skip
ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError"}
)
SIGNED_OUT: Final = frozenset(
    {"SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "SSOError", "LoginRefreshRequired"}
)
UNREACHABLE: Final = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"})


def explain(error: Exception, act: str, account: Account, where: str) -> StoreError:
    """The error that a person reads. `act`: what was to be done, as in "cannot read KEY"."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return explain_answer(Answer.of(response), act, account, where)
    kind, said = type(error).__name__, " ".join(str(error).split())
    if kind in NO_CREDENTIALS:
        return _denied(f"cannot {act}: there are no AWS credentials", where, _login(account, "aws configure"))
    if kind in SIGNED_OUT:
        return _denied(f"cannot {act}: you are signed out of AWS", where, _login(account, "aws sso login"))
    if kind == "ProfileNotFound":
        hint = f"dstack config set settings.{account.plugin}.profile NAME; `aws configure list-profiles` has the names"
        return _denied(f"cannot {act}: AWS has no profile {account.profile or 'of that name'}", where, hint)
    if kind in ("NoRegionError", "InvalidRegionError"):
        hint = f"dstack config set settings.{account.plugin}.{account.region_setting} REGION"
        return StoreError(f"cannot {act}: no AWS region is set", where=where, hint=hint, lasting=True)
    if kind in UNREACHABLE:
        hint = f"look at your network, and at settings.{account.plugin}.endpoint_url and {account.region_setting}"
        return StoreError(f"cannot {act}: no connection ({said})", where=where, hint=hint)
    if kind == "SSLError":
        hint = "for a certificate of your company, set AWS_CA_BUNDLE to the file that has it"
        return StoreError(f"cannot {act}: {said}", where=where, hint=hint, lasting=True)
    return StoreError(f"cannot {act}: {said or kind}", where=where, hint="try again in a while")


def explain_answer(answer: Answer, act: str, account: Account, where: str) -> StoreError:
    """The same for an error that the service answered with."""
    code, said = answer.code, answer.message or answer.code
    if code in EXPIRED:
        hint = _login(account, "aws sso login") + ", or get new keys"
        return _denied(f"cannot {act}: the AWS credentials have expired", where, hint)
    if code in UNKNOWN_KEYS:
        hint = _login(account, "aws configure")
        return _denied(f"cannot {act}: the server does not accept these credentials ({code})", where, hint)
    if code in ELSEWHERE or answer.status == 301:
        return explain_region(answer, act, account, where)
    if code == "NoSuchBucket":
        hint = f"create it, or choose another: dstack config set settings.{account.plugin}.bucket NAME"
        return StoreError(f"cannot {act}: there is no such bucket", where=where, hint=hint, lasting=True)
    if code == "RequestTimeTooSkewed":
        hint = "set this machine's clock"
        return StoreError(f"cannot {act}: this machine's clock is wrong", where=where, hint=hint, lasting=True)
    if code in DENIED or answer.status == 403:
        return explain_denial(said, act, account, where)
    lasting = 400 <= answer.status < 500 and answer.status not in (408, 409, 429)
    hint = "look at the settings: dstack config --show" if lasting else "try again in a while"
    text = said if code in said else f"{said} ({code})"
    return StoreError(f"cannot {act}: {text}", where=where, hint=hint, lasting=lasting)


def explain_region(answer: Answer, act: str, account: Account, where: str) -> StoreError:
    """The bucket is in another region."""
    place = f"it is in {answer.region}" if answer.region else answer.code
    hint = f"dstack config set settings.{account.plugin}.region {answer.region or 'REGION'}"
    return StoreError(f"cannot {act}: wrong region: {place}", where=where, hint=hint, lasting=True)


def _denied(message: str, where: str, hint: str) -> DeniedError:
    return DeniedError(message, where=where, hint=hint, lasting=True)


def _login(account: Account, command: str) -> str:
    return f"{command} --profile {account.profile}" if account.profile else command
