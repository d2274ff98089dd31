"""The share of a learning run's wall time that Prefect, MLflow and tables cost after start-up.

One whole learning run, as `threeloops learn` starts it, with the pure calls inside it timed where
the tasks call them: sampling, scoring, the learner, encoding and decoding, estimates, and reading
and writing whole models. What is left of the wall time is orchestration, so anything forgotten
counts against it. Start-up ends when the first completion is about to be sampled: before it come
imports, Prefect's server, MLflow's database and the loading of the model.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from artifacts.store.data_dir import current_data_dir
from bench.process import Record, answer
from flows.orchestration.settings import configure_prefect
from schemas.config import LearningConfig, SamplingSettings

# where each pure call is looked up when it is made, and under which heading its time goes
PURE = (
    ("sampling", "engines.in_process", "sample"),
    ("encoding and decoding", "policy.model.template", "PromptTemplate.encode"),
    ("encoding and decoding", "engines.in_process", "decode_completion"),
    ("scoring", "scorers.scorer", "Scorer.score"),
    ("scoring", "tasks.aggregate", "summarize"),
    ("learning", "policy.learning.learner", "Learner.__init__"),
    ("learning", "policy.learning.learner", "Learner.step"),
    ("divergence", "tasks.divergence", "completion_log_ratios"),
    ("whole models", "tasks.runtime.model_cache", "load_policy"),
    ("whole models", "policy.learning.learner", "Learner.export"),
    ("whole models", "policy.learning.learner", "Learner.save"),
    ("whole models", "artifacts.store.policy_folders", "PolicyFolders.files"),
)


class Ledger:
    """Seconds inside pure calls, by heading; a call within another counts once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.first_sample: float | None = None
        self._depth = 0

    def timed(self, heading: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, timed."""

        @wraps(call)
        def timing(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            if heading == "sampling" and self.first_sample is None:
                self.first_sample = started
                self.seconds.clear()  # what came before is start-up
            self._depth += 1
            try:
                return call(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    spent = time.perf_counter() - started
                    self.seconds[heading] = self.seconds.get(heading, 0.0) + spent

        return timing

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def measure(
    folder: str,
    steps: int,
    limit: int,
    problems_per_step: int = 16,
    samples: int = 8,
    new_tokens: int = 16,
    served: bool = True,
) -> Record:
    """A run of `steps` steps, measured on `limit` problems; not `served`, without Prefect."""
    configure_prefect(current_data_dir())
    ledger = Ledger()
    for heading, module, path in PURE:
        owner: Any = importlib.import_module(module)
        *inside, name = path.split(".")
        for part in inside:
            owner = getattr(owner, part)
        setattr(owner, name, ledger.timed(heading, getattr(owner, name)))
    learning: Any = importlib.import_module("flows.learning")  # which calls it by this name

    whole: Callable[..., Any] = learning.learn
    loop: dict[str, float] = {}

    def learn(*arguments: Any, **named: Any) -> Any:
        started, pure = time.perf_counter(), ledger.total
        result = whole(*arguments, **named)
        loop["wall"] = time.perf_counter() - started
        loop["pure"] = ledger.total - pure
        return result

    learning.learn = learn
    config = LearningConfig(
        model=folder,
        steps=steps,
        limit=limit,
        problems_per_step=problems_per_step,
        samples=samples,
        sampling=SamplingSettings(max_new_tokens=new_tokens),
    )
    started = time.perf_counter()
    flow: Any = learning.learning_flow
    (flow if served else flow.fn)(config)
    ended = time.perf_counter()
    assert ledger.first_sample is not None
    wall = ended - ledger.first_sample
    return {
        "startup_seconds": ledger.first_sample - started,
        "wall_seconds": wall,
        "pure_seconds": ledger.seconds,
        "orchestration_seconds": wall - ledger.total,
        "orchestration_share": (wall - ledger.total) / wall,
        "steps_wall_seconds": loop["wall"],
        "steps_orchestration_seconds": loop["wall"] - loop["pure"],
        "steps_orchestration_share": (loop["wall"] - loop["pure"]) / loop["wall"],
    }


if __name__ == "__main__":
    answer(measure)
