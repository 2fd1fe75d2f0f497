"""The private bucket of an account and region: packages during a deploy, and the remote environments of its stages."""

from collections.abc import Iterator
from typing import Any

from quoteapi.deploy.aws_account import DEFAULT_REGION, aws_errors
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames

_BLOCKED = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
_BLOCK = "The stage's secrets are in it. Block public access in its permissions, unless the account does."
_ENCRYPTION: Any = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


def set_up_bucket(names: StageNames) -> Iterator[SetupResult]:
    """Create the bucket, and make it private and encrypted. Raises `CheckFailed`.

    One of the operator stays as it is, as something else may be in it, for example a public website.
    """
    with aws_errors("bucket"):
        client, bucket = names.account.client("s3"), names.bucket
        done = _create(client, names)
        if not done and not names.is_own_bucket and not _blocks_public_access(client, bucket):
            yield SetupResult("bucket", "waiting", f"{bucket}, which does not block public access", _BLOCK)
            return
        if done or names.is_own_bucket:
            done += [*_block_public_access(client, bucket), *_encrypt(client, bucket)]
        yield SetupResult(
            "bucket", "done" if done else "ok", ", ".join((bucket, *done)) + ("" if done else ", private")
        )


def _create(client: Any, names: StageNames) -> list[str]:  # noqa: ANN401 boto3
    from botocore.exceptions import ClientError  # noqa: PLC0415 slow

    try:
        client.head_bucket(Bucket=names.bucket, ExpectedBucketOwner=names.account.account_id)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 403:  # noqa: PLR2004
            to_do = 'Set another "s3_bucket" for this stage in zappa_settings.local.json, then run the command again.'
            found = f"{names.bucket} belongs to another account, or you may not read it"
            raise CheckFailed("bucket", "wrong", found, to_do) from None
        if status != 404:  # noqa: PLR2004
            raise
    else:
        return []
    region = names.account.region
    location: Any = {} if region == DEFAULT_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=names.bucket, **location)
    return ["created"]


def _blocks_public_access(client: Any, bucket: str) -> bool:  # noqa: ANN401 boto3
    from botocore.exceptions import ClientError  # noqa: PLC0415 slow

    try:
        return bool(client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == _BLOCKED)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchPublicAccessBlockConfiguration":
            raise
        return False


def _block_public_access(client: Any, bucket: str) -> list[str]:  # noqa: ANN401 boto3
    if _blocks_public_access(client, bucket):
        return []
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=_BLOCKED)
    return ["made private"]


def _encrypt(client: Any, bucket: str) -> list[str]:  # noqa: ANN401 boto3
    from botocore.exceptions import ClientError  # noqa: PLC0415 slow

    try:
        client.get_bucket_encryption(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ServerSideEncryptionConfigurationNotFoundError":
            raise
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=_ENCRYPTION)
        return ["encrypted"]
    return []
