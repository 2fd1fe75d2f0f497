"""The certificate of a stage with a domain."""

from collections.abc import Iterator

from quoteapi.deploy.aws_account import DEFAULT_REGION, AwsAccount, aws_errors
from quoteapi.deploy.check import Check
from quoteapi.deploy.zappa_settings import Stage


def check_certificate(account: AwsAccount, stage: Stage) -> Iterator[Check]:
    """Yield whether the certificate of the stage is issued; nothing without a domain. Raises `CheckFailed`."""
    if not (stage.get("domain") and stage.get("certificate_arn")):
        return
    with aws_errors("certificate"):
        client = account.client("acm", DEFAULT_REGION)
        status = client.describe_certificate(CertificateArn=stage["certificate_arn"])["Certificate"]["Status"]
    if status == "ISSUED":
        yield Check("certificate", "ok", f"issued for {stage['domain']}")
    else:
        yield Check(
            "certificate", "wrong", f"the certificate of {stage['domain']} is {status}", "Run `quoteapi setup`."
        )
