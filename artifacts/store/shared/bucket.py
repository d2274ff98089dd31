"""A shared store in a bucket of S3, or of Google's or Azure's store, through obstore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.store.shared.faults import missing_package, told
from artifacts.store.shared.objects import Found
from artifacts.store.shared.options import client_options, store_options
from schemas.errors import InputError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

BLOCK = 8 * 2**20  # bytes of one request for a large object: each has its own time limit
# a store that is away for some seconds is waited for; one that is gone is said to be so
PATIENCE: Mapping[str, Any] = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=3)},
}
TIMES = {"connect_timeout": "5s", "timeout": "60s"}


class BucketObjects:
    """Names are objects below one prefix of a bucket.

    The library reads who we are from the usual names, such as AWS_ACCESS_KEY_ID. Raises InputError
    where it is not installed, or where these names lack something or say what is no option.
    """

    def __init__(self, address: str, store: ObjectStore | None = None) -> None:
        self._address = address
        with self._told():
            self._store: Any = store if store is not None else _opened(address)

    @property
    def address(self) -> str:
        return self._address

    def get(self, name: str) -> Found | None:
        import obstore

        with self._told():
            try:
                found = obstore.get(self._store, name)
                return Found(bytes(found.bytes()), _version(found.meta))
            except FileNotFoundError as missing:
                self._nothing(missing)
                return None

    def fetch(self, name: str, path: Path) -> bool:
        import obstore

        with self._told():
            try:
                reader = obstore.open_reader(self._store, name, buffer_size=BLOCK)
            except FileNotFoundError as missing:
                self._nothing(missing)
                return False
            with path.open("wb") as file:
                while block := reader.read(BLOCK):
                    file.write(block)
            return True

    def put(self, name: str, content: bytes | memoryview | Path) -> None:
        import obstore

        with self._told():
            obstore.put(self._store, name, content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told():
            try:
                obstore.put(self._store, name, content, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def replace(self, name: str, content: bytes, version: str) -> bool:
        import obstore
        from obstore.exceptions import PreconditionError

        e_tag, _, number = version.partition("\n")
        mode: Any = {"e_tag": e_tag} | ({"version": number} if number else {})
        with self._told():
            try:
                obstore.put(self._store, name, content, mode=mode)
            except (PreconditionError, FileNotFoundError):
                return False
            return True

    def exists(self, name: str) -> bool:
        import obstore

        with self._told():
            try:
                obstore.head(self._store, name)
            except FileNotFoundError as missing:
                self._nothing(missing)
                return False
            return True

    def list(self, folder: str) -> list[str]:
        import obstore

        with self._told():
            pages = obstore.list(self._store, folder)
            return sorted(str(one["path"]) for page in pages for one in page)

    def delete(self, name: str) -> None:
        import obstore

        with self._told():
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError as missing:
                self._nothing(missing)

    def _nothing(self, missing: FileNotFoundError) -> None:
        """Nothing lies there; where the whole bucket is missing, that is an error."""
        if "NoSuchBucket" in str(missing) or "ContainerNotFound" in str(missing):
            raise missing

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the library raises becomes one line; what this machine's disk refuses passes."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # the library raises many kinds, some of Python's own
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise told(error, self._address) from None


def _opened(address: str) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ImportError:
        raise missing_package(address) from None
    client: Any = TIMES | client_options(address)
    config: Any = store_options(address)
    patience: Any = PATIENCE
    return from_url(address, config=config, client_options=client, retry_config=patience)


def _version(meta: Any) -> str:
    """The two parts that stores tell versions by, in one text."""
    return f"{meta['e_tag'] or ''}\n{meta['version'] or ''}"
