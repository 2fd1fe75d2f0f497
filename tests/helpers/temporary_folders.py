"""Temporary folders in memory, if possible: SQLite, PostgreSQL and Zappa wait for the disk otherwise."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 only for temporary folders
REQUIRED_FREE_BYTES = 4_000_000_000


@contextmanager
def temporary_folder(prefix: str = "quoteapi-") -> Iterator[Path]:
    """Create a temporary folder until the block ends, in memory if there is enough and programs may run there."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=MEMORY_FOLDER if _can_use_memory() else None) as name:
        yield Path(name)


@contextmanager
def temporary_files_in_memory() -> Iterator[None]:
    """Put all temporary files of this process and its children into one such folder until the block ends."""
    with temporary_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)  # else the module keeps the folder that it used first
        yield


def _can_use_memory() -> bool:
    if not MEMORY_FOLDER.is_dir():
        return False
    status = os.statvfs(MEMORY_FOLDER)
    return status.f_bavail * status.f_frsize > REQUIRED_FREE_BYTES and not status.f_flag & os.ST_NOEXEC
