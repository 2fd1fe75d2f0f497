"""One-time passwords: six digits, alive for ten minutes, used once, dead after so many wrong tries.

Only a keyed digest is stored. A code is made where it is sent, so nobody has to hand it on.
"""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from peewee import Case

from quoteapi.clock import Clock
from quoteapi.settings import RateLimit
from quoteapi.sms.messages import CODE_MINUTES, Purpose
from quoteapi.storage.models import OneTimePassword
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.rate_limits import RateLimited

DIGITS = 6
LIFE = timedelta(minutes=CODE_MINUTES)


class WrongOtp(Exception):
    """Not the code that was sent."""

    def __init__(self, tries_left: int) -> None:
        super().__init__(tries_left)
        self.tries_left = tries_left


class OtpExpired(Exception):
    """The code that was sent has had its time."""


class NoOtpRequested(Exception):
    """There is no code, or it was used."""


class OtpRequest(NamedTuple):
    """When and from where a code was asked for that proved right."""

    asked_at: datetime
    asked_from: str


class GeneratedOtp(NamedTuple):
    """A code that was just made, to be sent by whoever made it."""

    mobile: str
    purpose: Purpose
    code: str


class OneTimePasswords:
    """Issues and checks codes. The database counts the tries and decides who is first."""

    def __init__(
        self,
        digests: HmacDigest,
        tries: RateLimit,
        clock: Clock,
        randbelow: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._digests = digests
        self._tries = tries
        self._lock = timedelta(seconds=tries.seconds)
        self._clock = clock
        self._randbelow = randbelow

    def request(self, mobile: str, purpose: Purpose, asked_from: str) -> str:
        """Note that a code is wanted, in the place of an older one. Answer the request's name.

        The tries stay as they are, until the last wrong one is as long ago as a lock lasts. Raises `RateLimited`.
        """
        now, name = self._clock(), secrets.token_hex(16)
        locked_from = now - self._lock
        fresh = {
            "purpose": purpose,
            "request": name,
            "digest": None,
            "expires_at": None,
            "asked_at": now,
            "asked_from": asked_from,
            "claimed_at": None,
            "sent_at": None,
        }
        tries = Case(None, [(OneTimePassword.tried_at <= locked_from, self._tries.limit)], OneTimePassword.tries_left)
        asked = OneTimePassword.insert(mobile=mobile, tries_left=self._tries.limit, **fresh).on_conflict(
            conflict_target=[OneTimePassword.mobile],
            update={**fresh, "tries_left": tries},
            where=(OneTimePassword.tries_left > 0) | (OneTimePassword.tried_at <= locked_from),
        )
        if not asked.as_rowcount().execute():
            raise self._locked(OneTimePassword.get_by_id(mobile))
        return name

    def generate(self, name: str) -> GeneratedOtp | None:
        """Make the code of a request. None where it was made already, is not wanted any more or is too late."""
        now, mine = self._clock(), OneTimePassword.request == name
        row = OneTimePassword.select().where(mine).first()
        if row is None or row.claimed_at is not None or row.asked_at + LIFE <= now:
            return None
        code = f"{self._randbelow(10**DIGITS):0{DIGITS}}"
        digest = self._digests("code", row.purpose, row.mobile, code)
        claim = OneTimePassword.update(digest=digest, expires_at=now + LIFE, claimed_at=now)
        if not claim.where(mine & OneTimePassword.claimed_at.is_null()).execute():
            return None
        return GeneratedOtp(row.mobile, row.purpose, code)

    def mark_sent(self, name: str) -> None:
        """Note that the code of a request went out."""
        OneTimePassword.update(sent_at=self._clock()).where(OneTimePassword.request == name).execute()

    def mark_not_sent(self, name: str) -> None:
        """Forget the code of a request, which did not go out: another may be made for it."""
        OneTimePassword.update(digest=None, claimed_at=None).where(OneTimePassword.request == name).execute()

    def is_outcome_unknown(self, name: str) -> bool:
        """Whether somebody began to send the code of a request, and nobody knows how that ended."""
        row = OneTimePassword.select().where(OneTimePassword.request == name).first()
        return row is not None and row.claimed_at is not None and row.sent_at is None

    def verify(self, mobile: str, purpose: Purpose, code: str) -> OtpRequest:
        """Compare a code with the one that was sent. A right one is used up, a wrong one costs a try.

        One statement counts, compares and uses up, so that however many come at once, as many are compared as there
        are tries, and one is right. Raises `WrongOtp`, `NoOtpRequested`, `OtpExpired`, `RateLimited`; the count has to be
        kept in spite of that.
        """
        now, table = self._clock(), OneTimePassword
        is_right = table.digest == self._digests("code", purpose, mobile, code)
        tried = table.update(
            tries_left=Case(None, [(is_right, self._tries.limit)], table.tries_left - 1),
            digest=Case(None, [(is_right, None)], table.digest),
            tried_at=Case(None, [(is_right, None)], table.tried_at.to_value(now)),
        ).where(
            (table.mobile == mobile)
            & (table.purpose == purpose)
            & table.digest.is_null(is_null=False)
            & (table.expires_at > now)
            & (table.tries_left > 0)
        )
        for row in tried.returning(table).execute():
            if row.digest is not None:
                raise WrongOtp(row.tries_left)
            return OtpRequest(row.asked_at, row.asked_from)
        raise self._why_not(mobile, purpose)

    def delete(self, mobile: str) -> bool:
        """Remove what there is of a number. Answer whether there was something."""
        return bool(OneTimePassword.delete().where(OneTimePassword.mobile == mobile).execute())

    def delete_expired(self) -> None:
        """Remove codes that have had their time and whose wrong tries have too."""
        now, table = self._clock(), OneTimePassword
        no_tries = table.tried_at.is_null() | (table.tried_at <= now - self._lock)
        table.delete().where((table.asked_at <= now - 2 * LIFE) & no_tries).execute()

    def _why_not(self, mobile: str, purpose: Purpose) -> Exception:
        row = OneTimePassword.get_or_none(OneTimePassword.mobile == mobile)
        if row is not None and row.tries_left == 0 and row.tried_at > self._clock() - self._lock:
            return self._locked(row)
        if row is None or row.purpose != purpose or row.digest is None:
            return NoOtpRequested()
        return OtpExpired()

    def _locked(self, row: OneTimePassword) -> RateLimited:
        until = row.tried_at + self._lock
        return RateLimited("Too many wrong codes for this number.", (until - self._clock()).total_seconds())
