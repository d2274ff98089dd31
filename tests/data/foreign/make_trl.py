"""Make a completions table of TRL's own: `python make_trl.py FOLDER`, with trl and threeloops."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from policy.model.tiny import make_tiny_model

HERE = Path(__file__).resolve().parent


def ends_right(completions: list[Any], expected_answer: list[int], **_: Any) -> list[float]:
    """1 where the last number of a completion is the right one, 0.1 for any number, else 0."""
    rewards = []
    for completion, expected in zip(completions, expected_answer, strict=True):
        numbers = re.findall(r"-?[0-9]+", completion[0]["content"])
        right = bool(numbers) and int(numbers[-1]) == expected
        rewards.append(1.0 if right else 0.1 if numbers else 0.0)
    return rewards


def main(folder: Path) -> None:
    """One GRPO step on twelve problems with four completions each."""
    model = make_tiny_model(folder / "tiny")
    rows = load_dataset("json", data_files=str(HERE / "problems.jsonl"), split="train")
    asked = rows.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    settings = GRPOConfig(
        output_dir=str(folder / "out"), per_device_train_batch_size=48, num_generations=4,
        max_completion_length=8, max_steps=1, logging_steps=1, log_completions=True, seed=7,
        report_to="none", use_cpu=True, bf16=False, save_strategy="no",
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=str(model), reward_funcs=ends_right, args=settings, train_dataset=asked
    )
    trainer.train()
    (table,) = (folder / "out").rglob("completions_*.parquet")
    shutil.copy(table, HERE / "trl.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
