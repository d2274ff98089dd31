"""The layout of a packed row, on an example small enough to draw."""

import random

import pytest
import torch

from policy.attention.packing import completion_mask, header_length, pack
from policy.attention.prefix_tree import grow_stem

CPU = torch.device("cpu")
# header 1 2; rests [3 4] and [5]; two completions each
PROMPTS = [[1, 2, 3, 4], [1, 2, 5]]
COMPLETIONS = [[10, 11, 12], [13], [14, 15], [16, 17, 18, 19]]


def test_every_prefix_is_laid_out_once_and_last_tokens_are_left_out() -> None:
    packed = pack(PROMPTS, COMPLETIONS, CPU)
    assert packed.tokens.tolist() == [1, 2, 3, 4, 5, 10, 11, 14, 16, 17, 18]
    assert packed.positions.tolist() == [0, 1, 2, 3, 2, 4, 5, 3, 3, 4, 5]
    assert packed.tree.header == 2
    assert packed.tree.stems.tokens == 3
    assert packed.tree.tails.tokens == 6
    assert packed.tree.longest == 6


def test_the_first_tokens_of_all_completions_are_predicted_at_one_place() -> None:
    packed = pack(PROMPTS, COMPLETIONS, CPU)
    # the prompts end at places 3 and 4 of the row; then come the completions' own places
    assert packed.predicting.tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert packed.rows.tolist() == [0, 2, 3, 0, 1, 4, 1, 5, 6, 7]
    assert packed.targets.tolist() == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]


def test_blocks_pad_branches_on_the_right_and_lead_back_to_the_tokens() -> None:
    tails = pack(PROMPTS, COMPLETIONS, CPU).tree.tails
    assert tails.block.tolist() == [[0, 1, 0], [0, 0, 0], [2, 0, 0], [3, 4, 5]]
    assert tails.back.tolist() == [0, 1, 6, 9, 10, 11]


def test_what_completions_share_moves_into_the_stem() -> None:
    # 10 is shared by three, 10 11 by two; the last two completions are equal
    completions = [[10, 11, 12, 9], [10, 11, 13, 9], [10, 14, 9], [15, 9], [15, 9]]
    stem = grow_stem([3, 4], [completion[:-1] for completion in completions])
    assert stem.tokens == [3, 4, 10, 11, 15]
    assert stem.parents == [-1, 0, 1, 2, 1]
    assert stem.depths == [0, 1, 2, 3, 2]
    assert stem.paths == [[2, 3], [2, 3], [2], [4], [4]]
    assert stem.tails == [[12], [13], [14], [], []]

    packed = pack([[1, 3, 4]], completions, CPU)
    assert packed.tokens.tolist() == [1, 3, 4, 10, 11, 15, 12, 13, 14]
    assert packed.positions.tolist() == [0, 1, 2, 3, 4, 3, 5, 5, 4]
    # the 9 after 15 is predicted once, for two completions
    assert packed.predicting[packed.rows].tolist() == [
        *(2, 3, 4, 6),
        *(2, 3, 4, 7),
        *(2, 3, 8),
        *(2, 5),
        *(2, 5),
    ]


def test_a_token_sees_its_own_path_only() -> None:
    completions = [[10, 11, 12, 9], [10, 11, 13, 9], [15, 9], [15, 9]]
    tree = pack([[1, 3, 4]], completions, CPU).tree
    within = (tree.within_stems == 0)[0, 0, :, 0].long()
    # header: 1 3; stem: 4 10 11 15, where 15 does not see 10 and 11
    assert within.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    leading = (tree.to_stems == 0)[0, :, 0, 0].long()
    assert leading.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1]]


def test_a_stem_grows_no_further_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.attention.prefix_tree.MOST_SHARED", 2)
    stem = grow_stem([3], [[10, 11, 12, 13]] * 2)
    assert stem.tokens == [3, 10, 11]
    assert stem.tails == [[12, 13], [12, 13]]


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([[1, 2, 3]], 2),  # one prompt keeps its last token for itself
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2], [1, 2, 3]], 1),
        ([[1], [1]], 0),
        ([[1, 2], [3, 2]], 0),
        ([[1, 2, 3, 4], [1, 2, 9, 4]], 2),
    ],
)
def test_the_header_leaves_every_prompt_its_last_token(
    prompts: list[list[int]], length: int
) -> None:
    assert header_length(prompts) == length


def test_every_path_through_the_row_spells_its_prompt_and_completion() -> None:
    draw = random.Random(0)
    prompts = [[1, 2, *(draw.randrange(3) for _ in range(draw.randint(1, 5)))] for _ in range(4)]
    completions = [[draw.randrange(2) for _ in range(draw.randint(1, 6))] for _ in range(20)]
    packed = pack(prompts, completions, CPU)
    place = 0
    for index, completion in enumerate(completions):
        whole = [*prompts[index // 5], *completion]
        for step, token in enumerate(completion, start=len(prompts[index // 5])):
            predicted_from = packed.predicting[packed.rows[place]]
            assert packed.targets[place] == token
            assert packed.positions[predicted_from] == step - 1
            assert packed.tokens[predicted_from] == whole[step - 1]
            place += 1
    assert place == len(packed.targets)


def test_the_mask_is_true_on_the_tokens_of_each_completion() -> None:
    assert completion_mask([[7, 7], [7]], CPU).tolist() == [[True, True], [True, False]]
