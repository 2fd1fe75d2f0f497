"""Keyed digests: what is stored of codes, and of the numbers and addresses that limits count by."""

import hashlib
import hmac
import secrets
from pathlib import Path

from quoteapi.settings import Settings, SettingsError
from quoteapi.storage.atomic_file import create_atomically

_OTHERS = 0o077


class HmacDigest:
    """Makes digests that nobody makes, or guesses back, without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, purpose: str, *values: str) -> str:
        """Answer 32 hexadecimal digits, other ones for each purpose."""
        message = "\0".join((purpose, *values)).encode()
        return hmac.digest(self._key, message, "sha256")[:16].hex()


def load_hmac_digest(settings: Settings) -> HmacDigest:
    """Key the digests by `SECRET_KEY` or, where there is none, by a key that is made and kept beside the database.

    Raises `SettingsError`.
    """
    secret = settings.secret_key or _kept_secret(_key_beside(settings))
    return HmacDigest(hashlib.sha256(secret.encode()).digest())


def _key_beside(settings: Settings) -> Path:
    path = settings.database_path
    assert path is not None, "settings without a file have a SECRET_KEY"
    return path.with_name(f"{path.name}.key")


def _kept_secret(path: Path) -> str:
    """Read the key of a laptop, which is made on first use; its owner alone can read it."""
    try:
        if not path.exists():
            with create_atomically(path) as new:
                new.write_text(f"{secrets.token_urlsafe(48)}\n")
        if path.stat().st_mode & _OTHERS:
            path.chmod(0o600)
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsError(f"The key in {path} cannot be read or made ({reason}). Set SECRET_KEY.") from error
    if not secret:
        raise SettingsError(f"The key in {path} is empty. Remove the file, so that it is made anew.")
    return secret
