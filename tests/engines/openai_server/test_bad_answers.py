"""A server that cannot be used, or not be believed, ends in one line and leaves nothing behind."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engines.openai_server import asking
from engines.openai_server.faults import AnswerError
from engines.openai_server.servers import Servers
from schemas.config import GenerationSettings
from schemas.errors import InputError
from tests.model_servers.answers import Answer, by_model
from tests.model_servers.server import Choices, ModelServer, serving

Settings = Callable[..., GenerationSettings]
SECRET = "sk-this-is-nobody-elses"


def refusal(
    servers: Servers, settings: GenerationSettings, problems: pa.Table | None = None
) -> str:
    """The one line in which it ends: before a run begins, or with `problems` in the run."""
    if problems is None:
        with pytest.raises(InputError) as caught:
            servers.policy("tiny", settings)
    else:
        policy = servers.known_policy("tiny", settings)
        with pytest.raises(InputError) as caught:
            servers.complete(policy, problems, settings, on_progress=lambda done: None)
    line = str(caught.value)
    assert "\n" not in line
    assert "127.0.0.1" not in line
    assert SECRET not in line
    return line


def changed(**change: Any) -> Callable[[Choices], Choices]:
    """Every choice with something else in a part of it."""
    return lambda choices: [choice | change for choice in choices]


def in_run(server: ModelServer, servers: Servers, settings: GenerationSettings) -> None:
    """The server behaves until it was found good, and the run begins."""
    servers.policy("tiny", settings)
    server.ready = len(server.asked)


def test_nobody_answers(servers: Servers, settings: Settings, server: ModelServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        line = refusal(servers, settings(server, base_url=nobody, max_retries=1))
    assert line.startswith("--base-url: nobody answers there")


def test_a_key_that_is_not_accepted_is_not_told(
    servers: Servers, settings: Settings, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "another"
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert refusal(servers, settings(server)).startswith("OPENAI_API_KEY: the server answers 401")
    server.key = SECRET
    assert servers.policy("tiny", settings(server)).name == "tiny"
    monkeypatch.setenv("OPENAI_API_KEY", f"{SECRET}\nand more")
    assert refusal(servers, settings(server)).startswith("OPENAI_API_KEY: holds characters")


def test_a_model_that_the_server_has_not_is_refused_with_those_that_it_has(
    servers: Servers, settings: Settings, server: ModelServer
) -> None:
    server.model = "another"
    line = refusal(servers, settings(server))
    assert line == "--model tiny: the server has no such model; it has another"


def test_another_model_answers(
    servers: Servers, settings: Settings, server: ModelServer, problems: pa.Table
) -> None:
    server.changes = {"model": "tiny-but-larger"}
    assert "answers with the model tiny-but-larger" in refusal(servers, settings(server))
    server.changes = {"model": "tiny@main"}
    known = servers.policy("tiny", settings(server))
    assert known.engine is not None
    assert known.engine.answers_as == "tiny@main"
    server.changes = {"model": "tiny@other"}
    line = refusal(servers, settings(server), problems)
    assert line.startswith("--model tiny@main: the server answers with the model tiny@other")


@pytest.mark.parametrize(
    ("named", "same"),
    [
        ("tiny", True),
        ("tiny-0613", True),
        ("tiny-2024-08-06", True),
        ("tiny-1106-preview", True),
        ("tiny:20230824-v2", True),
        ("tiny-v2", True),
        ("tiny-32k", False),
        ("tiny-8b", False),
        ("tiny-405b", False),
        ("tiny:70b-instruct", False),
        ("tiny2", False),
    ],
)
def test_a_name_with_a_revision_is_the_model_and_one_with_a_size_is_another(
    named: str, same: bool, servers: Servers, settings: Settings, server: ModelServer
) -> None:
    server.changes = {"model": named}
    if same:
        known = servers.policy("tiny", settings(server))
        assert known.engine is not None
        assert known.engine.answers_as == named
    else:
        assert f"answers with the model {named}" in refusal(servers, settings(server))


def test_fewer_samples_than_were_asked_for(
    servers: Servers, settings: Settings, server: ModelServer, problems: pa.Table
) -> None:
    in_run(server, servers, settings(server))
    server.spoil = lambda choices: choices[:1]
    line = refusal(servers, settings(server), problems)
    assert "gave 1 samples where 3 were asked for; add --samples-per-request 1" in line
    assert "gave 1 samples where 2" in refusal(servers, settings(server))
    one = settings(server, samples_per_request=1)
    policy = servers.policy("tiny", one)
    assert servers.complete(policy, problems, one, on_progress=lambda done: None).num_rows == 18


def test_a_connection_that_is_always_cut(
    servers: Servers, settings: Settings, server: ModelServer, problems: pa.Table
) -> None:
    in_run(server, servers, settings(server, max_retries=2))
    server.cuts = 1000
    line = refusal(servers, settings(server, max_retries=2), problems)
    assert "the server cut the connection (3 times)" in line


def test_a_rate_limit_that_lets_nothing_through_for_too_long_ends_the_run(
    servers: Servers,
    settings: Settings,
    server: ModelServer,
    problems: pa.Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_run(server, servers, settings(server))
    server.refusals = [(429, {"retry-after": "3600"})]
    assert "or asks to wait longer" in refusal(servers, settings(server), problems)
    monkeypatch.setattr(asking, "LONGEST_LIMIT", 0.5)
    server.refusals = [(429, {})] * 1000
    assert "rate limit has let nothing through" in refusal(servers, settings(server), problems)


def test_a_server_that_refuses_unknown_parameters_says_what_to_add(
    servers: Servers, settings: Settings, server: ModelServer
) -> None:
    server.strict = True
    line = refusal(servers, settings(server))
    assert "answers 422: Unexpected fields in the request: ['top_k'" in line
    assert "--extra-body '{}' leaves out" in line
    with_top_k = settings(server, extra_body="{}", top_k=5)
    assert "the run has top-k 5, and this says 0" in refusal(servers, with_top_k)
    policy = servers.policy("tiny", settings(server, extra_body="{}"))
    assert policy.engine is not None
    assert policy.engine.gives == "text", "it gives no token ids unless they are asked for"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "Final: 99"}, "tokens do not decode to its text"),
        ({"text": 5}, "no text"),
        ({"text": "\ud800"}, "no text"),
        ({"finish_reason": "content_filter"}, "'content_filter', which is neither"),
        ({"token_ids": None}, "no token ids or log-probabilities any more"),
        ({"token_ids": [1, 2, -1]}, "no list of whole numbers"),
        ({"token_ids": [1]}, "1 token ids and"),
        ({"logprobs": {"token_logprobs": "many"}}, "no list of numbers"),
        ({"prompt_token_ids": [1, 2]}, "read other token ids than this tokenizer makes"),
        ({"token_ids": [], "logprobs": {"token_logprobs": []}}, "without any token"),
        (
            {"token_ids": [1] * 7, "logprobs": {"token_logprobs": [-1.0] * 7}},
            "7 tokens where at most 6",
        ),
        (
            {
                "token_ids": [1] * 5,
                "logprobs": {"token_logprobs": [-1.0] * 5},
                "finish_reason": "length",
            },
            "cut a sample off after 5 of 6 tokens",
        ),
        ({"index": 0}, "not numbered from 0"),
        ({"index": []}, "not numbered from 0"),
    ],
)
def test_an_answer_that_does_not_fit_together(
    change: dict[str, Any],
    said: str,
    servers: Servers,
    settings: Settings,
    server: ModelServer,
    problems: pa.Table,
) -> None:
    in_run(server, servers, settings(server))
    server.spoil = changed(**change)
    assert said in refusal(servers, settings(server), problems)


def test_log_probabilities_that_are_none(
    servers: Servers, settings: Settings, server: ModelServer, problems: pa.Table
) -> None:
    in_run(server, servers, settings(server))

    def spoil(value: float) -> Callable[[Choices], Choices]:
        def spoiling(choices: Choices) -> Choices:
            for choice in choices:
                choice["logprobs"]["token_logprobs"] = [value] * len(choice["token_ids"])
            return choices

        return spoiling

    server.spoil = spoil(0.7)
    assert "a log-probability of 0.7, which is above 0" in refusal(
        servers, settings(server), problems
    )
    server.spoil = spoil(-0.1)
    hot = settings(server, temperature=30.0, samples=16)
    policy = servers.known_policy("tiny", settings(server))
    with pytest.raises(InputError, match="first tokens of one prompt sum to"):
        servers.complete(policy, problems, hot, on_progress=lambda done: None)


@pytest.mark.parametrize(
    "shaped", [{"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 2}, {"top_p": 0.5}]
)
def test_log_probabilities_before_temperature_are_seen_before_the_run_begins(
    shaped: dict[str, Any],
    servers: Servers,
    settings: Settings,
    server: ModelServer,
    tiny: str,
    tiny_answers: Answer,
) -> None:
    server.answer = by_model(tiny, raw=True)
    assert servers.policy("tiny", settings(server)), "without temperature both are the same"
    asked = settings(server, **shaped)
    line = refusal(servers, asked)
    assert "not those that it draws from" in line
    assert "processed_logprobs" in line
    server.answer = tiny_answers
    assert servers.policy("tiny", asked).name == "tiny"


def test_a_chat_without_a_tokenizer(
    servers: Servers, settings: Settings, server: ModelServer
) -> None:
    line = refusal(servers, settings(server, tokenizer=None))
    assert "few_shot_chat@1 is a chat" in line
    assert "add --tokenizer FOLDER" in line
    missing = settings(server, tokenizer="/no/such/folder")
    assert refusal(servers, missing).startswith("--tokenizer /no/such/folder: no such folder")


def test_what_answers_is_no_model_server(
    servers: Servers, settings: Settings, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_v1 = settings(server, base_url=server.url.removesuffix("/v1"))
    assert "the server answers 404" in refusal(servers, without_v1)
    nowhere = settings(server, base_url="")
    assert "give its address" in refusal(servers, nowhere)
    monkeypatch.setenv("OPENAI_BASE_URL", "127.0.0.1:8000")
    with pytest.raises(InputError, match="OPENAI_BASE_URL: is no address"):
        servers.policy("tiny", nowhere)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert servers.policy("tiny", nowhere).name == "tiny"


def test_a_tokenizer_that_was_changed_during_a_run(
    servers: Servers, settings: Settings, server: ModelServer, problems: pa.Table
) -> None:
    asked = settings(server)
    policy = servers.policy("tiny", asked)
    assert policy.engine is not None
    other = policy.engine.model_copy(update={"tokenizer": "0" * 64})
    with pytest.raises(InputError, match="not the tokenizer that the run began with"):
        servers.complete(
            policy.model_copy(update={"engine": other}), problems, asked, on_progress=lambda n: None
        )


def test_two_servers_do_not_share_what_is_known(
    servers: Servers, settings: Settings, server: ModelServer, tiny_answers: Answer
) -> None:
    first = servers.known_policy("tiny", settings(server))
    with serving(ModelServer(tiny_answers, version="0.33.0")) as other:
        second = servers.known_policy("tiny", settings(other))
    assert first.engine is not None
    assert second.engine is not None
    assert (first.engine.version, second.engine.version) == ("0.32.0", "0.33.0")


ERRORS: list[tuple[dict[str, Any], str]] = [
    (
        {"error": {"message": "Model is still loading"}},
        "--base-url: the server answers with an error: Model is still loading; see its log, and "
        "whether it can serve this model",
    ),
    (
        {"object": "error", "message": "out of\nblocks", "type": "Internal", "code": None},
        "--base-url: the server answers with an error: out of blocks; see its log, and whether it "
        "can serve this model",
    ),
    (
        {"error": "no GPU", "model": None},
        "--base-url: the server answers with an error: no GPU; see its log, and whether it can "
        "serve this model",
    ),
    (
        {"error": {"message": f"key {SECRET} is wrong", "code": 401}},
        "OPENAI_API_KEY: the server answers 401: it does not accept the key; set it to a key that "
        "the server accepts",
    ),
]


@pytest.mark.parametrize(("error", "told"), ERRORS)
@pytest.mark.parametrize("when", ["before", "in the run"])
def test_an_error_with_the_status_of_success_is_told_in_the_servers_own_words(
    when: str,
    error: dict[str, Any],
    told: str,
    servers: Servers,
    settings: Settings,
    server: ModelServer,
    problems: pa.Table,
) -> None:
    if when == "in the run":
        in_run(server, servers, settings(server))
    server.errors = [error] * 20
    table = None if when == "before" else problems
    assert refusal(servers, settings(server), table) == told


def test_where_a_server_is_stays_out_of_its_own_words(
    servers: Servers, settings: Settings, server: ModelServer
) -> None:
    place = server.url.removesuffix("/v1").removeprefix("http://")
    said = f"POST {server.url}/completions on {place.upper()} of {place.partition(':')[0]} failed"
    server.errors = [{"error": {"message": said}}] * 20
    told = refusal(servers, settings(server), None)
    assert "an error: POST ***/completions on *** of *** failed;" in told


def test_a_refusal_keeps_its_status_in_another_process() -> None:
    sent = pickle.loads(pickle.dumps(AnswerError("what", "where", "remedy", 404)))
    assert (str(sent), sent.status) == ("where: what; remedy", 404)


def test_an_error_with_the_code_of_one_that_passes_is_asked_again(
    servers: Servers, settings: Settings, server: ModelServer, problems: pa.Table
) -> None:
    in_run(server, servers, settings(server))
    server.errors = [{"error": {"message": "upstream", "code": code}} for code in (502, 429, 503)]
    policy = servers.known_policy("tiny", settings(server))
    table = servers.complete(policy, problems, settings(server), on_progress=lambda done: None)
    assert table.num_rows == 18
    hasty = settings(server, max_retries=1)
    in_run(server, servers, hasty)
    server.errors = [{"error": {"message": "upstream", "code": 502}}] * 20
    line = refusal(servers, hasty, problems)
    assert line.startswith("--base-url: the server answers 502: upstream (2 times)")


def test_an_answer_that_names_no_model_is_told_as_that(
    servers: Servers, settings: Settings, server: ModelServer, problems: pa.Table
) -> None:
    in_run(server, servers, settings(server))
    server.changes = {"model": None}
    assert "it names no model" in refusal(servers, settings(server), problems)
