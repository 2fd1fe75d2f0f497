"""The operator's AWS account, as boto3 sees it with their credentials."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.zappa_settings import Stage, open_session

if TYPE_CHECKING:
    import boto3

_PROFILES = "To list your profiles, run `aws configure list-profiles`. A region is for example eu-central-1."
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class AwsAccount:
    """An account and a region in it, with clients that have timeouts."""

    session: "boto3.Session"
    account_id: str
    """Twelve digits."""
    region: str
    caller_arn: str
    """The user or the assumed role whose credentials are used."""
    _clients: dict[tuple[str, str, int], Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def partition(self) -> str:
        """`aws`, or that of another set of regions, for example `aws-us-gov`."""
        return self.caller_arn.split(":")[1]

    def client(self, service: str, region: str | None = None, attempts: int = 3) -> Any:  # noqa: ANN401 of each service
        """Return the boto3 client of a service, in the account's region unless another is named. It is made once.

        `attempts` is how often it tries a call at most: use 1 if a second attempt could send an SMS again.
        """
        from botocore.config import Config  # noqa: PLC0415 slow

        key = service, region or self.region, attempts
        if key not in self._clients:  # creating one takes 30 ms
            retries: Any = {"total_max_attempts": attempts, "mode": "standard"}
            limits = Config(connect_timeout=5, read_timeout=20, retries=retries)
            create: Any = self.session.client
            self._clients[key] = create(service, region_name=region or self.region, config=limits)
        return self._clients[key]

    def arn(self, service: str, resource: str, region: str | None = None) -> str:
        """Return the ARN of a resource of this account, for example `arn:aws:sqs:us-east-1:123456789012:failures`."""
        return f"arn:{self.partition}:{service}:{region or self.region}:{self.account_id}:{resource}"


def open_account(stage: Stage) -> AwsAccount:
    """Return the account that the credentials of a stage belong to. Raises `CheckFailed`."""
    with aws_errors("account"):
        session, region = _open_session(stage)
        caller = AwsAccount(session, "", region, "").client("sts").get_caller_identity()
    return AwsAccount(session, caller["Account"], region, caller["Arn"])


def find_account(stage: Stage) -> AwsAccount:
    """Return the account that an ARN in the settings of a stage names, without a request, else that of the credentials.

    Raises `CheckFailed`.
    """
    if (found := _find_arn(stage)) is None:
        return open_account(stage)
    with aws_errors("account"):
        session, region = _open_session(stage)
    return AwsAccount(session, found["account"], region, f"arn:{found['partition']}:iam::{found['account']}:root")


def _find_arn(stage: Stage) -> re.Match[str] | None:
    """Return the beginning of an ARN in the settings of a stage; None if there is none."""
    arns = (str(stage.get(key)) for key in ("dead_letter_arn", "certificate_arn", "role_arn"))
    return next(filter(None, map(_ACCOUNT_IN_ARN.match, arns)), None)


_ACCOUNT_IN_ARN = re.compile(r"arn:(?P<partition>[a-z-]+):[a-z]+:[a-z0-9-]*:(?P<account>\d{12}):")


def _open_session(stage: Stage) -> tuple["boto3.Session", str]:
    """Return the session of a stage, and its region."""
    session = open_session(stage)
    return session, session.region_name or DEFAULT_REGION


def require_same_account(name: str, stage: Stage, account_id: str, region: str) -> None:
    """Raise `CheckFailed` if the local settings of a stage name resources of another account, or another region."""
    resources = (str(stage.get(key)) for key in ("s3_bucket", "dead_letter_arn", "certificate_arn", "role_arn"))
    for known in filter(None, map(_ACCOUNT_OF_RESOURCE.match, resources)):
        if known[1] != account_id:
            found = f"{name} is set up in the AWS account {known[1]}, but your credentials belong to {account_id}"
            to_do = f"Use a profile of {known[1]}, with --profile or AWS_PROFILE. {_how_to_move(name)}"
            raise CheckFailed("account", "wrong", found, to_do)
    if stage.get("aws_region", region) != region:
        found = f"{name} is set up in the region {stage['aws_region']}, but the region is now {region}"
        to_do = f"Unset AWS_DEFAULT_REGION, and leave out --region. {_how_to_move(name)}"
        raise CheckFailed("account", "wrong", found, to_do)


_ACCOUNT_OF_RESOURCE = re.compile(r"(?:quoteapi-|arn:[a-z-]+:[a-z]+:[a-z0-9-]*:)(\d{12})[:-]")


def _how_to_move(name: str) -> str:
    return f"To start again, remove {name} from zappa_settings.local.json, and run `quoteapi setup {name}`."


@contextmanager
def aws_errors(name: str, to_do: Mapping[str, str] | None = None) -> Iterator[None]:
    """Raise an error of boto3 as `CheckFailed` of the check with this name; it says what to do.

    `to_do` has that for error codes for which it is not the usual.
    """
    from botocore import exceptions  # noqa: PLC0415 slow

    try:
        yield
    except exceptions.ClientError as error:
        found, usual = _describe(error)
        raise CheckFailed(name, "wrong", found, (to_do or {}).get(error_code(error), usual)) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError):
        raise CheckFailed(name, "wrong", "AWS cannot be reached", "Check the network and aws_region.") from None
    except exceptions.WaiterError as error:
        raise CheckFailed(name, "wrong", f"AWS did not finish in time ({error})", "Run the command again.") from None
    except (exceptions.ProfileNotFound, exceptions.InvalidRegionError) as error:
        raise CheckFailed(name, "wrong", str(error), _PROFILES) from None
    except exceptions.BotoCoreError as error:
        found = f"no usable AWS credentials were found ({type(error).__name__})"
        raise CheckFailed(name, "wrong", found, "Run `aws configure` or `aws sso login`.") from None


_CREDENTIAL_ERRORS = {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}
_PERMISSION_ERRORS = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"}


def error_code(error: Any) -> str:  # noqa: ANN401 botocore has no types
    """Return the code of an error response of AWS, as in `AccessDenied`."""
    code: str = error.response.get("Error", {}).get("Code", "without a code")
    return code


def _describe(error: Any) -> tuple[str, str]:  # noqa: ANN401 botocore has no types
    """Return what AWS said, and what to do about it."""
    code, operation = error_code(error), error.operation_name
    if code in _CREDENTIAL_ERRORS:
        return f"AWS rejects your credentials ({code})", "Run `aws sso login` or `aws configure`."
    if code in _PERMISSION_ERRORS:
        to_do = "Ask an administrator of the account for it. `quoteapi policy STAGE --deployer` prints what is needed."
        return f"you have no permission for {operation}", to_do
    message = error.response.get("Error", {}).get("Message", "")
    return f"{operation} failed: {code} {message}".strip(), "Correct it, then run the command again."
