"""One update: the policy's next step, and one row more of the training table."""

from __future__ import annotations

import pytest

from artifacts.store.tables import provenance_of
from schemas.config import GenerationSettings, LearningConfig
from schemas.errors import StoreError
from schemas.measurements import Measurement
from schemas.references import PolicyRef, TableRef
from tasks.generate import generate
from tasks.runtime.runtime import Runtime
from tasks.score import score
from tasks.train_step import lineage, train_step

Step = tuple[PolicyRef, TableRef]


@pytest.fixture
def first(measured: Measurement, policy: PolicyRef, config: LearningConfig) -> Step:
    """The policy after its first step, with the training table."""
    return train_step(
        policy, measured.problems, measured.completions, measured.scores, None, config
    )


def second(first: Step, config: LearningConfig, problems: TableRef) -> Step:
    policy, training = first
    completions = generate(problems, policy, config.generation())
    scores = score(problems, completions, config.scorer)
    return train_step(policy, problems, completions, scores, training, config)


def test_a_step_makes_a_row_of_what_was_learned_from(
    runtime: Runtime, first: Step, measured: Measurement, policy: PolicyRef, config: LearningConfig
) -> None:
    reached, training = first
    assert reached == PolicyRef(
        name=policy.name, step=1, digest=lineage(policy.digest, measured.scores.digest, config)
    )
    (row,) = runtime.store.read(training).to_pylist()
    assert (row["step"], row["problems"], row["completions"]) == (1, 3, 12)
    assert row["tokens"] == sum(runtime.store.read(measured.completions)["token_count"].to_pylist())
    assert row["reward_mean"] == measured.summary.mean_reward.value
    assert row["valid_format_rate"] == measured.summary.valid_format_rate.value
    assert row["kl_nats"] == pytest.approx(0.0, abs=1e-5), "it starts at its reference"
    assert row["learning_rate"] == 1e-3
    assert row["scores_digest"] == measured.scores.digest
    assert row["completions_digest"] == measured.completions.digest
    assert row["policy_lineage"] == reached.digest


def test_the_next_step_goes_on_from_the_learner_and_adds_its_row(
    runtime: Runtime, first: Step, problems: TableRef, config: LearningConfig
) -> None:
    reached, training = second(first, config, problems)
    rows = runtime.store.read(training)
    assert rows["step"].to_pylist() == [1, 2]
    assert rows["learning_rate"].to_pylist() == [1e-3, 5e-4], "linear over two steps"
    assert rows.slice(0, 1).to_pylist() == runtime.store.read(first[1]).to_pylist()
    assert provenance_of(rows).parents["training"] == first[1].digest
    assert (reached.step, reached.next_step) == (2, 3)
    assert runtime.models.learner(reached).steps_done == 2


def test_a_learner_that_another_process_holds_is_refused(
    runtime: Runtime, first: Step, problems: TableRef, config: LearningConfig
) -> None:
    runtime.models.forget()
    with pytest.raises(StoreError, match="the learner at step 1 is not in this process"):
        second(first, config, problems)


def test_everything_that_decides_the_update_is_in_the_lineage(
    config: LearningConfig, settings: GenerationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = lineage("policy", "scores", config)
    assert lineage("policy", "scores", config) == base
    colder = settings.sampling.model_copy(update={"temperature": 0.5})
    others = [
        lineage("another", "scores", config),
        lineage("policy", "others", config),
        lineage("policy", "scores", config.model_copy(update={"steps": 3})),
        lineage("policy", "scores", config.model_copy(update={"sampling": colder})),
    ]
    assert len({base, *others}) == 5
    monkeypatch.setattr("tasks.train_step.numerics", lambda device: "cuda bfloat16")
    assert lineage("policy", "scores", config) != base


def test_the_number_of_steps_counts_only_where_the_rate_falls_with_it(
    config: LearningConfig,
) -> None:
    constant = config.model_copy(
        update={"learning": config.learning.model_copy(update={"schedule": "constant"})}
    )
    longer = constant.model_copy(update={"steps": 9, "max_kl_nats": 1.0})
    assert lineage("p", "s", constant) == lineage("p", "s", longer)
