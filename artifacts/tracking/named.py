"""Which MLflow the environment names: a server or database, its registry, the experiment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from artifacts.store.data_dir import DataDir
from artifacts.unsent.servers import without_password
from schemas.errors import InputError

TRACKING = "MLFLOW_TRACKING_URI"
SERVER = "THREELOOPS_TRACKING_URI"  # its older name, which wins
REGISTRY_AT = "MLFLOW_REGISTRY_URI"
EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_NAME"
EXPERIMENT = "threeloops"  # where none is named
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
HTTP = ("http", "https")


@dataclass(frozen=True)
class Named:
    """What the environment names, each empty where it names nothing.

    `variable` is the one that names `tracking`.
    """

    tracking: str
    variable: str
    registry: str
    experiment: str

    @property
    def where(self) -> str:
        """The variable with its address, as it may be shown."""
        return f"{self.variable}={without_password(self.tracking)}"


def named() -> Named:
    """What the environment names at this moment."""
    variable = SERVER if os.environ.get(SERVER) else TRACKING
    return Named(
        tracking=os.environ.get(variable, ""),
        variable=variable,
        registry=os.environ.get(REGISTRY_AT, ""),
        experiment=os.environ.get(EXPERIMENT_NAME) or EXPERIMENT,
    )


def both_names_differ() -> bool:
    """Whether both variables name a server, and not the same."""
    former, now = (os.environ.get(name, "") for name in (SERVER, TRACKING))
    return bool(former and now) and former != now


def is_server(address: str) -> bool:
    """Whether an address is that of a server, and not of a database."""
    return urlsplit(address).scheme in HTTP


def own_or(data_dir: DataDir, address: str) -> str:
    """An address as it is used.

    The data folder's own database also where it is written in another way. `postgresql:` alone
    means one driver for SQLAlchemy and another in our extra: the one that is there is taken.
    """
    if sqlite_file(address) == data_dir.tracking_database:
        return data_dir.tracking_uri
    scheme, mark, rest = address.partition("://")
    if mark and scheme in ("postgresql", "postgres"):
        driver = "+psycopg2" if find_spec("psycopg") is None else ""
        return f"postgresql{driver}://{rest}"
    return address


def check_address(address: str, variable: str) -> None:
    """InputError for what is neither a server's address nor a database's of MLflow."""
    where = f"{variable}={without_password(address)}"
    try:
        parts = urlsplit(address)
        reached = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # of a port that is no number, or a bracket that is not closed
        parts, reached = urlsplit(""), False
    if parts.scheme in HTTP and reached:
        return
    if parts.scheme.partition("+")[0] in DATABASES and "://" in address:
        return
    raise InputError(
        "is no address of an MLflow server or database",
        where,
        "write http://HOST:PORT, postgresql://HOST/NAME or sqlite:////FOLDER/FILE.db",
    )


def sqlite_file(address: str) -> Path | None:
    """The file of an `sqlite:` address; None for any other."""
    scheme, _, rest = address.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not rest:
        return None
    name = rest.partition("?")[0]
    return Path(unquote(name) if "+" in scheme else name).absolute()
