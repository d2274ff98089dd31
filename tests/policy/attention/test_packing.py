"""The layout of a packed row, on an example small enough to work by hand."""

import random

import pytest
import torch

from policy.attention.packing import completion_mask, pack

CPU = torch.device("cpu")
# common prefix 1 2; prompt suffixes [3 4] and [5]; two completions each
PROMPTS = [[1, 2, 3, 4], [1, 2, 5]]
COMPLETIONS = [[10, 11, 12], [13], [14, 15], [16, 17, 18, 19]]


@pytest.fixture
def own_suffixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short completions have suffixes of their own, as long ones do."""
    monkeypatch.setattr("policy.attention.prefix_tree.MOST_WHOLE", 0)


@pytest.mark.usefixtures("own_suffixes")
def test_every_prefix_is_laid_out_once_and_last_tokens_are_left_out() -> None:
    packed = pack(PROMPTS, COMPLETIONS, CPU)
    assert packed.tokens.tolist() == [1, 2, 3, 4, 5, 10, 11, 14, 16, 17, 18]
    assert packed.positions.tolist() == [0, 1, 2, 3, 2, 4, 5, 3, 3, 4, 5]
    assert packed.tree.common_prefix == 2
    assert packed.tree.prompt_suffixes.tokens == 3
    assert packed.tree.completion_suffixes.tokens == 6
    assert packed.tree.longest == 6


@pytest.mark.usefixtures("own_suffixes")
def test_the_first_tokens_of_all_completions_are_predicted_at_one_place() -> None:
    packed = pack(PROMPTS, COMPLETIONS, CPU)
    # the prompts end at places 3 and 4 of the row; then come the completions' own places
    assert packed.predicting.tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert packed.rows.tolist() == [0, 2, 3, 0, 1, 4, 1, 5, 6, 7]
    assert packed.targets.tolist() == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]


@pytest.mark.usefixtures("own_suffixes")
def test_blocks_pad_suffixes_on_the_right_and_lead_back_to_the_tokens() -> None:
    padded = pack(PROMPTS, COMPLETIONS, CPU).tree.completion_suffixes
    assert padded.block.tolist() == [[0, 1, 0], [0, 0, 0], [2, 0, 0], [3, 4, 5]]
    assert padded.back.tolist() == [0, 1, 6, 9, 10, 11]


@pytest.mark.usefixtures("own_suffixes")
def test_what_completions_share_lies_in_the_row_once() -> None:
    # 10 is shared by three, 10 11 by two; the last two completions are equal
    completions = [[10, 11, 12, 9], [10, 11, 13, 9], [10, 14, 9], [15, 9], [15, 9]]
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


@pytest.mark.usefixtures("own_suffixes")
def test_a_token_sees_its_own_path_only() -> None:
    completions = [[10, 11, 12, 9], [10, 11, 13, 9], [15, 9], [15, 9]]
    tree = pack([[1, 3, 4]], completions, CPU).tree
    within = (tree.within_prompt_suffixes == 0)[0, 0, :, 0].long()
    # common prefix: 1 3; prompt suffix: 4 10 11 15, where 15 does not see 10 and 11
    assert within.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    leading = (tree.to_prompt_suffixes == 0)[0, :, 0, 0].long()
    assert leading.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1]]


def test_short_completions_lie_in_the_prompt_suffixes_whole() -> None:
    packed = pack(PROMPTS, COMPLETIONS, CPU)
    # a problem's prompt suffix is followed by all that its completions predict from
    assert packed.tokens.tolist() == [1, 2, 3, 4, 10, 11, 5, 14, 16, 17, 18]
    assert packed.positions.tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 3, 4, 5]
    assert packed.tree.prompt_suffixes.tokens == 9
    assert packed.tree.completion_suffixes.tokens == 0
    assert packed.predicting[packed.rows].tolist() == [3, 4, 5, 3, 6, 7, 6, 8, 9, 10]


def test_one_long_completion_gives_all_completions_suffixes_of_their_own() -> None:
    long = [*range(20, 20 + 120), 9]
    packed = pack(PROMPTS, [*COMPLETIONS[:3], long], CPU)
    assert packed.tree.completion_suffixes.tokens == 2 + 0 + 1 + 120


def test_every_path_through_the_row_spells_its_prompt_and_completion() -> None:
    rng = random.Random(0)
    prompts = [[1, 2, *(rng.randrange(3) for _ in range(rng.randint(1, 5)))] for _ in range(4)]
    completions = [[rng.randrange(2) for _ in range(rng.randint(1, 6))] for _ in range(20)]
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
