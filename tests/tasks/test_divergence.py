"""KL to the reference: 0 to itself, else the mean log-ratio of the policy's own completions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policy.logprobs.plain import plain_logprobs
from policy.model.load import load_policy
from policy.model.template import get_template
from policy.model.tiny import make_tiny_model
from schemas.config import Compute, GenerationSettings, SamplingSettings
from schemas.measurements import Measurement
from schemas.references import PolicyRef, TableRef
from tasks.aggregate import aggregate
from tasks.divergence import divergence
from tasks.generate import generate
from tasks.runtime.runtime import Runtime
from tasks.score import score

CPU = Compute(device="cpu", precision="float32")
TEMPLATE = "few_shot_chat@1"


def test_a_policy_is_at_no_distance_from_itself(measured: Measurement, policy: PolicyRef) -> None:
    found = divergence(measured, policy, TEMPLATE, 1.0, CPU)
    assert (found.value, found.problems, found.completions) == (0.0, 3, 12)


def test_it_is_the_mean_over_problems_of_the_log_ratios(
    runtime: Runtime, measured: Measurement, tmp_path: Path
) -> None:
    folder = make_tiny_model(tmp_path / "other", seed=1)
    other = PolicyRef(name="other", digest=runtime.archive.folders.digest(folder))
    found = divergence(measured, other, TEMPLATE, 1.0, CPU)

    loaded = load_policy(folder, name="other", device="cpu")
    prompts = get_template(TEMPLATE).encode(
        runtime.store.read(measured.problems)["prompt"].to_pylist(), loaded.tokenizer
    )
    rows = runtime.store.read(measured.completions)
    with torch.no_grad():
        theirs = plain_logprobs(loaded.model, prompts, rows["token_ids"].to_pylist()).sum(-1)
    ratios = rows["sum_logprob"].to_numpy() - theirs.numpy()
    assert found.value == pytest.approx(float(np.mean(ratios)), rel=1e-4)
    assert found.low < found.value < found.high


def test_at_another_temperature_both_policies_are_taken_at_it(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    tmp_path: Path,
) -> None:
    cooler = SamplingSettings(max_new_tokens=6, temperature=0.5)
    settings = settings.model_copy(update={"sampling": cooler, "samples": 16})
    completions = generate(problems, policy, settings)
    scores = score(problems, completions, "final_int@1")
    measured = aggregate(problems, completions, scores, policy)
    folder = make_tiny_model(tmp_path / "other", seed=1)
    other = PolicyRef(name="other", digest=runtime.archive.folders.digest(folder))

    # what the sampler recorded is the policy's at 0.5, so the reference's must be, too
    loaded = load_policy(folder, name="other", device="cpu")
    prompts = get_template(TEMPLATE).encode(
        runtime.store.read(problems)["prompt"].to_pylist(), loaded.tokenizer
    )
    rows = runtime.store.read(completions)
    with torch.no_grad():
        theirs = plain_logprobs(loaded.model, prompts, rows["token_ids"].to_pylist(), 0.5).sum(-1)
    ratios = rows["sum_logprob"].to_numpy() - theirs.numpy()
    found = divergence(measured, other, TEMPLATE, 0.5, CPU)
    assert found.value == pytest.approx(float(np.mean(ratios)), rel=1e-4)
    wrong = divergence(measured, other, TEMPLATE, 1.0, CPU)
    assert wrong.value < found.value - 0.1, "the number that was printed before"
    assert divergence(measured, policy, TEMPLATE, 0.5, CPU).value == 0.0
