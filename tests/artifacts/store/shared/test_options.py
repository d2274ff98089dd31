"""The options of a bucket in the environment: every usual spelling, and one line for another."""

from __future__ import annotations

import os

import pytest

from artifacts.store.shared.bucket import BucketObjects
from artifacts.store.shared.faults import told
from artifacts.store.shared.options import PREFIXES, SWITCHES
from artifacts.store.shared.place import shared_store
from flows.cli.parser import main
from schemas.errors import InputError

SWITCH = [name for names in SWITCHES.values() for name in names]
ALLOW = [f"{prefix}{name}" for prefix in PREFIXES.values() for name in ("ALLOW_HTTP",)]


@pytest.fixture(autouse=True)
def _nothing_else_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore", reason="needs the extra store")
    for name in [name for name in os.environ if name.startswith(tuple(PREFIXES.values()))]:
        monkeypatch.delenv(name)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "somebody"),
        ("AWS_SECRET_ACCESS_KEY", "something"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "somebody"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "YQ=="),
    ):
        monkeypatch.setenv(name, value)


def address_for(variable: str) -> str:
    (scheme,) = (one for one, prefix in PREFIXES.items() if variable.startswith(prefix))
    return f"{scheme}://bucket/prefix"


def opened(variable: str) -> BucketObjects:
    found = shared_store(address_for(variable))
    assert isinstance(found, BucketObjects)
    return found


def read_as(variable: str) -> str:
    """What the library has a switch as."""
    store = opened(variable)._store
    name = variable.partition("_")[2].lower().removeprefix("storage_")
    return str((store.client_options if "ALLOW" in variable else store.config)[name])


@pytest.mark.parametrize("variable", [*ALLOW, *(one for one in SWITCH if "EXPRESS" not in one)])
def test_a_switch_is_understood_in_every_usual_spelling(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("true", "True", "TRUE", "1", "yes", "on", "On", "y", " true "):
        monkeypatch.setenv(variable, word)
        assert read_as(variable) == "true", word
    for word in ("false", "False", "0", "no", "off", "n", ""):
        monkeypatch.setenv(variable, word)
        assert read_as(variable) == "false", word


@pytest.mark.parametrize("variable", [*ALLOW, *SWITCH])
def test_another_word_is_one_line_that_names_the_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "sure\nyes")
    with pytest.raises(InputError, match="is neither true nor false") as refused:
        opened(variable)
    assert str(refused.value).startswith(rf"{variable}=sure\nyes: ")
    assert "\n" not in str(refused.value)
    if variable == "AWS_ALLOW_HTTP":
        monkeypatch.setenv("THREELOOPS_STORE", address_for(variable))
        assert main(["runs"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(rf"threeloops: {variable}=sure\nyes: is neither true nor false; ")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ENDPOINT_URL", "127.0.0.1:9", "is no address"),
        ("AWS_ENDPOINT_URL_S3", "https://my host", "is no address"),
        ("GOOGLE_BASE_URL", "ftp://host", "is no address"),
        ("AZURE_STORAGE_ENDPOINT", "host", "is no address"),
        ("AWS_PROXY_URL", "somewhere", "is no address"),
        ("AWS_REGION", "eu central", "is no region"),
    ],
)
def test_an_endpoint_that_is_none_is_named_before_anybody_is_asked(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=said) as refused:
        opened(variable)
    assert str(refused.value).startswith(f"{variable}: ")
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("scheme", "variable"),
    [("gs", "GOOGLE_BASE_URL"), ("az", "AZURE_STORAGE_ENDPOINT"), ("s3", "AWS_ENDPOINT_URL")],
)
def test_a_line_speaks_of_the_variables_of_its_own_store(
    scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, plain = "HTTP error: error sending request", "HTTP error: builder error"
    address, prefix = f"{scheme}://b/p", PREFIXES[scheme]
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    lines = [str(told(ValueError(said), address)) for said in (silent, plain)]
    assert f"http://127.0.0.1:9 does not answer; check the network and {variable};" in lines[0]
    assert f"{variable}=http://127.0.0.1:9 is not encrypted" in lines[1]
    assert f"set {prefix}ALLOW_HTTP=true" in lines[1]
    monkeypatch.delenv(variable)
    other = "AWS_ENDPOINT_URL" if scheme != "s3" else "GOOGLE_BASE_URL"
    monkeypatch.setenv(other, "http://127.0.0.1:8")
    lines += [
        str(told(ValueError(said), address)) for said in (silent, plain, "MissingAccessKeyId")
    ]
    with pytest.raises(InputError, match=f"give them by {prefix}… in the environment"):
        shared_store(f"{scheme}://user:secret@b/p")
    for foreign in {*PREFIXES.values()} - {prefix}:
        assert [line for line in lines if foreign in line] == []
    assert "127.0.0.1:8" not in lines[2]


def test_a_service_account_that_cannot_be_read_is_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", "/nowhere/key.json")
    with pytest.raises(InputError, match=r"service account can be read; check GOOGLE_SERVICE_ACC"):
        opened("GOOGLE_SERVICE_ACCOUNT")
