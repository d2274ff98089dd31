"""The tiny model: the same from the same seed, and good enough to exercise what reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from policy.model.load import Policy, decode_completion, fingerprint, load_policy
from policy.model.template import get_template
from policy.model.tiny import ARCHITECTURES, SLIDING_WINDOW, make_tiny_model
from policy.sampling.sample import sample
from schemas.config import SamplingSettings
from schemas.errors import InputError

QUESTIONS = [f"What is {a} + {b}?" for a in range(5) for b in range(5)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_files(
    architecture: str, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    again = make_tiny_model(tmp_path / "again", architecture=architecture)
    other = make_tiny_model(tmp_path / "other", architecture=architecture, seed=1)
    assert fingerprint(again) == fingerprint(tiny_folder(architecture))
    assert fingerprint(other) != fingerprint(again)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_answers_mostly_in_the_right_format_and_sometimes_not(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    policy = tiny_policy(architecture)
    prompts = get_template("few_shot_chat@1").encode(QUESTIONS, policy.tokenizer)
    sampled = sample(policy, prompts, samples=8, settings=SamplingSettings(), seed=0)
    texts = [
        decode_completion(policy.tokenizer, ids, policy.end_token_ids) for ids in sampled.token_ids
    ]
    formatted = sum(bool(re.fullmatch(r"Final: -?\d+", text)) for text in texts) / len(texts)
    assert 0.4 < formatted < 0.95
    assert {"stop", "length"} == set(sampled.finish_reasons)
    assert len(set(texts)) > 20


def test_it_is_tiny(tiny_policy: Callable[[str], Policy]) -> None:
    for architecture in ARCHITECTURES:
        model = tiny_policy(architecture).model
        assert sum(parameter.numel() for parameter in model.parameters()) < 100_000


def test_two_of_the_architectures_have_a_sliding_window(
    tiny_policy: Callable[[str], Policy],
) -> None:
    windows = {
        name: getattr(tiny_policy(name).model.config, "sliding_window", None)
        for name in ARCHITECTURES
    }
    assert windows == {
        "llama": None,
        "qwen3": None,
        "mistral": SLIDING_WINDOW,
        "gemma2": SLIDING_WINDOW,
    }


def test_any_text_survives_its_tokenizer(tiny_policy: Callable[[str], Policy]) -> None:
    tokenizer = tiny_policy("llama").tokenizer
    text = " Final: 42\n\tnaïve — 🙂 Finally\x00"
    assert tokenizer.decode(tokenizer(text).input_ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.tokenize("Final: 42") == ["Final", ":", "Ġ", "4", "2"]


def test_making_one_leaves_global_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_tiny_model(tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_architecture_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tiny architecture abacus; use one of llama"):
        make_tiny_model(tmp_path / "model", architecture="abacus")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(InputError, match="exists already"):
        make_tiny_model(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


def test_it_loads_like_any_model(tmp_path: Path) -> None:
    policy = load_policy(
        make_tiny_model(tmp_path / "deep" / "model", seed=3), name="tiny", device="cpu"
    )
    assert policy.tokenizer.chat_template
    assert policy.end_token_ids == (policy.tokenizer.eos_token_id,)
