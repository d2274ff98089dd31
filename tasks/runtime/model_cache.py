"""The policies and the learner that one process holds in memory, found by reference."""

from __future__ import annotations

from artifacts.store.policy_folders import PolicyFolders
from policy.learning.learner import Learner
from policy.model.adapter import add_adapter
from policy.model.load import Policy, load_policy
from schemas.config import LearningConfig
from schemas.errors import StoreError
from schemas.identity import derive_seed
from schemas.references import PolicyRef


class ModelCache:
    """One policy besides the learner's, and one learner.

    A reference stays valid without them: what is not in memory is loaded again from its folder.
    """

    def __init__(self, folders: PolicyFolders) -> None:
        self._folders = folders
        self._policies: dict[str, Policy] = {}
        self._learners: dict[str, Learner] = {}

    def policy(self, reference: PolicyRef, device: str) -> Policy:
        """The policy that a reference names; loaded from its folder unless it is in memory.

        Raises StoreError for a policy in the middle of learning that this process does not hold.
        """
        if reference.step:
            return self.learner(reference).policy
        held = self._policies.get(reference.digest)
        if held is None:
            self._policies.clear()
            held = self._policies[reference.digest] = self._load(reference, device)
        return held

    def learner(self, reference: PolicyRef) -> Learner:
        """The learner that has reached this reference's step; StoreError where there is none."""
        if reference.digest not in self._learners:
            raise StoreError(
                f"the learner at step {reference.step} is not in this process",
                reference.name,
                "go on from its checkpoint with --resume",
            )
        return self._learners[reference.digest]

    def start_learner(self, start: PolicyRef, config: LearningConfig) -> Learner:
        """A learner whose policy and reference both start as this policy.

        Each has its own weights, unless an adapter learns beside weights that both can share.
        """
        reference = self.policy(start, config.device)
        settings = config.learning
        if settings.adapter == "none":
            policy = self._load(start, config.device)
        else:
            del self._policies[start.digest]  # from here on it is the learner's, not the start
            policy = reference
            add_adapter(
                policy.model,
                rank=settings.lora_rank,
                alpha=settings.lora_alpha,
                seed=derive_seed("adapter", config.seed),
            )
        return Learner(
            policy,
            reference.model if policy is not reference else None,
            settings,
            config.steps,
            temperature=config.sampling.temperature,
        )

    def keep_learner(self, reference: PolicyRef, learner: Learner) -> None:
        """Hold the learner under the step it has reached, and no longer under an earlier one."""
        self._learners.clear()
        self._learners[reference.digest] = learner

    def forget(self) -> None:
        """Let go of everything held in memory."""
        self._policies.clear()
        self._learners.clear()

    def _load(self, reference: PolicyRef, device: str) -> Policy:
        """The policy of a folder, if its files are those of the reference still."""
        folder = self._folders.find(reference)
        loaded = load_policy(folder, name=reference.name, device=device, digest=reference.digest)
        if (now := self._folders.digest(folder)) != reference.digest:
            raise StoreError(
                f"the model in {folder} was changed while it was used "
                f"(expected {reference.digest[:12]}, found {now[:12]})",
                reference.name,
                "put back what was there, or start again",
            )
        return loaded
