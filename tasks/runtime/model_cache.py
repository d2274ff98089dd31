"""The policies and the learner that this process holds in memory, found by reference.

A reference stays valid without them: what is not in memory is loaded again from its folder.
"""

from __future__ import annotations

from pathlib import Path

from policy.learning.learner import Learner
from policy.model.adapter import add_adapter
from policy.model.load import Policy, load_policy
from schemas.config import LearningConfig
from schemas.errors import StoreError
from schemas.identity import derive_seed
from schemas.references import PolicyRef

_policies: dict[str, Policy] = {}
_learners: dict[str, Learner] = {}


def resident_policy(reference: PolicyRef, device: str) -> Policy:
    """The policy that a reference names; loaded from its folder unless it is in memory.

    One policy stays in memory besides the learner's. Raises StoreError for a policy in the middle
    of learning that this process does not hold.
    """
    if reference.step:
        return resident_learner(reference).policy
    held = _policies.get(reference.digest)
    if held is None:
        _policies.clear()
        held = load_policy(Path(reference.folder), name=reference.name, device=device)
        _policies[reference.digest] = held
    return held


def resident_learner(reference: PolicyRef) -> Learner:
    """The learner that has reached this reference's step."""
    if reference.digest not in _learners:
        raise StoreError(
            f"the learner at step {reference.step} is not in this process",
            reference.name,
            "go on from its checkpoint with --resume",
        )
    return _learners[reference.digest]


def start_learner(reference: PolicyRef, config: LearningConfig) -> Learner:
    """A learner whose policy and reference both start as this policy.

    Each has its own weights, unless an adapter learns beside weights that both can share.
    """
    anchor = resident_policy(reference, config.device)
    settings = config.learning
    if settings.adapter == "none":
        learning = load_policy(Path(reference.folder), name=reference.name, device=config.device)
    else:
        del _policies[reference.digest]  # from here on it is the learner's, and not the start's
        learning = anchor
        add_adapter(
            learning.model,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            seed=derive_seed("adapter", config.seed),
        )
    return Learner(
        learning,
        anchor.model if learning is not anchor else None,
        settings,
        config.steps,
        temperature=config.sampling.temperature,
    )


def keep_learner(reference: PolicyRef, learner: Learner) -> None:
    """Hold the learner under the step it has reached, and no longer under an earlier one."""
    _learners.clear()
    _learners[reference.digest] = learner


def forget() -> None:
    """Let go of everything held in memory."""
    _policies.clear()
    _learners.clear()
