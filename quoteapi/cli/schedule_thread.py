"""The schedule of `quoteapi serve`: a thread in each worker that sends the daily SMS where it is due.

The claim of a delivery decides which worker sends it.
"""

import logging
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread, main_thread

from quoteapi.container import Container
from quoteapi.storage.models import database
from quoteapi.subscriptions import schedule
from quoteapi.subscriptions.errors import NoSharedState, SmsDisabled

MAX_DELAY_SHARE = 1 / 30
"""The maximum delay of a run, as a share of the interval, so that workers do not all start at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
log = logging.getLogger(__name__)


def start_schedule(container: Container, randomness: random.Random) -> None:
    """Start the thread. It is not a daemon thread: at exit, the process waits for the end of a run."""
    Thread(target=run_until_exit, args=(container, randomness, wait_for_exit), name="schedule").start()


def run_until_exit(container: Container, randomness: random.Random, wait: Callable[[float], bool]) -> None:
    """Run the schedule at each quarter of an hour until `wait(seconds)`, which sleeps, returns True."""
    while not wait(seconds_to_next_run(container.clock(), schedule.INTERVAL, randomness)):
        try:
            with database.connection_context():
                if container.state.subscriber_count() or container.state.count_out_of_sync(container.clock()):
                    container.schedule.run(lambda: 0 if wait(0) else math.inf, schedule.log_result)
        except (NoSharedState, SmsDisabled) as error:  # the operator's choice, not a failure
            log.warning("Daily SMS not sent: %s", error)
        except Exception:
            log.exception("The schedule of the daily SMS failed; the next run tries again")


def wait_for_exit(seconds: float) -> bool:
    """Sleep for a time in seconds, or until the main thread ends. Return whether it has ended."""
    main_thread().join(seconds)
    return not main_thread().is_alive()


def seconds_to_next_run(now: datetime, interval: timedelta, randomness: random.Random) -> float:
    """Return the seconds until the next multiple of the interval, plus a random delay."""
    delay = randomness.uniform(0, MAX_DELAY_SHARE) * interval
    return (interval - (now - _EPOCH) % interval + delay).total_seconds()
