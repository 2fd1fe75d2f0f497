"""Atomic file creation: a file is written under a temporary name, then hard-linked to its final name."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def create_atomically(path: Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Yield a new empty file (mode 0600) that becomes `path` when the block ends without an error.

    If another process creates `path` meanwhile, keep that file, or raise `FileExistsError` if `exclusive`.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    os.close(handle)
    new = Path(name)
    try:
        yield new
        try:
            _move(new, path)
        except FileExistsError:
            if exclusive:
                raise
    finally:
        new.unlink(missing_ok=True)


def _move(new: Path, path: Path) -> None:
    """Give a file its final name. Raises `FileExistsError` if another process created `path` first."""
    try:
        path.hardlink_to(new)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        _rename(new, path)


def _rename(new: Path, path: Path) -> None:
    """Do what `_move` does by renaming, under a lock on the folder: to rename alone would replace `path`."""
    with locked_folder(path.parent):
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        new.replace(path)


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Wait until no other process has this lock on a folder, and have it until the block ends."""
    folder = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
