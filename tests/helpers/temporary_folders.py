"""Temporary folders in memory, if possible: SQLite, PostgreSQL and Zappa wait for the disk otherwise."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 only for temporary folders
REQUIRED_FREE_BYTES = 4_000_000_000


@contextmanager
def temporary_folder(prefix: str = "quoteapi-") -> Iterator[Path]:
    """Create a temporary folder until the block ends, in memory if there is enough and programs may run there."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=MEMORY_FOLDER if _can_use_memory() else None) as name:
        yield Path(name)


def _can_use_memory() -> bool:
    if not MEMORY_FOLDER.is_dir():
        return False
    status = os.statvfs(MEMORY_FOLDER)
    return status.f_bavail * status.f_frsize > REQUIRED_FREE_BYTES and not status.f_flag & os.ST_NOEXEC
