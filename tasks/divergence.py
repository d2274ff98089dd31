"""Task divergence: how far a trained policy is from the one it started from, in nats."""

from __future__ import annotations

from policy.logprobs.log_ratios import completion_log_ratios
from policy.model.template import get_template
from schemas.config import Compute
from schemas.measurements import Estimate, Measurement
from schemas.own_template import OwnTemplate
from schemas.references import PolicyRef
from scorers.statistics.summary import mean_over_problems
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("divergence", "divergence of {measured.policy.name} from {reference.name}")
def divergence(
    measured: Measurement,
    reference: PolicyRef,
    template: str | OwnTemplate,
    temperature: float,
    compute: Compute,
) -> Estimate:
    """KL(policy ‖ reference) in nats a completion: the mean log-ratio of the policy's samples.

    `measured` is a measurement of the policy, sampled at `temperature` without top-k and top-p, as
    is the default; both policies are taken at this temperature, which is above 0.
    """
    runtime = process_runtime()
    assert measured.policy is not None  # it was not replayed
    policy = runtime.models.policy(measured.policy, compute)
    start = runtime.models.policy(reference, compute)
    prompts = get_template(template).encode(
        runtime.store.read(measured.problems)["prompt"].to_pylist(), policy.tokenizer
    )
    completions = runtime.store.read(measured.completions)["token_ids"].to_pylist()
    ratios = completion_log_ratios(policy.model, start.model, prompts, completions, temperature)
    return mean_over_problems(ratios)
