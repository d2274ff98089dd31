"""What a bucket's library raises, in one line: what is wrong, where, and what to do.

The library quotes whole answers, which may say more than one should tell; here only their codes
are looked at, and the words are ours.
"""

from __future__ import annotations

import re

from artifacts.store.shared.objects import at
from artifacts.store.shared.options import PREFIXES, endpoint_of, scheme_of
from artifacts.text.secrets import without_secrets
from schemas.errors import InputError

LONGEST = 160  # characters of a reason that we have no words for
METADATA = (
    "169.254.169.254"  # where machines in a cloud ask who they are, when nothing else says it
)
_LACKS = re.compile(
    r"Missing ?(SecretAccessKey|AccessKeyId)|must be specified|service account", re.I
)
_NO_FILE = re.compile(r"(?:open|read|decode) service account file", re.I)
_UNKNOWN_USER = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|Unauthenticated|401 Unauth|Invalid Access Key|"
    r"AuthenticationFailed"
)
_NO_RIGHTS = re.compile(r"AccessDenied|403 Forbidden|PermissionDenied|lacked the necessary")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|404 Not Found")
_SILENT = re.compile(
    r"error sending request|HTTP error|timed? ?out|error decoding|5\d\d [A-Z]", re.I
)
NAMES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
# what says where a store is, where no endpoint is named
PLACES = {"s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ACCOUNT_NAME"}


def missing_package(address: str) -> InputError:
    """The error for a bucket without the library."""
    return InputError(
        "this needs the package obstore", at(address), 'pip install "threeloops[store]"'
    )


def told(error: Exception, address: str) -> InputError:
    """The error of the library as one line that names no secret."""
    said, where = str(error), at(address)
    scheme = scheme_of(address)
    names = NAMES.get(scheme, "the names of its credentials")
    variable, endpoint = endpoint_of(address)
    if isinstance(error, NotImplementedError) or "not yet implemented" in said:
        return InputError(
            "this kind of store has no conditional writes, which keys and leases need",
            where,
            "use s3://, gs:// or az://",
        )
    if _NO_FILE.search(said):
        return InputError("no file of a service account can be read", where, f"check {names}")
    if METADATA in said or _LACKS.search(said):
        return InputError("the credentials are missing", where, f"set {names}")
    if "builder error" in said and endpoint.startswith("http://"):
        return InputError(
            f"{variable}={without_secrets(endpoint)} is not encrypted",
            where,
            f"write https://, or set {PREFIXES[scheme]}ALLOW_HTTP=true",
        )
    if _UNKNOWN_USER.search(said):
        return InputError("the store does not know these credentials", where, f"check {names}")
    if _NO_RIGHTS.search(said):
        return InputError(
            "these credentials have no right to this (403)",
            where,
            "ask its owner for the rights to list, read, write and delete below this prefix",
        )
    if _NO_BUCKET.search(said):
        return InputError("there is no such bucket", where, "make it, or check its name")
    if _SILENT.search(said):
        place = variable or PLACES.get(scheme, "")
        return InputError(
            f"{without_secrets(endpoint) or 'the store'} does not answer",
            where,
            f"check the network{' and ' + place if place else ''}; what was kept so far is found "
            "again",
        )
    lines = without_secrets(said).strip().splitlines() or [type(error).__name__]
    return InputError(f"the store cannot be used ({lines[0][:LONGEST]})", where, "see its log")
