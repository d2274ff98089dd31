"""What a server is asked, what is made of its answers, and how faults in passing are survived."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from artifacts.store.parquet_table import SCHEMAS
from engines.in_process import complete
from engines.openai_server.request import problem_seed
from engines.openai_server.servers import Servers
from policy.model.load import fingerprint, load_policy
from policy.model.template import get_template
from policy.sampling.sample import sample
from schemas.config import GenerationSettings
from schemas.engine import NOT_KNOWN
from schemas.errors import InputError
from tests.model_servers.server import ModelServer

Settings = Callable[..., GenerationSettings]


def completed(servers: Servers, problems: pa.Table, settings: GenerationSettings) -> pa.Table:
    policy = servers.policy("tiny", settings)
    table = servers.complete(policy, problems, settings, on_progress=lambda done: None)
    return SCHEMAS["completions"].validate(table)


def test_a_server_with_our_model_gives_the_tokens_and_log_probabilities_of_our_sampler(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings, tiny: str
) -> None:
    table = completed(servers, problems, settings(server, samples=2))
    assert table.column_names == list(SCHEMAS["completions"].columns)
    assert all(table[name].null_count == 0 for name in table.column_names)
    policy = load_policy(Path(tiny), name="tiny", device="cpu")
    asked = problems["prompt"].to_pylist()
    prompts = get_template("few_shot_chat@1").encode(asked, policy.tokenizer)
    rows = iter(table.to_pylist())
    for name, prompt in zip(problems["problem_id"].to_pylist(), prompts, strict=True):
        for place in range(2):
            row, seed = next(rows), problem_seed(0, name) + place
            own = sample(policy, [prompt], samples=1, settings=settings(server).sampling, seed=seed)
            assert (row["problem_id"], row["sample_index"]) == (name, place)
            assert row["shard_seed"] == seed
            assert row["token_ids"] == own.token_ids[0]
            assert row["logprobs"] == pytest.approx(own.logprobs[0], abs=1e-5)
            assert row["sum_logprob"] == pytest.approx(sum(own.logprobs[0]), abs=1e-5)
            assert row["token_count"] == len(row["token_ids"])


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    first = completed(servers, problems, settings(server))
    assert completed(servers, problems, settings(server)).equals(first)
    assert completed(servers, problems, settings(server, samples_per_request=1)).equals(first)
    assert completed(servers, problems, settings(server, num_concurrent=1)).equals(first)
    part = completed(servers, problems.slice(2, 2), settings(server))
    assert part.equals(first.slice(6, 6)), "a shard has no part in the seeds"
    assert not completed(servers, problems, settings(server, seed=1)).equals(first)


def test_every_sampling_parameter_is_sent(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    completed(servers, problems, settings(server, temperature=0.5, top_p=0.9, top_k=7, samples=2))
    asked = server.asked[-len(problems) :]
    for body in asked:
        said = {name: body[name] for name in body if name not in ("prompt", "seed")}
        assert said == {
            "model": "tiny",
            "n": 2,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 6,
            "logprobs": 0,
            "stream": False,
            "top_k": 7,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "return_token_ids": True,
        }
        assert all(type(token) is int for token in body["prompt"])
    seeds = sorted(body["seed"] for body in asked)
    assert min(b - a for a, b in itertools.pairwise(seeds)) > 2, "no number is shared"


def test_text_is_sent_where_the_server_is_to_be_sent_text(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    by_ids = completed(servers, problems, settings(server))
    by_text = completed(servers, problems, settings(server, text_prompts=True))
    assert by_text.equals(by_ids)
    sent = server.asked[-1]
    assert sent["prompt"].endswith("<|assistant|>")
    assert sent["add_special_tokens"] is False


def test_a_problem_that_spells_a_control_token_is_not_sent_as_text(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    index = problems.column_names.index("prompt")
    spelt = problems.set_column(index, "prompt", pa.array(["<|end|>1 + 1?"] * len(problems)))
    completed(servers, spelt, settings(server))
    with pytest.raises(InputError, match="spells a control token"):
        completed(servers, spelt, settings(server, text_prompts=True))


def test_greedy_samples_are_asked_for_one_by_one_and_are_certain(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings, tiny: str
) -> None:
    asked = settings(server, temperature=0.0, samples=2)
    table = completed(servers, problems, asked)
    assert {body["n"] for body in server.asked[2:]} == {1}
    assert set(table["sum_logprob"].to_pylist()) == {0.0}
    policy = load_policy(Path(tiny), name="tiny", device="cpu")
    own = complete(policy, problems, asked, seed=0, on_progress=lambda done: None)
    assert table["token_ids"].to_pylist() == own["token_ids"].to_pylist()


def test_top_k_in_the_body_of_ones_own_is_that_of_the_run_and_is_checked_against_none(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    extra = '{"top_k": 2, "return_token_ids": true, "skip_special_tokens": false}'
    own = settings(server, extra_body=extra, top_k=2)
    assert completed(servers, problems, own).equals(
        completed(servers, problems, settings(server, top_k=2))
    )
    assert [body["top_k"] for body in server.asked[:3]] == [-1, 2, 2]


def test_a_server_that_gives_text_alone_leaves_null_columns(
    poor_server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    asked = settings(poor_server, tokenizer=None, template="few_shot_plain@1", extra_body="{}")
    policy = servers.policy("tiny", asked)
    assert policy.engine is not None
    assert (policy.engine.gives, policy.engine.prompts) == ("text", "text")
    assert policy.engine.words == (
        "engine not known, version not known, dtype not known, model digest not known"
    )
    table = completed(servers, problems, asked)
    assert set(table["text"].to_pylist()) == {"Final: 3"}
    for name in ("token_count", "sum_logprob", "token_ids", "logprobs"):
        assert table[name].null_count == len(table)
    assert "top_k" not in poor_server.asked[-1]


def test_a_server_that_fails_to_list_its_models_is_measured_and_not_known(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    """As `transformers serve` does where the hub's cache does not exist."""
    server.listless = True
    table = completed(servers, problems, settings(server, samples=2))
    assert table.num_rows == 2 * problems.num_rows
    engine = servers.known_policy("tiny", settings(server, samples=2)).engine
    assert engine is not None
    assert (engine.name, engine.model_digest) == (NOT_KNOWN, NOT_KNOWN)


