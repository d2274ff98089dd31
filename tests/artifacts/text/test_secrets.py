"""Secrets are hidden in whatever is told, and what only looks like one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.text.secrets import hiding_secrets, without_secrets
from schemas.errors import InputError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at https://me:pa55word@db.example:5432/x?y=1", "at https://***@db.example:5432/x?y=1"),
        ("postgresql+asyncpg://me:p@ss@db/prefect", "postgresql+asyncpg://***@db/prefect"),
        ("https://ghp_token@host/repo", "https://***@host/repo"),
        ("https:/me:pa55word@host/a.jsonl: no such file", "https:/***@host/a.jsonl: no such file"),
        ("https://a:b@h/x and http://c:d@h/y", "https://***@h/x and http://***@h/y"),
        ("GET /x?a=1&access_token=abc&b=2", "GET /x?a=1&access_token=***&b=2"),
        ("s3://b/k?X-Amz-Signature=abc&v=1", "s3://b/k?X-Amz-Signature=***&v=1"),
        ("?api_key=abc", "?api_key=***"),
    ],
)
def test_what_an_address_keeps_secret_is_hidden(text: str, told: str) -> None:
    assert without_secrets(text, {}) == told
    assert without_secrets(told, {}) == told


@pytest.mark.parametrize(
    "text",
    [
        "models:/threeloops@champion",
        "--model models:/threeloops@candidate: no such version",
        "http://127.0.0.1:4200/api",
        "few_shot_chat@1 and final_int@1",
        "https://host/@scope/package@1.2",
        "/data/a:b/c@d",
        "--max-new-tokens 16 ?tokens=3&tokenizer=x",
        "write to me@example.com",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text, {"TOKENIZERS_PARALLELISM": "falsehood"}) == text


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY",
        "PREFECT_SERVER_API_AUTH_STRING", "GITHUB_TOKEN", "my_secret", "AWS_SESSION_TOKEN",
        "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_CONNECTION_STRING", "PGPASSWORD",
        "GOOGLE_SERVICE_ACCOUNT_KEY", "MYSQL_PWD", "AWS_SSE_CUSTOMER_KEY_BASE64", "OPENAI_API_KEY",
    ],
)  # fmt: skip
def test_the_value_of_a_variable_that_is_secret_by_its_name_is_hidden(name: str) -> None:
    assert without_secrets("401 for canary-1!", {name: "canary-1"}) == "401 for ***!"


@pytest.mark.parametrize(
    "name", ["HF_TOKEN_PATH", "TOKENIZERS_PARALLELISM", "HOME", "PWD", "OLDPWD"]
)
def test_other_variables_may_be_told(name: str) -> None:
    assert without_secrets("at /home/me/x", {name: "/home/me/x"}) == "at /home/me/x"


def test_a_short_value_is_not_looked_for_and_the_longest_first() -> None:
    environment = {"A_TOKEN": "abc", "B_TOKEN": "12345678", "C_TOKEN": "1234567890"}
    assert without_secrets("abc 1234567890 12345678", environment) == "abc *** ***"


def test_the_password_of_an_address_in_the_environment_is_hidden_wherever_it_stands() -> None:
    address = {"MLFLOW_TRACKING_URI": "postgresql://me:canary%2Fpostgres@db:5432/mlflow?x=1"}
    for written in ("canary%2Fpostgres", "canary/postgres"):
        assert without_secrets(f"password={written} user=me", address) == "password=*** user=me"
    usual = {"MLFLOW_TRACKING_URI": "postgresql://me:postgres@db/mlflow"}
    told = "postgresql://db does not know postgres"
    assert without_secrets(told, usual) == "postgresql://db does not know ***"
    plain = {"HOME": "/home/me", "THREELOOPS_STORE": "s3://bucket/prefix", "X": "models:/a@b"}
    assert without_secrets("/home/me s3://bucket/prefix models:/a@b", plain) == (
        "/home/me s3://bucket/prefix models:/a@b"
    )


@pytest.mark.parametrize(
    "address",
    [
        "me:canary-1@host:5000", "http:me:canary-1@host", "http:/me:canary-1@host",
        "http://me:canary-1/@host",
    ],
)  # fmt: skip
def test_so_is_the_password_of_one_that_is_mistyped(address: str) -> None:
    password = "canary-1/" if "/@" in address else "canary-1"
    told = without_secrets(f"cannot parse {password}!", {"THREELOOPS_STORE": address})
    assert told == "cannot parse ***!"


def test_a_key_is_hidden_though_its_variable_has_a_line_break_behind_it() -> None:
    environment = {"OPENAI_API_KEY": "sk-canary-1\n"}
    assert without_secrets("no such key: sk-canary-1!", environment) == "no such key: ***!"


def test_a_path_that_was_made_of_an_address_is_hidden_too() -> None:
    path = Path("https://me:pa55word@host/a.jsonl")
    with pytest.raises(FileNotFoundError) as caught, hiding_secrets():
        path.read_text()
    assert "pa55word" not in str(caught.value)
    assert "https:/***@host/a.jsonl" in str(caught.value)


def refuse() -> None:
    try:
        raise ValueError("401 for canary-of-the-hub", 401)
    except ValueError as error:
        raise InputError("refused https://me:pa55word@host", "--x canary-of-the-hub") from error


def test_what_a_block_raises_says_no_secret_and_neither_do_its_causes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-of-the-hub")
    with pytest.raises(InputError) as caught, hiding_secrets():
        refuse()
    error = caught.value
    assert str(error) == "--x ***: refused https://***@host"
    assert (error.what, error.where) == ("refused https://***@host", "--x ***")
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.args == ("401 for ***", 401)
