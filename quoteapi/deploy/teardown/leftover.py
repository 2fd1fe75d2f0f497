"""What is left of a stage in AWS after `zappa undeploy`, with what it costs and how to delete it.

The prices are those of us-east-1 in December 2026: https://aws.amazon.com/cloudwatch/pricing/,
https://aws.amazon.com/dynamodb/pricing/on-demand/, https://aws.amazon.com/route53/pricing/,
https://aws.amazon.com/s3/pricing/, https://aws.amazon.com/sns/pricing/ and https://aws.amazon.com/sqs/pricing/.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

LOGS_PRICE = 0.03
"""US dollars a month for a gigabyte of logs, and likewise for those of a table and of files."""
TABLE_PRICE = 0.25 + 0.20
"""The second part is for point-in-time recovery."""
FILES_PRICE = 0.023
ALARM_PRICE = 0.10
"""US dollars a month for one alarm, after the first ten of an account, which are free."""
ZONE_PRICE = 0.50
FREE = "nothing"
_MIN_DOLLARS = 0.01
_GIGABYTE = 1_000_000_000
Group = Literal["parts", "subscribers", "settings"]
"""`subscribers`: their data, deleted only if that is confirmed too; `settings`: what finds the rest, deleted last."""


class Leftover(NamedTuple):
    """Something that is left of a stage."""

    kind: str
    name: str
    contents: str
    cost: str
    """Of a month."""
    delete: Callable[[], object]
    """Deletes it. Raises errors of boto3."""
    kept: str = ""
    """Why it is not deleted; empty if it is."""
    group: Group = "parts"


def describe_cost(dollars: float) -> str:
    """Return an amount, rounded."""
    if not dollars:
        return FREE
    return f"about ${dollars:.2f}" if dollars >= _MIN_DOLLARS else f"under ${_MIN_DOLLARS}"


def storage_cost(size: int, price: float) -> str:
    """Return the cost of some bytes, at a price in US dollars for a gigabyte."""
    return describe_cost(size / _GIGABYTE * price)


def describe_size(size: int) -> str:
    """Return a number of bytes as text, as in `12.3 MB`."""
    for unit, bytes_ in (("GB", _GIGABYTE), ("MB", 1_000_000), ("kB", 1_000)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return "empty" if size == 0 else f"{size} bytes"
