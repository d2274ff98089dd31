"""Sampling: exact log-probabilities, one result by either decoder, nothing left to chance."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from policy.attention import shared_prefix, support
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.model.load import Policy
from policy.model.template import get_template
from policy.model.tiny import ARCHITECTURES
from policy.sampling import sample as sampling
from policy.sampling.sample import Samples, batches, rows_that_fit
from schemas.config import SamplingSettings
from schemas.errors import InputError
from tests.policy.sampling.distribution import distribution

Prompts = list[list[int]]
sample = partial(sampling.sample, settings=SamplingSettings(max_new_tokens=12), seed=3)
QUESTIONS = ["What is 1 + 1?", "What is 12 + 7?", "Whatever", "What is 3 * 333?", "What is 12 + 8?"]


@pytest.fixture
def llama(tiny_policy: Callable[[str], Policy]) -> Policy:
    """The tiny model that the shared decoder can always serve."""
    return tiny_policy("llama")


def few_shot(policy: Policy, *questions: str) -> Prompts:
    """Prompts that begin alike and differ in length."""
    return get_template("few_shot_chat@1").encode(questions or QUESTIONS, policy.tokenizer)


def forward(policy: Policy, ids: list[int]) -> Tensor:
    """Logits [tokens, V] of one sequence alone, without any cache."""
    with torch.inference_mode():
        logits: torch.Tensor = policy.model(torch.tensor([ids]), use_cache=False).logits[0]
    return logits


def error_of_logprobs(
    policy: Policy, prompts: Prompts, sampled: Samples, settings: SamplingSettings
) -> float:
    """The largest difference in nats between a recorded and a recomputed log-probability."""
    worst = 0.0
    for row, (ids, recorded) in enumerate(zip(sampled.token_ids, sampled.logprobs, strict=True)):
        prompt = prompts[row // sampled.samples_per_problem]
        logits = forward(policy, [*prompt, *ids])[len(prompt) - 1 : -1]
        for token, logprob, row_logits in zip(ids, recorded, logits.tolist(), strict=True):
            exact = math.log(distribution(row_logits, settings)[token])
            worst = max(worst, abs(exact - logprob))
    return worst


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, nothing is shared."""
    monkeypatch.setattr(support, "unsupported_reason", lambda model, tokens: "so wants the test")


def assert_same(one: Samples, other: Samples) -> None:
    """The same tokens and, up to rounding, the same log-probabilities."""
    assert one.token_ids == other.token_ids
    assert one.finish_reasons == other.finish_reasons
    for first, second in zip(one.logprobs, other.logprobs, strict=True):
        assert first == pytest.approx(second, abs=1e-4)