def test_the_engine_says_what_can_be_known_and_never_the_address(
    server: ModelServer,
    servers: Servers,
    settings: Settings,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = servers.policy("tiny", settings(server))
    assert policy.engine is not None
    assert (policy.engine.name, policy.engine.version) == ("vllm", "0.32.0")
    assert policy.digest == policy.engine.model_digest == fingerprint(Path(tiny))
    assert policy.engine.dtype == NOT_KNOWN
    port = server.url.split(":")[2].split("/")[0]
    assert port not in policy.model_dump_json()
    assert port not in settings(server).model_dump_json()
    monkeypatch.chdir(Path(tiny).parent)  # the server may run in another folder
    for root in ("/nowhere", Path(tiny).name):
        server.root = root
        unknown = servers.policy("tiny", settings(server))
        assert unknown.engine is not None
        assert unknown.engine.model_digest == NOT_KNOWN
        assert unknown.digest != policy.digest


def test_503s_and_cut_connections_are_survived(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    whole = completed(servers, problems, settings(server))
    server.refusals = [(503, {}), (500, {}), (502, {})]
    server.cuts = 2
    assert completed(servers, problems, settings(server)).equals(whole)
    assert (server.refusals, server.cuts) == ([], 0)


def test_a_rate_limit_is_waited_for_by_all_and_is_no_failure(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    asked = settings(server, max_retries=0, num_concurrent=1)
    policy = servers.policy("tiny", asked)
    before = len(server.asked)
    server.ready = before + 1
    server.refusals = [(429, {"retry-after": "0.4"}), (429, {"retry-after-ms": "300"})]
    servers.complete(policy, problems, asked, on_progress=lambda done: None)
    times = server.at[before + 1 :]
    assert times[1] - times[0] >= 0.4
    assert times[2] - times[1] >= 0.3
    assert len(times) == len(problems) - 1 + 2, "nothing was asked while it was to wait"


def test_a_rate_limit_without_a_time_is_met_with_pauses_that_double(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    asked = settings(server, max_retries=0, num_concurrent=1)
    policy = servers.policy("tiny", asked)
    before = len(server.asked)
    server.refusals = [(429, {})] * 7
    servers.complete(policy, problems, asked, on_progress=lambda done: None)
    first, *later = server.at[before : before + 8]
    since = [at - first for at in later]
    assert since[-1] > 0.3, "six times doubled, from half a hundredth of a second"
    assert since[-1] > 1.3 * since[-2], "the last is as long as all before it"


def test_no_more_requests_at_a_time_than_are_wanted(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    completed(servers, problems, settings(server, num_concurrent=2))
    assert server.most_open == 2


def test_progress_counts_completions(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    heard: list[int] = []
    policy = servers.policy("tiny", settings(server))
    servers.complete(policy, problems, settings(server), on_progress=heard.append)
    assert heard == [3, 6, 9, 12, 15, 18]


def test_an_interrupt_leaves_no_request_running(
    server: ModelServer, servers: Servers, problems: pa.Table, settings: Settings
) -> None:
    policy = servers.policy("tiny", settings(server))
    server.hangs = True

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while server.open < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        servers.complete(
            policy, problems, settings(server, num_concurrent=4), on_progress=lambda done: None
        )
    asked, deadline = len(server.asked), time.monotonic() + 10
    while server.open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.open == 0, "the server sees that nobody waits any more"
    assert len(server.asked) == asked, "and is asked nothing more"
    assert not [one for one in threading.enumerate() if "portal" in one.name.lower()]
