"""The expected properties of each stage of `zappa_settings.json`, stated independently of that file."""

from typing import Literal, NamedTuple


class Stage(NamedTuple):
    """A stage, and how it differs from the others."""

    name: str
    has_async_failure: bool = False
    """Whether `/async-failure` exists."""
    has_domain: bool = False
    database: Literal["DynamoDB", "PostgreSQL"] | None = None
    """The database that its containers share, so that users can subscribe."""
    lives_through_a_night: bool = False
    """Whether it runs the schedule of the daily SMS at simulated times."""
    authorization: str = "NONE"
    """The authorization type of API Gateway's methods."""
    needs_key: bool = False
    is_traced: bool = False
    is_in_vpc: bool = False
    extra_bytes: tuple[int, int] = (0, 0)
    """How much larger its package may be than the others', zipped and unzipped."""

    @property
    def has_upstream(self) -> bool:
        """Whether an upstream quote API is set: for DynamoDB, nothing is set but the countries that get SMS."""
        return self.database != "DynamoDB"

    @property
    def function(self) -> str:
        """The name of its function, API and CloudFormation stack."""
        return f"quoteapi-{self.name}".replace("_", "-")

    @property
    def queue(self) -> str:
        """The name of its dead-letter queue."""
        return f"{self.function}-failures"


STAGES = {
    stage.name: stage
    for stage in (
        Stage("dev", has_async_failure=True, database="DynamoDB", lives_through_a_night=True),
        Stage("prod", has_domain=True, database="PostgreSQL"),
        Stage("dev_key", needs_key=True),
        Stage("dev_iam", authorization="AWS_IAM"),
        # cryptography, which verifies RS256 tokens, is large.
        Stage("dev_auth", authorization="CUSTOM", extra_bytes=(5_000_000, 15_500_000)),
        Stage("dev_dlq", has_async_failure=True),
        Stage("dev_xray", is_traced=True),
        Stage("dev_vpc", is_in_vpc=True, database="PostgreSQL"),
    )
}

SCHEDULES = {
    "daily-quote-quoteapi.aws.schedulers.set_quote_of_the_day": "cron(0 10 * * ? *)",
    "sms-quoteapi.aws.schedulers.publish_quote_of_the_day": "rate(15 minutes)",
    "reconcile-quoteapi.aws.schedulers.reconcile_subscriptions": "rate(1 hour)",
    "zappa-keep-warm-handler.keep_warm_callback": "rate(4 minutes)",
}
"""How the rules' names end, and their schedules."""