SETTINGS = [
    SamplingSettings(max_new_tokens=12),
    SamplingSettings(max_new_tokens=8, temperature=0.7),
    SamplingSettings(max_new_tokens=8, temperature=1.5, top_k=20, top_p=0.9),
    SamplingSettings(max_new_tokens=8, temperature=0),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "cold", "cut", "greedy"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_recorded_log_probabilities_are_those_of_a_plain_forward_pass(
    architecture: str, settings: SamplingSettings, tiny_policy: Callable[[str], Policy]
) -> None:
    policy = tiny_policy(architecture)
    prompts = few_shot(policy)
    sampled = sample(policy, prompts, samples=6, settings=settings)
    assert error_of_logprobs(policy, prompts, sampled, settings) < 1e-4


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_both_decoders_sample_the_same(
    architecture: str, tiny_policy: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny_policy(architecture)
    prompts = few_shot(policy)
    shared = sample(policy, prompts, samples=40)
    plainly(monkeypatch)
    plain = sample(policy, prompts, samples=40)
    assert (shared.decoder, plain.decoder) == ("shared", "plain")
    # rounding of 1e-6 may pick a token's neighbour where the uniform number lies between the two
    rows = range(len(plain.token_ids))
    equal = [row for row in rows if shared.token_ids[row] == plain.token_ids[row]]
    assert len(equal) >= len(rows) - 1
    for row in equal:
        assert shared.finish_reasons[row] == plain.finish_reasons[row]
        assert shared.logprobs[row] == pytest.approx(plain.logprobs[row], abs=1e-4)


PROMPTS = {
    "one": [[5, 6, 7, 8]],
    "one token": [[9]],
    "nothing in common": [[5, 6, 7], [8, 6], [9]],
    "equal": [[5, 6, 7], [5, 6, 7]],
    "one within another": [[5, 6, 7], [5, 6], [5, 6, 7, 8]],
    "very unequal": [[5, *range(10, 90)], [5, 6], [5, 7, 7]],
    "in no order": [[5, 9, 1], [5, 3], [5, 9], [5, 3, 3, 3]],
}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
@pytest.mark.parametrize("samples", [1, 9])
def test_both_decoders_sample_the_same_whatever_prompts_have_in_common(
    prompts: Prompts, samples: int, llama: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = sample(llama, prompts, samples=samples)
    plainly(monkeypatch)
    assert_same(shared, sample(llama, prompts, samples=samples))
    assert shared.decoder == "shared"
    assert error_of_logprobs(llama, prompts, shared, SamplingSettings()) < 1e-4


def test_prompts_read_in_several_passes_are_read_the_same(
    llama: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sample(llama, few_shot(llama), samples=3)
    monkeypatch.setattr("policy.sampling.shared_decoding.CHUNK_TOKENS", 30)
    assert_same(whole, sample(llama, few_shot(llama), samples=3))


def test_a_window_wider_than_prompt_and_completion_hides_nothing(
    tiny_policy: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny_policy("mistral")
    short: Prompts = [[5, 6, 7], [5, 8]]
    shared = sample(policy, short, samples=9)
    long = sample(policy, few_shot(policy), samples=1)
    assert (shared.decoder, long.decoder) == ("shared", "plain")
    plainly(monkeypatch)
    assert_same(shared, sample(policy, short, samples=9))


def test_soft_capped_attention_is_not_shared(tiny_policy: Callable[[str], Policy]) -> None:
    assert sample(tiny_policy("gemma2"), [[5, 6, 7], [5, 8]], samples=2).decoder == "plain"


def test_a_model_that_asks_its_attention_for_something_unknown_is_decoded_plainly(
    llama: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = few_shot(llama)
    shared = sample(llama, prompts, samples=4)
    # as if position ids were a feature that this attention has never heard of
    known = support.HARMLESS - {"position_ids"}
    monkeypatch.setattr("policy.attention.shared_prefix.HARMLESS", known)
    plain = sample(llama, prompts, samples=4)
    assert (shared.decoder, plain.decoder) == ("shared", "plain")
    assert_same(shared, plain)
    assert llama.model.config._attn_implementation == "sdpa"


def test_a_model_that_wants_more_of_its_cache_is_decoded_plainly(
    llama: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = sample(llama, few_shot(llama), samples=4)
    monkeypatch.delattr(shared_prefix.PrefixCache, "update")  # the library's own finds no layers
    plain = sample(llama, few_shot(llama), samples=4)
    assert plain.decoder == "plain"
    assert_same(shared, plain)


def test_a_model_that_cannot_be_shared_gives_the_same_warning_each_time(
    tiny_policy: Callable[[str], Policy], caplog: pytest.LogCaptureFixture
) -> None:
    policy = tiny_policy("mistral")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            sample(policy, few_shot(policy), samples=1)
            CompletionLogprobs(policy.model)(policy.model, few_shot(policy), [[5]] * 5, 1.0)
    line = (
        "MistralForCausalLM takes the plain path, the same numbers several times slower: "
        "it attends to the last 24 tokens only"
    )
    assert [record.getMessage() for record in caplog.records] == [line] * 4


def test_first_tokens_follow_the_softmax_of_a_plain_forward_pass(llama: Policy) -> None:
    """Chi-square over 20,000 completions of each of two prompts."""
    prompts = few_shot(llama, "What is 1 + 1?", "What is 12 + 7?")
    sampled = sample(llama, prompts, samples=20_000, settings=SamplingSettings(max_new_tokens=1))
    for index, prompt in enumerate(prompts):
        first = [ids[0] for ids in sampled.token_ids[index * 20_000 : (index + 1) * 20_000]]
        expected = forward(llama, prompt)[-1].double().softmax(dim=-1) * 20_000
        often = expected > 5
        observed = torch.tensor(first).bincount(minlength=len(expected)).double()
        rest = [float(counts[~often].sum()) for counts in (observed, expected)]
        result = stats.chisquare([*observed[often], rest[0]], [*expected[often], rest[1]])
        assert result.pvalue > 0.001


def test_the_same_call_gives_the_same_bytes(llama: Policy) -> None:
    prompts = few_shot(llama)
    assert sample(llama, prompts, samples=8) == sample(llama, prompts, samples=8)
    assert sample(llama, prompts, samples=8) != sample(llama, prompts, samples=8, seed=4)


def test_any_seed_of_63_bits_is_taken(llama: Policy) -> None:
    assert sample(llama, [[5]], samples=1, seed=2**63 - 1).token_ids


def test_global_random_state_is_neither_read_nor_changed(llama: Policy) -> None:
    torch.manual_seed(1)
    first = sample(llama, [[5, 6]], samples=4)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)
    assert sample(llama, [[5, 6]], samples=4) == first


@pytest.mark.parametrize("max_rows", [1, 4, 7, 16, 1000])
def test_a_row_s_tokens_do_not_depend_on_how_many_are_decoded_together(
    max_rows: int, llama: Policy
) -> None:
    prompts = few_shot(llama)
    together = sample(llama, prompts, samples=7)
    apart = sample(llama, prompts, samples=7, max_rows=max_rows)
    assert_same(together, apart)
    assert together.rows_per_batch == 35
    assert apart.rows_per_batch == min(max_rows, 35)


def test_more_prompts_leave_the_completions_of_the_first_ones_as_they_were(llama: Policy) -> None:
    prompts = few_shot(llama)
    some, more = (sample(llama, prompts[:count], samples=5) for count in (2, 5))
    assert more.token_ids[:10] == some.token_ids


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_a_completion_ends_with_its_end_token_or_is_cut_off(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    policy = tiny_policy(architecture)
    sampled = sample(policy, few_shot(policy), samples=20)
    assert set(sampled.finish_reasons) == {"stop", "length"}
    (end,) = policy.end_token_ids
    for ids, logprobs, reason in zip(
        sampled.token_ids, sampled.logprobs, sampled.finish_reasons, strict=True
    ):
        assert end not in ids[:-1]
        assert (ids[-1] == end) == (reason == "stop")
        assert len(ids) == 12 if reason == "length" else 1 <= len(ids) <= 12
        assert len(logprobs) == len(ids)
        assert all(logprob <= 0 for logprob in logprobs)


def test_a_completion_that_ends_with_its_last_token_was_ended_by_the_model(llama: Policy) -> None:
    prompts = few_shot(llama)
    free = sample(llama, prompts, samples=20)
    at_most = max(
        len(ids)
        for ids, reason in zip(free.token_ids, free.finish_reasons, strict=True)
        if reason == "stop" and len(ids) < 12
    )
    settings = SamplingSettings(max_new_tokens=at_most)
    sampled = sample(llama, prompts, samples=200, settings=settings)
    (end,) = llama.end_token_ids
    full = [
        (ids[-1] == end, reason)
        for ids, reason in zip(sampled.token_ids, sampled.finish_reasons, strict=True)
        if len(ids) == at_most
    ]
    assert set(full) == {(True, "stop"), (False, "length")}


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_greedy_completions_are_all_alike_and_certain(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    policy = tiny_policy(architecture)
    (prompt,) = few_shot(policy, "What is 1 + 1?")
    greedy = SamplingSettings(max_new_tokens=6, temperature=0)
    sampled = sample(policy, [prompt], samples=5, settings=greedy)
    expected: list[int] = []
    while len(expected) < 6 and not set(expected) & set(policy.end_token_ids):
        expected.append(int(forward(policy, [*prompt, *expected])[-1].argmax()))
    assert sampled.token_ids == [expected] * 5
    assert sampled.logprobs == [[0.0] * len(expected)] * 5


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_progress_counts_finished_completions_up_to_all(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    policy = tiny_policy(architecture)
    told: list[int] = []
    sample(policy, few_shot(policy), samples=6, max_rows=12, on_progress=told.append)
    assert told[-1] == 30
    assert told == sorted(set(told))
    assert len(told) > 3


def test_the_model_is_left_as_it_was_even_when_sampling_breaks_off(llama: Policy) -> None:
    def break_off(_: int) -> None:
        raise KeyboardInterrupt

    llama.model.train()
    try:
        with pytest.raises(KeyboardInterrupt):
            sample(llama, few_shot(llama), samples=4, on_progress=break_off)
        assert llama.model.training
    finally:
        llama.model.eval()
    assert llama.model.config._attn_implementation == "sdpa"
    sample(llama, few_shot(llama), samples=1)
    assert not llama.model.training


def test_a_diverged_model_is_reported(tiny_policy: Callable[[str], Policy], llama: Policy) -> None:
    norm = llama.model.get_parameter("model.norm.weight")
    kept = norm.detach().clone()
    try:
        norm.data.fill_(torch.nan)
        with pytest.raises(InputError, match="not finite"):
            sample(llama, [[5]], samples=1)
    finally:
        norm.data.copy_(kept)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "no prompts"),
        ([[5], []], {}, "prompt 1 is empty"),
        ([[5]], {"samples": 0}, "cannot sample 0 completions"),
        ([[5]], {"max_rows": 0}, "cannot decode 0 completions at a time"),
        ([[5], [5] * 501], {}, "prompt 1 has 501 tokens, which with 12 new ones .* context of 512"),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    prompts: Prompts, options: dict[str, Any], message: str, llama: Policy
) -> None:
    with pytest.raises(InputError, match=message):
        sample(llama, prompts, **{"samples": 1, **options})


def test_the_longest_prompt_that_fits_is_taken(llama: Policy) -> None:
    assert sample(llama, [[5] * 500], samples=1).token_ids


def test_batches_hold_whole_problems_where_one_fits() -> None:
    assert list(batches(5, 3, 7)) == [(0, 6), (6, 12), (12, 15)]
    assert list(batches(2, 3, 100)) == [(0, 6)]
    assert list(batches(2, 5, 2)) == [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9), (9, 10)]
    assert list(batches(3, 1, 1)) == [(0, 1), (1, 2), (2, 3)]


def test_rows_that_fit_follow_the_memory_within_bounds(
    llama: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 2 layers × (keys + values) × 2 heads × 16 wide × 10 tokens, and 2 × 264 logits, 4 bytes each
    row = 4 * (2 * 2 * 2 * 16 * 10 + 2 * 264)
    for memory, rows in ((0, 1), (4 * 100 * row, 100), (2**50, sampling.MOST_ROWS)):
        monkeypatch.setattr("policy.model.passes.memory_bytes", lambda model, memory=memory: memory)
        assert rows_that_fit(llama, 10) == rows


@pytest.mark.slow
class TestRealModel:
    """The embedded default, whose sums are long enough for rounding to show."""

    def test_log_probabilities_agree_with_a_plain_forward_pass(
        self, default_policy: Policy
    ) -> None:
        questions = [
            f"What is {a} {s} {b}?" for a, s, b in ((9, "+", 14), (20, "-", 7), (6, "*", 12))
        ]
        prompts = few_shot(default_policy, *questions)
        sampled = sample(default_policy, prompts, samples=4)
        assert sampled.decoder == "shared"
        assert error_of_logprobs(default_policy, prompts, sampled, SamplingSettings()) < 1e-4

    def test_both_decoders_sample_nearly_all_rows_the_same(
        self, default_policy: Policy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Among 49,152 tokens some are so rare that rounding can pick a rare one's neighbour."""
        prompts = few_shot(default_policy, *(f"What is {a} + {a * 7}?" for a in range(2, 8)))
        shared = sample(default_policy, prompts, samples=8)
        plainly(monkeypatch)
        plain = sample(default_policy, prompts, samples=8)
        equal = [row for row in range(48) if shared.token_ids[row] == plain.token_ids[row]]
        assert len(equal) >= 44
        for row in equal:
            assert shared.logprobs[row] == pytest.approx(plain.logprobs[row], abs=1e-4)
