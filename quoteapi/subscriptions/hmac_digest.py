"""HMAC digests of OTPs, phone numbers and client IPs.

The database stores them instead of OTPs, and instead of numbers and client IPs in the keys of rate limits.
"""

import hashlib
import hmac
import secrets

from quoteapi.settings import Settings, SettingsError
from quoteapi.storage.atomic_file import create_atomically


class HmacDigest:
    """Computes HMAC-SHA256 digests: without the key, nobody can compute them or find a value by guessing."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, purpose: str, *values: str) -> str:
        """Return the digest of values for a purpose: its first 128 bits, as 32 hexadecimal digits."""
        return hmac.digest(self._key, "\0".join((purpose, *values)).encode(), "sha256")[:16].hex()


def load_hmac_digest(settings: Settings) -> HmacDigest:
    """Return digests keyed by `SECRET_KEY`, else by a file beside the database. Raises `SettingsError`."""
    secret = settings.secret_key or _read_key_file(settings)
    return HmacDigest(hashlib.sha256(secret.encode()).digest())


def _read_key_file(settings: Settings) -> str:
    """Return the key in the key file, which is created on first use and readable by its owner only."""
    database = settings.database_path
    assert database is not None, "settings without a file have a SECRET_KEY"
    path = database.with_name(f"{database.name}.key")
    try:
        if not path.exists():
            with create_atomically(path) as new:
                new.write_text(f"{secrets.token_urlsafe(48)}\n")
        if path.stat().st_mode & 0o077:  # of group and others
            path.chmod(0o600)
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsError(f"The key file {path} cannot be read or created ({reason}). Set SECRET_KEY.") from error
    if not secret:
        raise SettingsError(f"The key file {path} is empty. Delete it: a new one is created on the next start.")
    return secret
