"""The layout of a packed row, on an example small enough to draw."""

import random

import pytest
import torch

from policy.packing import completion_mask, header_length, pack, packed_size

CPU = torch.device("cpu")
# header 1 2; rests [3 4] and [5]; two completions each
PROMPTS = [[1, 2, 3, 4], [1, 2, 5]]
COMPLETIONS = [[10, 11, 12], [13], [14, 15], [16, 17, 18, 19]]


def test_every_prefix_is_laid_out_once_and_last_tokens_are_left_out() -> None:
    packed = pack(PROMPTS, COMPLETIONS, CPU)
    assert packed.tokens.tolist() == [1, 2, 3, 4, 5, 10, 11, 14, 16, 17, 18]
    assert packed.positions.tolist() == [0, 1, 2, 3, 2, 4, 5, 3, 3, 4, 5]
    assert packed.tree.header == 2
    assert packed.tree.prompts.tokens == 3
    assert packed.tree.completions.tokens == 6
    assert packed.tree.longest == 6


def test_the_first_tokens_of_all_completions_are_predicted_at_one_place() -> None:
    packed = pack(PROMPTS, COMPLETIONS, CPU)
    # the prompts end at places 3 and 4 of the row; then come the completions' own places
    assert packed.predicting.tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert packed.rows.tolist() == [0, 2, 3, 0, 1, 4, 1, 5, 6, 7]
    assert packed.targets.tolist() == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]


def test_blocks_pad_branches_on_the_right_and_lead_back_to_the_tokens() -> None:
    branches = pack(PROMPTS, COMPLETIONS, CPU).tree.completions
    assert branches.present.tolist() == [
        [True, True, False],
        [False, False, False],
        [True, False, False],
        [True, True, True],
    ]
    assert branches.block[branches.present].tolist() == [0, 1, 2, 3, 4, 5]
    assert branches.block.flatten()[branches.back].tolist() == [0, 1, 2, 3, 4, 5]


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


def test_sizes_add_up_to_the_row() -> None:
    draw = random.Random(0)
    prompts = [[1, 2, *(draw.randrange(9) for _ in range(draw.randint(1, 5)))] for _ in range(4)]
    completions = [[draw.randrange(9) for _ in range(draw.randint(1, 6))] for _ in range(12)]
    header = header_length(prompts)
    sizes = [
        packed_size(prompt, completions[3 * index : 3 * index + 3], header)
        for index, prompt in enumerate(prompts)
    ]
    assert header + sum(sizes) == len(pack(prompts, completions, CPU).tokens)


def test_the_mask_is_true_on_the_tokens_of_each_completion() -> None:
    assert completion_mask([[7, 7], [7]], CPU).tolist() == [[True, True], [True, False]]
