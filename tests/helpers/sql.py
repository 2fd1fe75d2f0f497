"""The SQL statements that code executes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def record_sql() -> Iterator[list[str]]:
    """Collect the SQL statements that are executed meanwhile."""
    statements: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "peewee":  # and not that of its pool
                statements.append(str(record.msg[0]))

    logger, collector = logging.getLogger("peewee"), Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    try:
        yield statements
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)
