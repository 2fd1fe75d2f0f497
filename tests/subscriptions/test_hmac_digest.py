import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from quoteapi.settings import Settings, SettingsError, read_settings
from quoteapi.subscriptions.hmac_digest import HmacDigest, load_hmac_digest
from tests.helpers.data import MIRA, database_file
from tests.helpers.waiting import LIMIT_SECONDS

SECRET = "a secret of the tests, which is long enough"  # noqa: S105
PROCESSES = 6


def mode_of(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings without a secret key."""
    return read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})


@pytest.fixture
def key_file(settings: Settings) -> Path:
    """Return the path of the key file, which is beside the database."""
    return database_file(settings).with_name("working.db.key")


# ---- the digests


def test_a_digest_is_32_hexadecimal_digits_and_always_the_same() -> None:
    digest = HmacDigest(b"key")("code", MIRA, "123456")
    assert digest == HmacDigest(b"key")("code", MIRA, "123456")
    assert re.fullmatch(r"[0-9a-f]{32}", digest)


def test_a_digest_depends_on_key_purpose_values_and_their_boundaries() -> None:
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


# ---- the key file


def test_the_key_file_is_created_on_first_use_and_only_its_owner_can_read_it(
    settings: Settings, key_file: Path
) -> None:
    before = set(key_file.parent.iterdir())
    load_hmac_digest(settings)
    assert set(key_file.parent.iterdir()) - before == {key_file}
    assert mode_of(key_file) == "600"
    assert len(key_file.read_text().strip()) >= 32


def test_the_key_file_is_used_again(settings: Settings, key_file: Path) -> None:
    first = load_hmac_digest(settings)("code", "123456")
    written = key_file.read_bytes()
    assert load_hmac_digest(settings)("code", "123456") == first
    assert key_file.read_bytes() == written


def test_each_database_has_its_own_key_file(settings: Settings, tmp_path: Path) -> None:
    other = read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/other.db"})
    assert load_hmac_digest(settings)("code", "123456") != load_hmac_digest(other)("code", "123456")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_permissions_of_others_on_the_key_file_are_removed(settings: Settings, key_file: Path, mode: int) -> None:
    first = load_hmac_digest(settings)("code", "123456")
    key_file.chmod(mode)
    assert load_hmac_digest(settings)("code", "123456") == first
    assert mode_of(key_file) == "600"


def test_the_key_file_is_created_on_file_systems_without_hard_links(
    settings: Settings, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    first = load_hmac_digest(settings)("code", "123456")
    assert load_hmac_digest(settings)("code", "123456") == first
    assert mode_of(key_file) == "600"
    assert list(key_file.parent.glob("*.key*")) == [key_file]


start: Barrier
"""Starts all processes at once."""


def share_barrier(barrier: Barrier) -> None:
    global start  # noqa: PLW0603 a pool passes a barrier only to its initializer
    start = barrier


def digest_with_key_beside(url: str) -> str:
    settings = read_settings({"DATABASE_URL": url})
    start.wait(LIMIT_SECONDS)
    return load_hmac_digest(settings)("code", "123456")


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(20)]
    with spawn.Pool(PROCESSES, share_barrier, (spawn.Barrier(PROCESSES),)) as pool:
        made = [set(pool.map(digest_with_key_beside, [url] * PROCESSES, chunksize=1)) for url in urls]
    assert [len(digests) for digests in made] == [1] * len(urls)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{number}.db.key" for number in range(20))


# ---- invalid key files, and SECRET_KEY


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty. Delete it: a new one is created on the next start."),
        (b" \n", "is empty. Delete it: a new one is created on the next start."),
        (b"\x80\xff" * 24, "cannot be read or created (not text). Set SECRET_KEY."),
    ],
)
def test_a_damaged_key_file_is_refused_with_what_to_do(
    settings: Settings, key_file: Path, content: bytes, said: str
) -> None:
    key_file.write_bytes(content)
    with pytest.raises(SettingsError) as refusal:
        load_hmac_digest(settings)
    assert str(refusal.value) == f"The key file {key_file} {said}"
    assert key_file.read_bytes() == content


def test_a_key_file_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    settings = read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/no such folder/working.db"})
    with pytest.raises(
        SettingsError, match=r"cannot be read or created \(No such file or directory\)\. Set SECRET_KEY\.$"
    ):
        load_hmac_digest(settings)


def test_secret_key_takes_precedence_and_no_file_is_created(settings: Settings, key_file: Path, tmp_path: Path) -> None:
    by_file = load_hmac_digest(settings)("code", "123456")
    here, there = (
        read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/{name}.db", "SECRET_KEY": SECRET})
        for name in ("working", "other")
    )
    assert load_hmac_digest(here)("code", "123456") != by_file
    assert load_hmac_digest(there)("code", "123456") == load_hmac_digest(here)("code", "123456")
    assert list(tmp_path.glob("*.key")) == [key_file]
