"""Task divergence: how far a trained policy has moved from the one it started from, in nats.

It reads completions that the trained policy sampled, so it samples nothing itself.
"""

from __future__ import annotations

from artifacts.store.tables import Store
from policy.logprobs.log_ratios import completion_log_ratios
from policy.model.template import get_template
from schemas.references import PolicyRef, TableRef
from schemas.measurements import Estimate
from scorers.statistics.summary import mean_over_problems
from tasks.runtime.model_cache import resident_policy
from tasks.runtime.pipeline_task import pipeline_task


@pipeline_task("divergence", "divergence of {policy.name} on {completions.rows} completions")
def divergence(
    problems: TableRef,
    completions: TableRef,
    policy: PolicyRef,
    reference: PolicyRef,
    template: str,
    device: str = "auto",
) -> Estimate:
    """KL(policy ‖ reference) in nats a completion: the mean log-ratio of the policy's samples.

    It is the divergence of the policies themselves when the completions were drawn at temperature
    1 without top-k and top-p, as is the default.
    """
    store = Store()
    moved = resident_policy(policy, device)
    anchor = resident_policy(reference, device)
    prompts = get_template(template).encode(
        store.read(problems)["prompt"].to_pylist(), moved.tokenizer
    )
    answers = store.read(completions)["token_ids"].to_pylist()
    return mean_over_problems(completion_log_ratios(moved.model, anchor.model, prompts, answers))
