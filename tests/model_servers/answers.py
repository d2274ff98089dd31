"""What a test's model server answers: by a tiny model of ours, or a text that never changes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from policy.model.load import Policy, decode_completion, load_policy
from policy.sampling.categorical import _cut
from policy.sampling.sample import sample
from schemas.config import SamplingSettings

Answer = Callable[[dict[str, Any]], list[dict[str, Any]]]


def texts(text: str) -> Answer:
    """A poor server: always this text, no tokens, no log-probabilities."""

    def answer(body: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"index": i, "text": text, "finish_reason": "stop", "logprobs": None}
            for i in range(body["n"])
        ]

    return answer


def by_model(folder: str, *, raw: bool = False) -> Answer:
    """A good server: our own sampler, with seed + i for sample i.

    With `raw` its log-probabilities are those before temperature and cuts, as those of a vLLM that
    was not told otherwise.
    """
    base = load_policy(Path(folder), name="tiny", device="cpu")
    return by_policies(lambda name: base, raw=raw)


def by_policies(policy_of: Callable[[str], Policy], *, raw: bool = False) -> Answer:
    """As `by_model`, of the policy that has the name that is asked."""
    turn = threading.Lock()

    def answer(body: dict[str, Any]) -> list[dict[str, Any]]:
        prompt, policy = body["prompt"], policy_of(body["model"])
        if isinstance(prompt, str):
            prompt = policy.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        settings = SamplingSettings(
            temperature=body["temperature"],
            top_p=body["top_p"],
            top_k=max(body.get("top_k", 0), 0),
            max_new_tokens=body["max_tokens"],
        )
        with turn, torch.inference_mode():
            return [_choice(policy, prompt, body, settings, i, raw) for i in range(body["n"])]

    return answer


def _choice(
    policy: Policy,
    prompt: list[int],
    body: dict[str, Any],
    settings: SamplingSettings,
    place: int,
    raw: bool,
) -> dict[str, Any]:
    seed = body["seed"] + place
    made = sample(policy, [prompt], samples=1, settings=settings, seed=seed)
    (ids,), (logprobs,), (finish,) = made.token_ids, made.logprobs, made.finish_reasons
    told: dict[str, Any] = {"token_logprobs": logprobs, "top_logprobs": None}
    if body["logprobs"]:
        shaped = SamplingSettings() if raw or not settings.temperature else settings
        logits = policy.model(torch.tensor([prompt])).logits[0, -1:]
        chances = _cut(logits.clone(), shaped).log_softmax(-1)[0]
        best = chances.topk(body["logprobs"])
        told["top_logprobs"] = [
            {
                policy.tokenizer.convert_ids_to_tokens(token): max(value, -9999.0)
                for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                if not math.isnan(value)
            }
        ]
    choice: dict[str, Any] = {
        "index": place,
        "text": decode_completion(policy.tokenizer, ids, policy.end_token_ids),
        "finish_reason": finish,
        "logprobs": told,
    }
    if body.get("return_token_ids"):
        choice |= {"token_ids": ids, "prompt_token_ids": prompt}
    return choice
