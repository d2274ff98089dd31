"""What `threeloops up` refuses before anything starts, in one line."""

from __future__ import annotations

import os

import pytest

from artifacts.store.data_dir import DataDir
from flows.cli.parser import main
from flows.services.claim import claim


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--prefect-port", "70000"],
         "--prefect-port 70000: no such port; give a number from 1 to 65535"),
        (["--mlflow-port", "-1"], "--mlflow-port -1: no such port; give a number from 1 to 65535"),
        (["--host", "0.0.0.0"],
         "--host 0.0.0.0: without TLS everybody on the way can read and take over what a browser "
         "sends; add --tls-cert FILE --tls-key FILE, or --insecure-http if you trust the network"),
        (["--host", "no host", "--insecure-http"],
         "--host no host: no such address; give a name or an address of this machine"),
        (["--tls-cert", "c.pem"],
         "--tls-cert and --tls-key: one of the two files is missing; give both"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("data_dir")
def test_options_that_cannot_be_used_are_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--prefect-port", "0", "--mlflow-port", "0", *words]) == 2
    assert capsys.readouterr().err == f"threeloops: {line}\n"


def test_what_an_up_that_was_killed_has_left_is_named(
    data_dir: DataDir, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_dir.root / "up.json").write_text("{")
    with claim(data_dir):
        assert main(["up"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"(processes {os.getpid()}); wait a minute, or end them with: kill {os.getpid()}" in said
