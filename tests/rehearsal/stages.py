"""What each stage of `zappa_settings.json` is expected to be, said apart from the settings that make it so."""

from typing import NamedTuple


class Stage(NamedTuple):
    """A stage, by what sets it apart."""

    name: str
    fails_on_demand: bool = False
    """Whether `/async-failure` is there."""
    has_domain: bool = False
    shares_state: bool = False
    """Whether its containers have one database, so that people can subscribe."""
    authorization: str = "NONE"
    """Of API Gateway's methods."""
    needs_key: bool = False
    has_dead_letters: bool = False
    is_traced: bool = False
    is_in_vpc: bool = False
    brings_bytes: tuple[int, int] = (0, 0)
    """What its package may have over the others', zipped and unzipped."""

    @property
    def function(self) -> str:
        """The name of its function, API and stack."""
        return f"quoteapi-{self.name}".replace("_", "-")


STAGES = {
    stage.name: stage
    for stage in (
        Stage("dev", fails_on_demand=True),
        Stage("prod", has_domain=True, shares_state=True),
        Stage("dev_key", needs_key=True),
        Stage("dev_iam", authorization="AWS_IAM"),
        # cryptography, by which tokens of RS256 are checked, is one large library.
        Stage("dev_auth", authorization="CUSTOM", brings_bytes=(5_000_000, 15_500_000)),
        Stage("dev_dlq", fails_on_demand=True, has_dead_letters=True),
        Stage("dev_xray", is_traced=True),
        Stage("dev_vpc", is_in_vpc=True, shares_state=True),
    )
}

SCHEDULES = {
    "daily-quote-quoteapi.aws.schedulers.set_quote_of_the_day": "cron(0 0 * * ? *)",
    "sms-quoteapi.aws.schedulers.publish_quote_of_the_day": "cron(0 2 * * ? *)",
    "reconcile-quoteapi.aws.schedulers.reconcile_subscriptions": "rate(1 hour)",
    "zappa-keep-warm-handler.keep_warm_callback": "rate(4 minutes)",
}
"""How the names of the rules end, and when they are due."""
