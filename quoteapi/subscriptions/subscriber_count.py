"""The subscriber count: how many subscribers are active, kept in one row, so that no request counts rows.

It changes in the transaction that changes subscribers, and after them, so that the row is locked for a short time. A
version of before migration 0005 does not change it; `recount` corrects it.
"""

import logging

from quoteapi.storage.models import ACTIVE, Subscriber, SubscriberCount, database
from quoteapi.subscriptions.errors import SubscriberLimitReached

_OF_ACTIVE = SubscriberCount.state == ACTIVE
log = logging.getLogger(__name__)


def check_subscriber_limit(limit: int) -> None:
    """Raise `SubscriberLimitReached` if a new subscription would exceed the limit."""
    if read_subscriber_count() >= limit:
        raise SubscriberLimitReached


def read_subscriber_count() -> int:
    """Return the subscriber count as it is stored."""
    count: int = SubscriberCount.select(SubscriberCount.count).where(_OF_ACTIVE).scalar()
    return count


def count_activation(limit: int) -> None:
    """Count a subscriber that this transaction activated. Raises `SubscriberLimitReached`: then roll back.

    Transactions that activate the last one at once wait for each other here, and one of them succeeds.
    """
    increment = SubscriberCount.update(count=SubscriberCount.count + 1)
    if not increment.where(_OF_ACTIVE & (SubscriberCount.count < limit)).execute():
        raise SubscriberLimitReached(otp_is_valid=True)


def count_deactivations(number: int) -> None:
    """Subtract subscribers that this transaction deactivated; 0 costs as much time as 1."""
    SubscriberCount.update(count=SubscriberCount.count - number).where(_OF_ACTIVE).execute()


def recount() -> None:
    """Count the active subscribers, and store how many there are. Activations wait meanwhile."""
    with database.atomic():
        # Lock the row before counting: a transaction that waits for it changed subscribers that are not visible yet.
        SubscriberCount.update(count=SubscriberCount.count).where(_OF_ACTIVE).execute()
        stored, counted = read_subscriber_count(), Subscriber.select().where(Subscriber.state == ACTIVE).count()
        if stored != counted:
            log.warning("Subscriber count corrected from %d to %d", stored, counted)
            SubscriberCount.update(count=counted).where(_OF_ACTIVE).execute()
