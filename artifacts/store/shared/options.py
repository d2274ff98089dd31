"""Options of a bucket from the environment: the variables are the library's, the checks are ours.

The library does not name the variable of a wrong word, panics at some, and leaves out its client's
options where times are given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from artifacts.text.visible import printable
from schemas.errors import InputError

PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
OF_CLIENT = ("ALLOW_HTTP", "ALLOW_INVALID_CERTIFICATES")  # behind each prefix
SWITCHES = {
    "s3": (
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_SKIP_SIGNATURE", "AWS_UNSIGNED_PAYLOAD",
        "AWS_IMDSV1_FALLBACK", "AWS_S3_EXPRESS", "AWS_REQUEST_PAYER", "AWS_DISABLE_TAGGING",
        "AWS_DISABLE_BULK_DELETE", "AWS_SSE_BUCKET_KEY_ENABLED",
    ),
    "gs": ("GOOGLE_SKIP_SIGNATURE",),
    "az": (
        "AZURE_SKIP_SIGNATURE", "AZURE_STORAGE_USE_EMULATOR", "AZURE_USE_FABRIC_ENDPOINT",
        "AZURE_USE_AZURE_CLI", "AZURE_DISABLE_TAGGING",
    ),
}  # fmt: skip
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
YES, NO = ("true", "1", "yes", "on", "y", "t"), ("false", "0", "no", "off", "n", "f", "")
LONGEST = 40  # characters of a wrong word in a line


def scheme_of(address: str) -> str:
    """`s3`, `gs` or `az`; also of an address that is not whole."""
    return address.partition(":")[0]


def client_options(
    address: str, environment: Mapping[str, str] = os.environ
) -> dict[str, bool | str]:
    """The options of the library's client that are set; InputError for a wrong word."""
    prefix = PREFIXES[scheme_of(address)]
    found: dict[str, bool | str] = {
        name.lower(): is_on(prefix + name, environment)
        for name in OF_CLIENT
        if prefix + name in environment
    }
    if proxy := environment.get(f"{prefix}PROXY_URL", ""):
        _check_address(f"{prefix}PROXY_URL", proxy, ("http", "https", "socks5", "socks5h"))
        found["proxy_url"] = proxy
    return found


def store_options(address: str, environment: Mapping[str, str] = os.environ) -> dict[str, bool]:
    """The switches of the store that are set, in place of the library's own reading of them.

    InputError for a wrong word, and for an endpoint or a region that is none.
    """
    scheme = scheme_of(address)
    for name in ENDPOINTS[scheme]:
        if value := environment.get(name, ""):
            _check_address(name, value, ("http", "https"))
    for name in REGIONS if scheme == "s3" else ():
        if not re.fullmatch(r"[A-Za-z0-9-]*", environment.get(name, "")):
            raise InputError("is no region", name, "set one such as eu-central-1, or unset it")
    return {
        name.lower(): is_on(name, environment) for name in SWITCHES[scheme] if name in environment
    }


def endpoint_of(address: str, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """The variable that says where the store of an address is, and what it says; else empty."""
    names = ENDPOINTS.get(scheme_of(address), ())
    return next(((name, environment[name]) for name in names if environment.get(name)), ("", ""))


def is_on(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a switch is set to yes, in any usual spelling; InputError for another word."""
    word = environment.get(name, "").strip().lower()
    if word in YES:
        return True
    if word in NO:
        return False
    shown = printable(environment[name][:LONGEST])
    raise InputError(
        "is neither true nor false", f"{name}={shown}", "set true or false, or unset it"
    )


def _check_address(name: str, value: str, schemes: tuple[str, ...]) -> None:
    """InputError for what is no address; it is not shown, as it may have a login in it."""
    try:
        parts = urlsplit(value)
        known = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:
        known = None
    if not known or any(letter.isspace() for letter in value):
        raise InputError("is no address", name, "write it whole, as https://HOST")
