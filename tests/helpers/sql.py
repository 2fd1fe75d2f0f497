"""A recorder of SQL statements."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def record_sql() -> Iterator[list[str]]:
    """Record the SQL statements that peewee executes inside the block."""
    statements: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "peewee":  # not peewee.pool
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
