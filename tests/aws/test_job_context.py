import pytest

from quoteapi.aws.job_context import RedactedError, redact_errors
from tests.helpers.data import MIRA, SECRET_KEY


def test_a_redacted_error_contains_no_secret_no_otp_and_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    with pytest.raises(RedactedError) as failed, redact_errors():
        raise ValueError(f"not with {SECRET_KEY} and 271828 for {MIRA}")
    assert str(failed.value) == "ValueError: not with ••• and •••••• for +91••••••0001"
