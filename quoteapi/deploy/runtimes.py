"""The Python runtimes of AWS Lambda, and when AWS ends them."""

import sys
from datetime import date, timedelta

from quoteapi.deploy.checks.check import Check

# From https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html ("Deprecation date"), as of October 2026. Until
# early 2026, that page had 2026-06-30 for python3.11; AWS's page about Bedrock AgentCore, another service, still has
# that, and 2030-06-30 for python3.14.
_END_DATES = {
    "python3.11": date(2027, 6, 30),
    "python3.12": date(2028, 10, 31),
    "python3.13": date(2029, 6, 30),
    "python3.14": date(2029, 6, 30),
}
"""The runtimes that both Lambda and Zappa 0.63 support, and that QuoteAPI runs on, with the day when AWS ends them.

From that day, AWS no longer patches a runtime. It blocks new functions a month later, and updates another month later.
"""
DEFAULT_RUNTIME = "python3.13"
"""The runtime in `zappa_settings.json`, and the Python that `make` prefers."""
_NOTICE = timedelta(days=183)


def running_runtime() -> str:
    """Return the runtime of the Python that runs this process, for example `python3.13`."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def is_supported(runtime: object) -> bool:
    """Return whether Lambda, Zappa and QuoteAPI support a runtime."""
    return runtime in tuple(_END_DATES)


def supports_arm64(runtime: object) -> bool:
    """Return whether the libraries have wheels for a runtime on arm64.

    Those of psycopg need glibc 2.28. python3.11 has 2.26 (Amazon Linux 2), and later runtimes have 2.34.
    """
    return is_supported(runtime) and runtime != "python3.11"


def how_to_run_on(runtime: str) -> str:
    """Return a sentence that says how to make Zappa run on the Python of a runtime."""
    setup = "make setup" if runtime == DEFAULT_RUNTIME else f"PYTHON={runtime} make setup"
    python = runtime.replace("python", "Python ")
    return f"Install {python} if it is missing, then run `make clean` and `{setup}`."


def how_to_move_to(runtime: str) -> str:
    """Return sentences that say how to move a stage to a runtime."""
    return f'{how_to_run_on(runtime)} Set "runtime": "{runtime}", and deploy again.'


def check_runtime_end(runtime: str, today: date) -> Check:
    """Return whether AWS still supports a runtime: `wrong` if it does not, advice if it ends within 183 days."""
    if not is_supported(runtime):
        return Check("runtime", "wrong", f"Lambda or Zappa does not support {runtime}", how_to_move_to(DEFAULT_RUNTIME))
    end = _END_DATES[runtime]
    if today < end - _NOTICE:
        return Check("runtime", "ok", f"AWS supports {runtime} until {end}")
    later = max(_END_DATES, key=_END_DATES.__getitem__)
    to_do = how_to_move_to(later) if _END_DATES[later] > end else "Upgrade QuoteAPI, for a later Python."
    if today < end:
        return Check("runtime", "advice", f"AWS ends {runtime} on {end}", to_do)
    return Check("runtime", "wrong", f"AWS ended {runtime} on {end}", to_do)
