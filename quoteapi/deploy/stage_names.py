"""The names of a stage's AWS resources, as Zappa and `quoteapi setup` choose them."""

from dataclasses import dataclass, replace

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.zappa_settings import Stage, function_name


@dataclass(frozen=True)
class StageNames:
    """The names and ARNs of one stage's resources in one account."""

    account: AwsAccount
    stage: str
    function: str
    """The name of the function, its API, its CloudFormation stack and its DynamoDB table."""
    bucket: str
    """That of `usual_bucket`, or one of the operator that the settings name."""
    remote_env: str
    """The URL of the remote environment, `s3://BUCKET/KEY`."""
    dead_letter_arn: str | None = None
    """The ARN of another dead-letter queue that the settings name."""

    @property
    def is_own_bucket(self) -> bool:
        """Whether the bucket has the name that `quoteapi setup` chooses, so that nothing else is in it."""
        return self.bucket == usual_bucket(self.account)

    @property
    def function_arn(self) -> str:
        """The ARN of the function."""
        return self.account.arn("lambda", f"function:{self.function}")

    @property
    def role(self) -> str:
        """The role that Zappa creates for the function."""
        return f"{self.function}-ZappaLambdaExecutionRole"

    @property
    def log_group(self) -> str:
        """The log group of the function."""
        return f"/aws/lambda/{self.function}"

    @property
    def queue(self) -> str:
        """The dead-letter queue that `quoteapi setup` creates. It keeps asynchronous work that failed three times."""
        return f"{self.function}-failures"

    @property
    def queue_arn(self) -> str:
        """The ARN of the dead-letter queue, which is `queue` unless the settings name another."""
        return self.dead_letter_arn or self.account.arn("sqs", self.queue)

    @property
    def error_alarm(self) -> str:
        """The alarm for invocations that fail."""
        return f"{self.function}-errors"

    @property
    def queue_alarm(self) -> str:
        """The alarm for messages in the dead-letter queue."""
        return f"{self.function}-failures"

    @property
    def usage_plan(self) -> str:
        """The usage plan of API Gateway, for a stage that requires API keys."""
        return self.function


def usual_bucket(account: AwsAccount) -> str:
    """Return the name of the bucket that `quoteapi setup` creates."""
    return f"quoteapi-{account.account_id}-{account.region}"


def stage_names(account: AwsAccount, name: str, stage: Stage) -> StageNames:
    """Return the names of a stage's resources: those that its settings name, else the usual ones."""
    function = function_name(name, stage)
    bucket = stage.get("s3_bucket") or usual_bucket(account)
    remote_env = stage.get("remote_env") or f"s3://{bucket}/{function}.json"
    names = StageNames(account, name, function, bucket, remote_env)
    other_queue = stage.get("dead_letter_arn") or ""
    is_own = other_queue.rpartition(":")[2] == names.queue  # maybe of the region that the stage was in before
    return names if is_own else replace(names, dead_letter_arn=other_queue or None)
