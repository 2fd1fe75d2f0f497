import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from quoteapi.settings import Settings, SettingsError, read_settings
from quoteapi.subscriptions.hmac_digest import HmacDigest, load_hmac_digest
from tests.helpers.data import MIRA, database_file

SECRET = "a secret of the tests, which is long enough"  # noqa: S105
PROCESSES = 6


def mode_of(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Make the settings of a laptop where nobody set a key."""
    return read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})


@pytest.fixture
def key(settings: Settings) -> Path:
    """Tell where the key of a laptop is kept: beside its database."""
    return database_file(settings).with_name("working.db.key")


# ---- the digests


def test_a_digest_is_the_same_for_the_same_and_shows_nothing_of_it() -> None:
    digest = HmacDigest(b"key")("code", MIRA, "123456")
    assert digest == HmacDigest(b"key")("code", MIRA, "123456")
    assert re.fullmatch(r"[0-9a-f]{32}", digest)


def test_another_key_purpose_value_or_border_between_values_makes_another_digest() -> None:
    digests = HmacDigest(b"key")
    made = [
        digests("code", "a", "bc"),
        digests("code", "ab", "c"),
        digests("code", "abc"),
        digests("code", "abc", ""),
        digests("code", "bc", "a"),
        digests("codea", "bc"),
        digests("number", "a", "bc"),
        HmacDigest(b"other key")("code", "a", "bc"),
    ]
    assert len(set(made)) == len(made)


# ---- the key of a laptop


def test_a_key_is_made_on_first_use_beside_the_database_for_its_owner_alone(settings: Settings, key: Path) -> None:
    before = set(key.parent.iterdir())
    load_hmac_digest(settings)
    assert set(key.parent.iterdir()) - before == {key}
    assert mode_of(key) == "600"
    assert len(key.read_text().strip()) >= 32


def test_a_key_is_kept(settings: Settings, key: Path) -> None:
    first = load_hmac_digest(settings)("code", "123456")
    written = key.read_bytes()
    assert load_hmac_digest(settings)("code", "123456") == first
    assert key.read_bytes() == written


def test_another_database_has_another_key(settings: Settings, tmp_path: Path) -> None:
    other = read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/other.db"})
    assert load_hmac_digest(settings)("code", "123456") != load_hmac_digest(other)("code", "123456")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_key_that_others_may_read_or_write_is_taken_back_from_them(settings: Settings, key: Path, mode: int) -> None:
    first = load_hmac_digest(settings)("code", "123456")
    key.chmod(mode)
    assert load_hmac_digest(settings)("code", "123456") == first
    assert mode_of(key) == "600"


def test_a_key_is_made_too_where_files_cannot_be_linked(
    settings: Settings, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    first = load_hmac_digest(settings)("code", "123456")
    assert load_hmac_digest(settings)("code", "123456") == first
    assert mode_of(key) == "600"
    assert list(key.parent.glob("*.key*")) == [key]


start: Barrier
"""Lets every process go at once."""


def take_part(barrier: Barrier) -> None:
    global start  # noqa: PLW0603 what is inherited comes by the initializer
    start = barrier


def digest_with_the_key_of(url: str) -> str:
    settings = read_settings({"DATABASE_URL": url})
    start.wait(timeout=30)
    return load_hmac_digest(settings)("code", "123456")


def test_processes_that_begin_at_once_agree_on_the_key(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(20)]
    with spawn.Pool(PROCESSES, take_part, (spawn.Barrier(PROCESSES),)) as pool:
        made = [set(pool.map(digest_with_the_key_of, [url] * PROCESSES, chunksize=1)) for url in urls]
    assert [len(digests) for digests in made] == [1] * len(urls)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{number}.db.key" for number in range(20))


# ---- a key that will not do, and one that is set


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty. Remove the file, so that it is made anew."),
        (b" \n", "is empty. Remove the file, so that it is made anew."),
        (b"\x80\xff" * 24, "cannot be read or made (not text). Set SECRET_KEY."),
    ],
)
def test_a_key_that_was_damaged_is_refused_with_what_to_do(
    settings: Settings, key: Path, content: bytes, said: str
) -> None:
    key.write_bytes(content)
    with pytest.raises(SettingsError) as refusal:
        load_hmac_digest(settings)
    assert str(refusal.value) == f"The key in {key} {said}"
    assert key.read_bytes() == content


def test_a_key_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    settings = read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/no such folder/working.db"})
    with pytest.raises(
        SettingsError, match=r"cannot be read or made \(No such file or directory\)\. Set SECRET_KEY\.$"
    ):
        load_hmac_digest(settings)


def test_a_key_that_is_set_wins_and_no_file_is_made(settings: Settings, key: Path, tmp_path: Path) -> None:
    by_file = load_hmac_digest(settings)("code", "123456")
    here, there = (
        read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/{name}.db", "SECRET_KEY": SECRET})
        for name in ("working", "other")
    )
    assert load_hmac_digest(here)("code", "123456") != by_file
    assert load_hmac_digest(there)("code", "123456") == load_hmac_digest(here)("code", "123456")
    assert list(tmp_path.glob("*.key")) == [key]
