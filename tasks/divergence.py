"""Task divergence: how far a trained policy has moved from the one it started from, in nats.

It reads completions that the trained policy sampled, so it samples nothing itself.
"""

from __future__ import annotations

from schemas.references import PolicyRef, TableRef
from schemas.results import Estimate
from tasks.pipeline_task import pipeline_task


@pipeline_task("divergence", "divergence of {policy.name} on {completions.rows} completions")
def divergence(
    problems: TableRef,
    completions: TableRef,
    policy: PolicyRef,
    reference: PolicyRef,
    template: str,
    device: str = "auto",
) -> Estimate:
    """KL(policy ‖ reference) in nats a completion: the mean log-ratio of the policy's own samples.

    Completions must have been drawn at temperature 1 without top-k or top-p for this to be the
    divergence of the policy itself.
    """
    raise NotImplementedError
