"""Seconds of one whole learning step of TRL's GRPOTrainer: generate, score, reference, update.

It runs in an environment of its own (requirements-bench.lock). The model, the prompts' token ids,
the strict reward, the limits, the weight of the KL penalty and the learning rate are ours; TRL's
own defaults stay, but for what a CPU asks for and what makes it faster here:

- the whole batch in one pass (`per_device_train_batch_size` = problems × samples), so that it
  neither generates nor learns in pieces;
- float32 instead of bfloat16 on a CPU, which computes it several times slower, and where it would
  be another arithmetic than ours; on a GPU both sides compute products in bfloat16;
- gradient checkpointing off, but for one run as shipped: it saves memory by computing twice;
- no dropout, no saving, no reports, no shuffling.

Left out: loading, and the first step (its time is in the record).
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from bench.process import Record, answer
from bench.workload import (
    KL_WEIGHT,
    LEARNING_RATE,
    TEMPLATE,
    device_memory,
    precision_on,
    problems,
    rewards,
    wait_for,
)
from policy.model.load import load_policy
from policy.model.precision import compute_dtype
from policy.model.template import get_template


class Stopwatch(TrainerCallback):
    """When each step began and ended; a step holds its own generation."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.begins: list[float] = []
        self.ends: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        wait_for(self._device)
        self.begins.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        wait_for(self._device)
        self.ends.append(time.perf_counter())


def measure(
    folder: str,
    problem_count: int,
    samples: int,
    new_tokens: int,
    seed: int,
    steps: int = 2,
    checkpointing: bool = False,
    device: str = "cpu",
) -> Record:
    """The median seconds of the steps after the first."""
    warnings.simplefilter("ignore")
    policy = load_policy(Path(folder), name="default", device="cpu")
    tokenizer, ends = policy.tokenizer, policy.end_token_ids
    tokenizer.pad_token = tokenizer.eos_token
    rows = problems(problem_count * steps)
    template = get_template(TEMPLATE)
    texts = [template.render(row["prompt"], tokenizer) for row in rows]
    encoded = template.encode([row["prompt"] for row in rows], tokenizer)
    if tokenizer(texts)["input_ids"] != encoded:
        raise ValueError("TRL would be given other prompts than ours")
    earned: list[float] = []

    def strict(
        completion_ids: list[list[int]], expected_answer: list[str], **_: Any
    ) -> list[float]:
        found = rewards(tokenizer, ends, expected_answer, completion_ids)
        earned.append(sum(found) / len(found))
        return found

    del policy
    watch = Stopwatch(device)
    with tempfile.TemporaryDirectory() as output:
        config = GRPOConfig(
            output_dir=output,
            per_device_train_batch_size=problem_count * samples,
            num_generations=samples,
            max_completion_length=new_tokens,
            beta=KL_WEIGHT,
            learning_rate=LEARNING_RATE,
            temperature=1.0,
            max_steps=steps,
            seed=seed,
            use_cpu=device == "cpu",
            bf16=compute_dtype(torch.device(device), precision_on(device)) == torch.bfloat16,
            fp16=False,
            model_init_kwargs={"dtype": torch.float32},
            gradient_checkpointing=checkpointing,
            shuffle_dataset=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=folder,
            processing_class=tokenizer,
            reward_funcs=strict,
            args=config,
            train_dataset=Dataset.from_list(
                [
                    {"prompt": text, "expected_answer": row["expected_answer"]}
                    for text, row in zip(texts, rows, strict=True)
                ]
            ),
            callbacks=[watch],
        )
        trainer.train()
    seconds = [end - begin for begin, end in zip(watch.begins, watch.ends, strict=True)]
    measured = sorted(seconds[1:] or seconds)
    return {
        "seconds": seconds,
        "seconds_per_step": measured[len(measured) // 2],
        "reward_mean": earned,
        "loss_type": config.loss_type,
        "scale_rewards": config.scale_rewards,
        "gradient_checkpointing": checkpointing,
        **device_memory(device),
    }


if __name__ == "__main__":
    answer(measure)
