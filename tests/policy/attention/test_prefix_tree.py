"""What prompts and completions share, on examples worked by hand."""

from __future__ import annotations

import pytest

from policy.attention.prefix_tree import build_prompt_suffix, common_prefix_length, few_distinct


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([[1, 2, 3]], 2),  # one prompt keeps its last token for itself
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2], [1, 2, 3]], 1),
        ([[1], [1]], 0),
        ([[7]], 0),
        ([[1, 2], [3, 2]], 0),
        ([[1, 2, 3], [1, 2, 4, 5]], 2),
        ([[1, 2, 3], [1, 2, 4], [1, 3]], 1),
        ([[1, 2, 3, 4], [1, 2, 9, 4]], 2),
    ],
)
def test_the_common_prefix_leaves_every_prompt_its_last_token(
    prompts: list[list[int]], length: int
) -> None:
    assert common_prefix_length(prompts) == length
    assert common_prefix_length([tuple(prompt) for prompt in prompts]) == length


def test_what_two_completions_share_belongs_to_the_prompt_suffix() -> None:
    # 10 is shared by three, 10 11 by two; the last two inputs are equal
    inputs = [[10, 11, 12], [10, 11, 13], [10, 14], [15], [15]]
    suffix = build_prompt_suffix([3, 4], inputs)
    assert suffix.prompt_tokens == 2
    assert suffix.tokens == [3, 4, 10, 11, 15]
    assert suffix.parents == [-1, 0, 1, 2, 1]
    assert suffix.depths == [0, 1, 2, 3, 2]
    assert suffix.paths == [[2, 3], [2, 3], [2], [4], [4]]
    assert suffix.completion_suffixes == [[12], [13], [14], [], []]


def test_a_single_completion_shares_nothing() -> None:
    suffix = build_prompt_suffix([3], [[10, 11]])
    assert (suffix.tokens, suffix.paths) == ([3], [[]])
    assert suffix.completion_suffixes == [[10, 11]]


def test_a_prompt_suffix_grows_no_further_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.attention.prefix_tree.MOST_SHARED", 2)
    suffix = build_prompt_suffix([3], [[10, 11, 12, 13]] * 2)
    assert suffix.tokens == [3, 10, 11]
    assert suffix.completion_suffixes == [[12, 13], [12, 13]]


def test_a_whole_suffix_takes_every_token() -> None:
    suffix = build_prompt_suffix([3, 4], [[10, 11, 12], [10, 14]], whole=True)
    assert suffix.tokens == [3, 4, 10, 11, 12, 14]
    assert suffix.parents == [-1, 0, 1, 2, 3, 2]
    assert suffix.paths == [[2, 3, 4], [2, 5]]
    assert suffix.completion_suffixes == [[], []]


def test_equal_beginnings_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.attention.prefix_tree.MOST_WHOLE", 3)
    assert few_distinct([[1, 2, 3], [1, 2, 3], [1, 2]])
    assert few_distinct([[], []])
    assert not few_distinct([[1, 2, 3], [1, 4]])
    assert not few_distinct([[1, 2, 3, 4]])
