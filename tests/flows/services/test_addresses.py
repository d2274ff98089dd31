"""Where the pages are found; others cannot listen in unless somebody said that they may."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from flows.services.addresses import Addresses, own_name
from flows.services.front import Front
from flows.services.ports import listen
from schemas.errors import InputError


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_this_machine_needs_tls_or_a_word(host: str, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(InputError) as refused:
        Addresses(host=host).check()
    assert f"--host {host}: without TLS" in str(refused.value)
    assert "--insecure-http" in str(refused.value)
    Addresses(host=host, insecure_http=True).check()
    Addresses(host=host, tls_cert=certificate[0], tls_key=certificate[1]).check()


def test_this_machine_needs_neither() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        Addresses(host=host).check()


def test_files_that_are_no_certificate_are_one_line(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    (tmp_path / "text").write_text("no certificate")
    for wrong in (tmp_path / "nothing", tmp_path / "text", cert):
        with pytest.raises(InputError, match="the certificate cannot be used") as refused:
            Addresses(tls_cert=cert, tls_key=wrong).check()
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="one of the two files is missing; give both"):
        Addresses(tls_key=key).check()


def site(addresses: Addresses, data_dir: DataDir) -> str:
    with listen("", "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        return str(addresses.site(data_dir, listener)).replace(str(port), "PORT")


def test_on_this_machine_the_name_is_one_that_nobody_guesses(
    data_dir: DataDir, tmp_path: Path
) -> None:
    here = Addresses(prefect_port=0, mlflow_port=0)
    address = site(here, data_dir)
    assert address == f"http://{own_name(data_dir)}:PORT"
    assert address == site(here, data_dir), "links that are stored must stay valid"
    assert own_name(DataDir(tmp_path)) != own_name(data_dir)
    assert (data_dir.root / "up.name").stat().st_mode & 0o777 == 0o600
    (data_dir.root / "up.name").write_text("evil.example/")
    assert own_name(data_dir) not in ("evil.example/.localhost", address)
    assert own_name(data_dir) == own_name(data_dir)


def test_elsewhere_the_name_is_that_of_the_machine(
    data_dir: DataDir, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "box.example")
    cert, key = certificate
    wide = Addresses(0, 0, host="0.0.0.0", tls_cert=cert, tls_key=key)
    assert site(wide, data_dir) == "https://box.example:PORT"
    named = Addresses(0, 0, host="0.0.0.0", name="Other.example", insecure_http=True)
    assert site(named, data_dir) == "http://other.example:PORT"


def test_one_port_for_both_is_refused_and_leaves_nothing_open(data_dir: DataDir) -> None:
    with listen("", "127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=rf"--mlflow-port {port}"):
        Front(data_dir, Addresses(port, port))
    with Front(data_dir, Addresses(port, 0)) as front:
        assert front.served.prefect_page.endswith(f":{port}")
        assert set(front.links()) == {"Prefect", "MLflow"}
