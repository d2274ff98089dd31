"""Drawing tokens: the right distribution, the right log-probability, every uniform honoured."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from policy.sampling.categorical import BLOCK, CHUNK_BYTES, sample_tokens
from schemas.config import SamplingSettings
from schemas.errors import InputError
from tests.policy.sampling.distribution import distribution

PLAIN = SamplingSettings()
EDGE = 1 - 2**-53  # the largest uniform below 1


def sample_from(
    logits: list[float], uniforms: list[float], settings: SamplingSettings = PLAIN
) -> tuple[list[int], list[float]]:
    """Tokens and log-probabilities of several samples from one distribution."""
    owner = torch.zeros(len(uniforms), dtype=torch.long)
    tokens, logprobs = sample_tokens(
        torch.tensor([logits]), owner, torch.tensor(uniforms, dtype=torch.float64), settings
    )
    return tokens.tolist(), logprobs.tolist()


def ln(*probabilities: float) -> list[float]:
    """Logits, up to a constant that must not matter."""
    return [math.log(p) + 3.5 if p else -math.inf for p in probabilities]


def test_a_token_is_the_first_whose_cumulative_probability_exceeds_the_uniform() -> None:
    # cumulative: 0.2, 0.2, 0.7, 1.0
    uniforms = [0.0, 0.19, 0.21, 0.69, 0.71, EDGE]
    tokens, logprobs = sample_from(ln(0.2, 0.0, 0.5, 0.3), uniforms)
    assert tokens == [0, 0, 2, 2, 3, 3]
    expected = [math.log(p) for p in (0.2, 0.2, 0.5, 0.5, 0.3, 0.3)]
    assert logprobs == pytest.approx(expected, abs=1e-6)


def test_a_token_of_probability_zero_is_never_sampled() -> None:
    """Not even at either end of the range, nor where a whole block has no mass."""
    logits = [-math.inf] * (3 * BLOCK)
    logits[BLOCK + 5] = logits[BLOCK + 9] = 0.0
    tokens, logprobs = sample_from(logits, [0.0, 0.25, 0.75, EDGE])
    assert tokens == [BLOCK + 5, BLOCK + 5, BLOCK + 9, BLOCK + 9]
    assert logprobs == pytest.approx([math.log(0.5)] * 4)


@pytest.mark.parametrize("vocabulary", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17])
def test_any_size_of_vocabulary_is_sampled_from_exactly(vocabulary: int) -> None:
    """Against a plain cumulative sum in double precision, at uniforms between its steps."""
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(3, vocabulary, generator=generator) * 3
    exact = logits.double().softmax(dim=-1)
    steps = exact.cumsum(dim=-1)
    middles = steps - exact / 2
    owner = torch.arange(3).repeat_interleave(vocabulary)
    tokens, logprobs = sample_tokens(logits.clone(), owner, middles.flatten(), PLAIN)
    likely = exact.flatten() > 1e-6  # a step narrower than float32 rounding may be missed
    expected = torch.arange(vocabulary).repeat(3)
    assert torch.equal(tokens[likely], expected[likely])
    chosen = exact[owner, tokens].log()
    assert torch.allclose(logprobs, chosen, atol=1e-5)


def test_more_distributions_than_fit_into_one_chunk_are_each_sampled_from() -> None:
    vocabulary = 4096
    rows = 3 * (CHUNK_BYTES // (4 * vocabulary)) + 1
    targets = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(0))
    logits = torch.full((rows, vocabulary), -math.inf)
    logits[torch.arange(rows), targets] = 0.0
    owner = torch.tensor(
        [0, 0, 1, rows // 2, rows - 1, rows - 1]
    )  # most are sampled from by nobody
    tokens, logprobs = sample_tokens(logits, owner, torch.rand(6, dtype=torch.float64), PLAIN)
    assert torch.equal(tokens, targets[owner])
    assert logprobs.tolist() == [0.0] * 6


def test_frequencies_follow_the_softmax() -> None:
    """Chi-square of 40,000 samples from 700 tokens; a wrong block or offset fails it at once."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 700, generator=generator)
    probabilities = logits.double().softmax(dim=-1)[0]
    uniforms = torch.rand(40_000, generator=generator, dtype=torch.float64)
    owner = torch.zeros(len(uniforms), dtype=torch.long)
    tokens, _ = sample_tokens(logits.clone(), owner, uniforms, PLAIN)
    observed = tokens.bincount(minlength=700).double()
    assert stats.chisquare(observed.numpy(), (probabilities * 40_000).numpy()).pvalue > 0.001


