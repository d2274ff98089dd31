"""What `threeloops up` shows to the outside: two pages for a browser, one address for programs."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from artifacts.store.data_dir import DataDir
from flows.orchestration.up_file import Served
from flows.services.addresses import Addresses
from flows.services.door import Entrance
from flows.services.forward import Forward
from flows.services.gate import COOKIE, LINK, BrowserGate, ProgramGate, Site
from flows.services.keys import Keys
from flows.services.ports import LOOPBACK, listen

PATH_BYTES = 80  # the system allows 103 for the whole path of a socket


@dataclass(frozen=True)
class Behind:
    """The Unix sockets of the two servers."""

    prefect: Path
    mlflow: Path


@contextlib.contextmanager
def unix_sockets() -> Iterator[Behind]:
    """Paths in a new folder that only this user may enter; the data folder's may be too long."""
    folder = tempfile.gettempdir()
    short = folder if len(folder.encode()) < PATH_BYTES else "/tmp"
    with tempfile.TemporaryDirectory(prefix="threeloops-", dir=short) as made:
        yield Behind(Path(made) / "prefect", Path(made) / "mlflow")


class Front:
    """Listens as soon as it is made, so that no port is lost while the servers behind start."""

    def __init__(self, data_dir: DataDir, addresses: Addresses) -> None:
        self.keys, self.certificate = Keys(), addresses.certificate
        with contextlib.ExitStack() as stack:

            def opened(option: str, host: str, port: int) -> socket.socket:
                return stack.enter_context(listen(option, host, port))

            self._prefect = opened("--prefect-port", addresses.host, addresses.prefect_port)
            self._mlflow = opened("--mlflow-port", addresses.host, addresses.mlflow_port)
            self._programs = opened("", LOOPBACK, 0)
            self._opened = stack.pop_all()
        self._pages = {
            "Prefect": addresses.site(data_dir, self._prefect),
            "MLflow": addresses.site(data_dir, self._mlflow),
        }
        self._program_site = Site.of("http", LOOPBACK, self._programs.getsockname()[1])
        self.served = Served(
            prefect=f"{self._program_site}/api",
            prefect_page=str(self._pages["Prefect"]),
            mlflow=str(self._pages["MLflow"]),
            secret=self.keys.secret,
        )

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def links(self) -> dict[str, str]:
        """New one-time links, by the page that they open."""
        return {name: f"{site}{LINK}{self.keys.new_link()}" for name, site in self._pages.items()}

    def entrances(self, behind: Behind, tell: Callable[[str], None]) -> list[Entrance]:
        """What answers at each of the three sockets."""

        def page(name: str, server: Path) -> BrowserGate:
            site = self._pages[name]
            return BrowserGate(Forward(server, site.scheme, COOKIE), self.keys, site, tell)

        programs = Forward(behind.prefect, "http", COOKIE)
        return [
            Entrance(self._prefect, page("Prefect", behind.prefect), self.certificate),
            Entrance(self._mlflow, page("MLflow", behind.mlflow), self.certificate),
            Entrance(
                self._programs, ProgramGate(programs, self.keys, self._program_site, self.links)
            ),
        ]
