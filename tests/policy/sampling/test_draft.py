"""How completions will probably begin, by hand; and that the guess changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from policy.model.load import Policy
from policy.sampling import shared_decoding
from policy.sampling.draft import common_draft
from policy.sampling.sample import Samples, sample
from schemas.config import SamplingSettings

TURN = [7, 8, 9]  # what comes before each answer


def shots(*answers: list[int]) -> list[int]:
    """A few-shot prompt with these answers, which ends where the next one begins."""
    return [1, *(token for answer in answers for token in (*TURN, *answer, 2)), 5, *TURN]


def test_a_draft_is_what_all_examples_begin_with() -> None:
    assert common_draft([shots([20, 21, 30], [20, 21, 31])], 9) == [20, 21]
    assert common_draft([shots([20, 21, 30], [20, 22, 30])], 9) == [20]
    assert common_draft([shots([20], [21])], 9) == []


def test_one_example_alone_would_draft_its_own_answer() -> None:
    assert common_draft([shots([20, 21, 30])], 9) == []
    assert common_draft([[5, *TURN]], 9) == []
    assert common_draft([TURN], 9) == []


def test_a_draft_suits_all_prompts_and_the_room_for_new_tokens() -> None:
    one, other = shots([20, 21, 22], [20, 21, 23]), shots([20, 25], [20, 26])
    assert common_draft([one, other], 9) == [20]
    assert common_draft([one], 1) == [20]
    assert common_draft([one], 0) == []
    assert common_draft([one, [1, 2, 3]], 9) == []


def drawn(policy: Policy, prompts: list[list[int]], seed: int = 3) -> Samples:
    settings = SamplingSettings(max_new_tokens=6)
    return sample(policy, prompts, samples=12, settings=settings, seed=seed)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("draft", [[], [4], [4, 4, 4], [4, 9, 5, 6, 3]])
def test_no_draft_changes_what_is_sampled(
    draft: list[int],
    architecture: str,
    tiny_policy: Callable[[str], Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither one that all follow, nor one that some leave, nor one that nobody follows."""
    policy = tiny_policy(architecture)
    prompts = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12]]
    monkeypatch.setattr(shared_decoding, "common_draft", lambda asked, limit: [])
    plain = drawn(policy, prompts)
    likely = plain.token_ids[0]
    guesses = draft or likely[:3]
    monkeypatch.setattr(shared_decoding, "common_draft", lambda asked, limit: guesses[:limit])
    guessed = drawn(policy, prompts)
    assert plain.decoder == guessed.decoder == "shared"
    assert guessed.token_ids == plain.token_ids
    assert guessed.finish_reasons == plain.finish_reasons
    for mine, theirs in zip(guessed.logprobs, plain.logprobs, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_what_follows_the_draft_needs_no_pass(
    tiny_policy: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny_policy("llama")
    settings = SamplingSettings(max_new_tokens=4)
    seed, prompts = 0, [[5, 6, 7, 8]]
    while len(sample(policy, prompts, samples=1, settings=settings, seed=seed).token_ids[0]) < 4:
        seed += 1
    passes: list[int] = []
    forward = shared_decoding.SharedDecoder._forward

    def counted(decoder: object, ids: object, *others: object) -> object:
        passes.append(len(ids))  # type: ignore[arg-type]
        return forward(decoder, ids, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_decoding.SharedDecoder, "_forward", counted)
    plain = sample(policy, prompts, samples=1, settings=settings, seed=seed)
    without = len(passes)
    passes.clear()
    answer = plain.token_ids[0]
    monkeypatch.setattr(shared_decoding, "common_draft", lambda asked, limit: answer[:limit])
    again = sample(policy, prompts, samples=1, settings=settings, seed=seed)
    assert again.token_ids == plain.token_ids
    assert len(passes) == without - 3


def test_too_many_problems_keep_no_draft(
    tiny_policy: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logits after each drafted token are kept, and there is a bound to that."""
    policy = tiny_policy("llama")
    asked: list[int] = []
    read = shared_decoding.SharedDecoder._read

    def noted(decoder: object, suffixes: object, lengths: object, drafted: int) -> object:
        asked.append(drafted)
        return read(decoder, suffixes, lengths, drafted)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_decoding.SharedDecoder, "_read", noted)
    monkeypatch.setattr(shared_decoding, "common_draft", lambda asked, limit: [4, 4])
    for most in (6, 5):
        monkeypatch.setattr(shared_decoding, "MOST_DRAFTS", most)
        drawn(policy, [[5, 6, 7], [5, 6, 9]])
    assert asked == [2, 0]
