"""Make a log of inspect_ai's own: `python make_inspect.py FOLDER`, with inspect-ai alone.

The model is `mockllm`, whose answers are given; epochs, scorers, stop reasons and
log-probabilities go the tool's way.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, ModelOutput, ModelUsage, get_model
from inspect_ai.model._model_output import Logprob, Logprobs
from inspect_ai.scorer import exact, match
from inspect_ai.solver import generate

HERE = Path(__file__).resolve().parent


def answer(expected: int, place: int) -> tuple[str, str]:
    """The text and stop reason of one answer: right, wrong, in a sentence, bare, or cut off."""
    return [
        (f"Final: {expected}", "stop"),
        (f"Final: {expected + 1}", "stop"),
        (f"The answer is {expected}", "stop"),
        (str(expected), "stop"),
        (f"Final: {expected}", "max_tokens"),
    ][place % 5]


class Provider:
    """Answers each problem in another way each time; `broken` names one that raises an error."""

    def __init__(self, rows: list[dict[str, Any]], broken: str = "") -> None:
        self.rows = {row["prompt"]: (n, row) for n, row in enumerate(rows)}
        self.asked = Counter[str]()
        self.broken = broken

    def __call__(self, messages: list[Any], *_: Any) -> ModelOutput:
        """The answer to the last message, with a made-up log-probability for each word."""
        number, row = self.rows[messages[-1].text]
        if row["id"] == self.broken:
            raise RuntimeError("the provider is away")
        place = number + 3 * self.asked[row["id"]]
        self.asked[row["id"]] += 1
        text, reason = answer(row["expected_answer"], place)
        made = ModelOutput.from_content("mockllm/model", text, stop_reason=reason)
        made.usage = ModelUsage(input_tokens=6, output_tokens=2, total_tokens=8)
        words = [Logprob(token=word, logprob=-0.25 * n) for n, word in enumerate(text.split(), 1)]
        made.choices[0].logprobs = Logprobs(content=words)
        return made


def main(folder: Path) -> None:
    """Twelve problems, scored by `match` and by `exact`: two epochs; one with an error."""
    rows = [json.loads(line) for line in (HERE / "problems.jsonl").read_text().splitlines()]
    samples = [
        Sample(id=row["id"], input=row["prompt"], target=str(row["expected_answer"]))
        for row in rows
    ]
    for name, epochs, broken in (("inspect", 2, ""), ("inspect-partial", 1, "sum-05")):
        model = get_model("mockllm/model", custom_outputs=Provider(rows, broken), memoize=False)
        task = Task(
            name="sums", dataset=samples, solver=generate(), scorer=[match(), exact()],
            config=GenerateConfig(logprobs=True, temperature=1.0, max_tokens=16),
        )  # fmt: skip
        (log,) = evaluate(
            task, model=model, epochs=epochs, log_dir=str(folder), max_samples=1,
            fail_on_error=False, display="none",
        )  # fmt: skip
        shutil.copy(log.location.removeprefix("file://"), HERE / f"{name}.eval")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
