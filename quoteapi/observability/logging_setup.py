"""Logging set-up: writes redacted log records to standard error, in the format of the request log."""

import logging
import sys

from quoteapi.observability.request_log import BatchWriter, format_timestamp, request_id, start_request_log
from quoteapi.printable import printable
from quoteapi.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Log to standard error, from the level `settings.log_level` upwards, and start the request log.

    Lambda freezes a container after each response, so there each line is written at once.
    """
    writer = BatchWriter(sys.stderr, unbuffered=settings.on_lambda)
    handler = logging.StreamHandler(writer)  # which flushes after each record, so that records are written at once
    handler.setFormatter(RedactingFormatter(settings))
    package_logger = logging.getLogger("quoteapi")
    package_logger.handlers = [handler]
    package_logger.setLevel(settings.log_level)
    start_request_log(writer if package_logger.isEnabledFor(logging.INFO) else None)
    # The root handler of Lambda would log each record again, not redacted. And `zappa.wsgi` logs URLs with their query
    # strings, which may contain phone numbers and one-time passwords.
    package_logger.propagate = False
    logging.getLogger("zappa.wsgi").setLevel(logging.WARNING)


class RedactingFormatter(logging.Formatter):
    """Formats log records without phone numbers, one-time passwords and secrets, also in tracebacks."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line, with its traceback below. Never raises, so that no request fails.

        What is not printable is escaped, and further lines are indented: no text from elsewhere can forge a record.
        """
        from quoteapi.observability.redaction import redact  # noqa: PLC0415 not needed for a start without log records

        try:
            message = redact(self._settings, record.getMessage())
            trace = f"\n{redact(self._settings, self.formatException(record.exc_info))}" if record.exc_info else ""
        except Exception as error:  # noqa: BLE001
            message, trace = f"A log message could not be formatted ({type(error).__name__})", ""
        line = f"{format_timestamp(int(record.created))} {record.levelname} {message} [{request_id.get()}]{trace}"
        return printable(line, keep="\n\t").replace("\n", "\n  ")
