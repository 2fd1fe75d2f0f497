"""Host names: as an operator types them, and which zones and certificates they belong to."""

import re

MAX_LENGTH = 64
"""ACM issues certificates for no longer name (RFC 5280, the common name)."""
_REGISTRY = re.compile(r"[a-z0-9-]+|(ac|co|com|edu|gov|ne|net|or|org)\.[a-z]{2}")
"""What domains are registered under: `org`, in some countries `co.in`. There are more, but these are the usual ones."""


def parse_host_name(text: str) -> str:
    """Return a host name as AWS wants it: lowercase, without a final dot, other scripts in Punycode (IDNA 2008).

    Raises `ValueError` with what to write instead.
    """
    import idna  # noqa: PLC0415 a dependency of requests, and slow

    try:
        name = idna.encode(text.removesuffix("."), uts46=True).decode()
    except idna.IDNAError:
        name = ""
    top = name.rpartition(".")[2]
    if "." not in name or top.isdigit():  # an IP address ends with a number
        raise ValueError("a host name without https://, for example quotes.example.org, or none")
    if len(name) > MAX_LENGTH:
        raise ValueError(f"a host name of at most {MAX_LENGTH} characters, as ACM has no certificate for a longer one")
    return name


def contains(zone: str, name: str) -> bool:
    """Return whether a name is that of a zone, or below it."""
    return name == zone or name.endswith(f".{zone}")


def covers(pattern: str, name: str) -> bool:
    """Return whether a name in a certificate is that of a host; `*` stands for one label."""
    return pattern in {name, f"*.{name.partition('.')[2]}"}


def is_registered(name: str) -> bool:
    """Return whether a name is one that registrars sell, as `example.org` and `example.co.in`, not one below it."""
    return _REGISTRY.fullmatch(name.partition(".")[2]) is not None