def test_temperature_divides_the_logits() -> None:
    logits = [0.0, 2 * math.log(3)]
    cold = SamplingSettings(temperature=2)  # then 1 : 3
    tokens, logprobs = sample_from(logits, [0.24, 0.26], cold)
    assert tokens == [0, 1]
    assert logprobs == pytest.approx([math.log(0.25), math.log(0.75)], abs=1e-6)


def test_temperature_zero_takes_the_likeliest_and_was_certain_of_it() -> None:
    greedy = SamplingSettings(temperature=0)
    assert sample_from(ln(0.3, 0.4, 0.3), [0.0, EDGE], greedy) == ([1, 1], [0.0, 0.0])


def probabilities(logits: list[float], settings: SamplingSettings) -> list[float]:
    """The probability of each token, as reported with it; 0 for one that no uniform gives."""
    uniforms = [(place + 0.5) / 1000 for place in range(1000)]
    found = [0.0] * len(logits)
    for token, logprob in zip(*sample_from(logits, uniforms, settings), strict=True):
        found[token] = math.exp(logprob)
    return found


def test_top_k_keeps_the_k_likeliest_and_all_as_likely_as_the_last_of_them() -> None:
    logits = ln(0.1, 0.4, 0.2, 0.3)
    assert probabilities(logits, SamplingSettings(top_k=2)) == pytest.approx([0, 4 / 7, 0, 3 / 7])
    tied = probabilities(ln(0.2, 0.4, 0.2, 0.2), SamplingSettings(top_k=2))
    assert tied == pytest.approx([0.2, 0.4, 0.2, 0.2])
    assert probabilities(logits, SamplingSettings(top_k=9)) == pytest.approx([0.1, 0.4, 0.2, 0.3])


def test_top_p_keeps_the_likeliest_until_they_reach_p() -> None:
    logits = ln(0.1, 0.4, 0.2, 0.3)
    for p, kept in ((0.39, [0, 1, 0, 0]), (0.41, [0, 4 / 7, 0, 3 / 7]), (0.89, [0, 4, 2, 3])):
        expected = [share / sum(kept) for share in kept]
        assert probabilities(logits, SamplingSettings(top_p=p)) == pytest.approx(expected)
    # among equals, the earlier in the vocabulary
    assert probabilities(ln(0.25, 0.25, 0.25, 0.25), SamplingSettings(top_p=0.3)) == (
        pytest.approx([0.5, 0.5, 0, 0])
    )


def test_top_p_is_taken_after_temperature_and_top_k() -> None:
    # 1 : 9 : 4 squares to 1 : 81 : 16; of those the top two have 81/97 and 16/97
    logits = ln(1 / 14, 9 / 14, 4 / 14)
    settings = SamplingSettings(temperature=0.5, top_k=2, top_p=0.83)
    assert probabilities(logits, settings) == pytest.approx([0, 1, 0])
    settings = SamplingSettings(temperature=0.5, top_k=2, top_p=0.84)
    assert probabilities(logits, settings) == pytest.approx([0, 81 / 97, 16 / 97])


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=0.7),
        SamplingSettings(top_k=5),
        SamplingSettings(top_p=0.8),
        SamplingSettings(temperature=1.3, top_k=40, top_p=0.9),
    ],
)
def test_samples_follow_the_distribution_that_is_reported(settings: SamplingSettings) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1, 600, generator=generator) * 2
    expected = torch.tensor(distribution(logits[0].tolist(), settings), dtype=torch.float64).log()
    uniforms = torch.rand(20_000, generator=generator, dtype=torch.float64)
    owner = torch.zeros(len(uniforms), dtype=torch.long)
    tokens, logprobs = sample_tokens(logits.clone(), owner, uniforms, settings)
    assert torch.allclose(logprobs, expected[tokens], atol=1e-5)
    kept = expected > -math.inf
    observed = tokens.bincount(minlength=600)
    assert not observed[~kept].any()
    mass = expected[kept].exp()
    assert stats.chisquare(observed[kept].numpy(), (mass / mass.sum() * 20_000).numpy()).pvalue > (
        0.001
    )


@pytest.mark.parametrize("settings", [PLAIN, SamplingSettings(temperature=0)])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_logits_that_are_no_distribution_are_refused(
    broken: float, settings: SamplingSettings
) -> None:
    with pytest.raises(InputError, match="not finite"):
        sample_from([0.0, broken, 1.0], [0.5], settings)
