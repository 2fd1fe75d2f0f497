"""Files that several processes may want to make at once."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def create_atomically(path: Path) -> Iterator[Path]:
    """Answer an empty file, for its owner alone, that becomes `path` when it is filled: whole, or not at all.

    Where two do so at once, one wins, and the other's is dropped.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    os.close(handle)
    new = Path(name)
    try:
        yield new
        try:
            path.hardlink_to(new)
        except FileExistsError:
            pass  # another process was faster
        except OSError:
            new.replace(path)  # a file system without links
    finally:
        new.unlink(missing_ok=True)
