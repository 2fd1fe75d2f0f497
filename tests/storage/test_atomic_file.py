import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quoteapi.storage.atomic_file import create_atomically
from tests.helpers.waiting import LIMIT_SECONDS


@pytest.fixture(params=["hard links", "no hard links"], autouse=True)
def _file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test on a file system with hard links, and on one without."""

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "no hard links":
        monkeypatch.setattr(Path, "hardlink_to", refuse)


def test_a_new_file_appears_at_the_end_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with create_atomically(path, exclusive=True) as new:
        new.write_text("whole")
        assert not path.exists()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("whole", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_another_process_created_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with create_atomically(path) as new:
        new.write_text("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    with pytest.raises(FileExistsError), create_atomically(path, exclusive=True) as new:
        new.write_text("mine")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"


def test_a_link_to_nowhere_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "new"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), create_atomically(path, exclusive=True):
        pass
    assert path.is_symlink()


def test_of_simultaneous_writers_one_creates_the_file(tmp_path: Path) -> None:
    path, start = tmp_path / "new", threading.Barrier(8)

    def write(number: int) -> int | None:
        try:
            with create_atomically(path, exclusive=True) as new:
                new.write_text(str(number))
                start.wait(LIMIT_SECONDS)
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as threads:
        created = [number for number in threads.map(write, range(8)) if number is not None]
    assert created == [int(path.read_text())]
