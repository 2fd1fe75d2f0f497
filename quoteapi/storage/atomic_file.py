"""Atomic file creation: a file is written under a temporary name, then hard-linked to its final name."""

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
            path.hardlink_to(new)
        except FileExistsError:
            if exclusive:
                raise
        except OSError:
            new.replace(path)  # without hard links, a file that another process created is replaced
    finally:
        new.unlink(missing_ok=True)
