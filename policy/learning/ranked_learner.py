"""A learner of several processes: each takes whole problems, and the gradients are added up.

The loss is a mean over all completions, so the gradient of the whole is the sum of what the
processes' problems add to it. A baseline compares the completions of one problem, which are never
divided. What is measured is put together on rank 0, row by row, so its numbers, and whether it
stops, are those of one process.

On rank 0 it is used as if it were alone. The others follow it with the methods that say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from policy.attention.prefix_tree import Tokens
from policy.learning.gradient import Outcome, accumulate_gradient, gradients_of
from policy.learning.learner import Learner
from policy.learning.step_batch import StepBatch, step_batch
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.model.load import Policy
from policy.model.memory import explaining_out_of_memory
from policy.model.packed import weights_changed
from policy.parallel.group import Group
from policy.parallel.sharding import (
    drop_whole_weights,
    give_shares,
    is_sharded,
    whole,
    whole_on_leader,
)
from schemas.config import LearningSettings

BY_TOKEN = ("logprobs", "reference_logprobs")  # [B, N, T]; all else of an outcome is [B, N]
BY_COMPLETION = ("losses", "advantages", "signal", "baselines", "penalties")


class RankedLearner(Learner):
    """One of a group's learners, which have equal weights, or each a share of them.

    Which it is was decided before: `policy.parallel.sharding.shard_weights` splits both models.
    """

    def __init__(
        self,
        policy: Policy,
        reference_model: PreTrainedModel | None,
        settings: LearningSettings,
        total_steps: int,
        *,
        group: Group,
        temperature: float = 1.0,
    ) -> None:
        self._group = group
        self._sharded = is_sharded(policy.model)
        self.processes = group.processes_on(policy.device)
        super().__init__(policy, reference_model, settings, total_steps, temperature=temperature)

    def follow_step(self, message: Any) -> None:
        """Take part in the `step` of rank 0 that this message began.

        Raises GivenUpError where another process could not do its part; then nothing is updated.
        """
        batch, tokens = self._followed(message)
        self._optimizer.zero_grad(set_to_none=True)
        mean = message["running_mean"]
        self._group.together(lambda: self._accumulated(batch, mean, tokens), divided=self._sharded)
        self._add_up()
        norm = self._gradient_norm()
        said = self._group.hear()
        if not said["update"]:
            self._optimizer.zero_grad(set_to_none=True)
            return
        self._update(torch.full_like(norm, said["norm"]), said["rate"])
        self.steps_done += 1

    def follow_sums(self, message: Any) -> None:
        """Take part in the `sum_logprobs` of rank 0 that this message began."""
        batch, tokens = self._followed(message)
        self._group.together(lambda: self._summed(batch, tokens))

    def follow_load(self, message: Any) -> None:
        """Take over the state that rank 0 has loaded."""
        self._receive(None, None, message["steps_done"])

    def follow_give(self, message: Any) -> None:
        """Give rank 0 this process's shares of what it writes."""
        whole_on_leader(self._given(message["what"]), self._group)

    def sum_logprobs(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        """As of one learner, each process computing its share."""
        count = len(completions) // len(prompts)
        unrewarded = [[0.0] * count for _ in prompts]
        self._group.tell(_message("sums", prompts, completions, unrewarded))
        batch = step_batch(prompts, completions, unrewarded, self.policy.model.device)
        tokens = self._tokens_per_pass(max(map(len, prompts)) + max(map(len, completions)))
        answers = self._group.together(lambda: self._summed(batch, tokens))
        return [float(value) for answer in answers for value in json.loads(answer)]

    def _gradient(self, batch: StepBatch, tokens_per_pass: int) -> Outcome:
        """Add the gradient of the whole batch to each process's parameters.

        Returns what was computed, as if it had been in one process. Raises what any of them raised.
        """
        mean, rewards = self.running_mean.mean, batch.rewards.tolist()  # exact in JSON
        message = _message("step", batch.prompts, batch.completions, rewards)
        self._group.tell({**message, "running_mean": mean})
        answers = self._group.together(
            lambda: self._accumulated(batch, mean, tokens_per_pass), divided=self._sharded
        )
        self._add_up()
        return self._merged(batch, [load(answer) for answer in answers])

    def _gradient_norm(self) -> Tensor:
        return whole(super()._gradient_norm())

    def _before_update(self, norm: float, rate: float) -> None:
        self._group.tell({"update": True, "norm": norm, "rate": rate})

    def _before_no_update(self) -> None:
        self._group.tell({"update": False})

    def _update(self, norm: Tensor, rate: float) -> None:
        drop_whole_weights(self.policy.model)  # those before the update
        super()._update(norm, rate)

    def _compute(self) -> CompletionLogprobs:
        # the fast path reads weights outside the model's own forward pass, where they are sharded
        return CompletionLogprobs(self.policy.model, plain=self._sharded)

    def _take_over(
        self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], steps_done: int
    ) -> None:
        self._group.tell({"do": "load", "steps_done": steps_done})
        self._receive(weights, moments, steps_done)

    def _state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        return self._lead_giving("weights"), self._lead_giving("moments")

    def _exported(self) -> Mapping[str, Tensor] | None:
        return self._lead_giving("model") if self._sharded else super()._exported()

    def _lead_giving(self, what: str) -> Mapping[str, Tensor]:
        if not self._sharded:
            return self._given(what)
        self._group.tell({"do": "give", "what": what})
        return whole_on_leader(self._given(what), self._group)

    def _given(self, what: str) -> Mapping[str, Tensor]:
        drop_whole_weights(self.policy.model)
        if what == "weights":
            return self._parameters
        if what == "moments":
            return self._moments()
        return self.policy.model.state_dict(keep_vars=True)

    def _followed(self, message: Any) -> tuple[StepBatch, int]:
        """The whole batch that a message has, and the tokens that one pass may have."""
        prompts, completions = message["prompts"], message["completions"]
        batch = step_batch(prompts, completions, message["rewards"], self.policy.model.device)
        return batch, self._tokens_per_pass(max(map(len, prompts)) + max(map(len, completions)))

    def _accumulated(self, batch: StepBatch, running_mean: float, tokens_per_pass: int) -> bytes:
        """Add this process's share of the gradient to its parameters; its outcome as bytes."""
        part = batch.only(self._group.share(len(batch.prompts)))
        with explaining_out_of_memory(
            f"training on {batch.samples} completions a problem",
            "lower --samples or --max-new-tokens, or take a smaller --model",
        ):
            outcome = accumulate_gradient(
                part,
                self._models,
                self.settings,
                running_mean=running_mean,
                tokens_per_pass=tokens_per_pass,
                completions=batch.rewards.numel(),
                equal_passes=self._group.highest if self._sharded else None,
            )
        held = {name: getattr(outcome, name) for name in (*BY_TOKEN, *BY_COMPLETION)}
        held["passes"] = torch.tensor(outcome.passes)
        return save({name: value.detach().cpu().contiguous() for name, value in held.items()})

    def _add_up(self) -> None:
        gradients = gradients_of(list(self._parameters.values()))
        if not self._sharded:  # else each backward pass has added up its own
            self._group.add_up(gradients)

    def _summed(self, batch: StepBatch, tokens_per_pass: int) -> bytes:
        part = batch.only(self._group.share(len(batch.prompts)))
        return json.dumps(self._sums(part, tokens_per_pass)).encode()

    def _merged(self, batch: StepBatch, parts: Sequence[Mapping[str, Tensor]]) -> Outcome:
        """The outcome of the whole batch, from those of the shares in the order of ranks."""
        mask, shape = batch.mask, batch.rewards.shape
        merged = {name: torch.zeros(mask.shape, device=mask.device) for name in BY_TOKEN}
        merged |= {name: torch.zeros(shape, device=mask.device) for name in BY_COMPLETION}
        for rank, part in enumerate(parts):
            rows = self._group.share(len(batch.prompts), rank)
            of_rank = slice(rows.start, rows.stop)
            for name in BY_TOKEN:
                merged[name][of_rank, :, : part[name].shape[-1]] = part[name].to(mask.device)
            for name in BY_COMPLETION:
                merged[name][of_rank] = part[name].to(mask.device)
        return Outcome(**merged, passes=sum(int(part["passes"]) for part in parts))

    def _receive(
        self,
        weights: Mapping[str, Tensor] | None,
        moments: Mapping[str, Tensor] | None,
        steps_done: int,
    ) -> None:
        """Be where rank 0 is; on the others there are neither weights nor moments yet."""
        drop_whole_weights(self.policy.model)
        self._spread(self._parameters, weights)
        self._optimizer.state.clear()
        for parameter in self._parameters.values() if steps_done else ():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(steps_done), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter.detach()),
                "exp_avg_sq": torch.zeros_like(parameter.detach()),
            }
        self._spread(self._moments(), moments)
        self.steps_done = steps_done

    def _spread(self, mine: Mapping[str, Tensor], given: Mapping[str, Tensor] | None) -> None:
        """Fill tensors, by name, with what rank 0 has."""
        if self._sharded:
            held = None if given is None else [given[name] for name in mine]
            give_shares([tensor.detach() for tensor in mine.values()], held)
            return
        for name, tensor in mine.items():
            if given is not None:
                tensor.data.copy_(given[name])
            self._group.spread([tensor.data])
        weights_changed(mine.values())


def _message(
    name: str,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    rewards: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """What begins something that all processes do with a batch."""
    return {
        "do": name,
        "prompts": [list(prompt) for prompt in prompts],
        "completions": [list(completion) for completion in completions],
        "rewards": rewards,
    }
