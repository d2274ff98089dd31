"""One update: the policy's next step, and one table with all that it learned from."""

from __future__ import annotations

import pyarrow as pa
import pytest

from artifacts.store.parquet_table import provenance_of
from artifacts.store.steps import Steps
from policy.model.template import get_template
from schemas.config import GenerationSettings, LearningConfig
from schemas.errors import StoreError
from schemas.measurements import Measurement
from schemas.references import PolicyRef, TableRef
from schemas.steps import completions_in, scores_in
from schemas.training import training_rows
from tasks.collect_training import collect_training
from tasks.drop_sampled import drop_sampled
from tasks.generate import generate
from tasks.runtime.runtime import Runtime
from tasks.score import score
from tasks.train_step import lineage, train_step

Step = tuple[PolicyRef, TableRef]


@pytest.fixture
def first(measured: Measurement, policy: PolicyRef, config: LearningConfig) -> Step:
    """The policy after its first step, with the step's table."""
    return train_step(
        policy, measured.problems, measured.completions, measured.scores, None, config
    )


@pytest.fixture
def taught(
    runtime: Runtime, measured: Measurement, policy: PolicyRef, config: LearningConfig
) -> Step:
    """The same where one completion of each problem earned something, so that the policy moves."""
    scores = runtime.store.read(measured.scores)
    place, rewards = scores.column_names.index("reward"), [1.0, 0.0, 0.0, 0.5] * 3
    written = runtime.store.write(
        "scores",
        scores.set_column(place, scores.field(place), pa.array(rewards)),
        producer="test",
        config={"scorer": "test@1", "spec": "test"},
    )
    tables = (measured.problems, measured.completions, written)
    return train_step(policy, *tables, None, config)


def second(first: Step, config: LearningConfig, problems: TableRef) -> Step:
    policy, before = first
    completions = generate(problems, policy, config.generation())
    scores = score(problems, completions, config.scorer)
    return train_step(policy, problems, completions, scores, before, config)


def test_a_step_makes_a_row_of_what_was_learned_from(
    runtime: Runtime, first: Step, measured: Measurement, policy: PolicyRef, config: LearningConfig
) -> None:
    reached, table = first
    assert reached == PolicyRef(
        name=policy.name, step=1, digest=lineage(policy.digest, measured.scores.digest, config)
    )
    (row,) = runtime.archive.steps.rows(table)
    assert (row.step, row.problems, row.completions) == (1, 3, 12)
    assert row.tokens == sum(runtime.store.read(measured.completions)["token_count"].to_pylist())
    assert row.reward_mean == measured.summary.mean_reward.value
    assert row.valid_format_rate == measured.summary.valid_format_rate.value
    assert row.kl_nats == pytest.approx(0.0, abs=1e-5), "it starts at its reference"
    assert row.learning_rate == 1e-3
    assert row.scores_digest == measured.scores.digest
    assert row.completions_digest == measured.completions.digest
    assert row.policy_lineage == reached.digest
    assert row.step_digest == table.digest


def test_a_steps_table_has_every_completion_as_it_was_sampled_and_scored(
    runtime: Runtime, first: Step, measured: Measurement
) -> None:
    table = runtime.store.read(first[1])
    assert completions_in(table).equals(
        runtime.store.read(measured.completions).replace_schema_metadata(None)
    )
    assert scores_in(table).equals(
        runtime.store.read(measured.scores).replace_schema_metadata(None)
    )
    made = provenance_of(table)
    assert made.parents == {
        "problems": measured.problems.digest,
        "completions": measured.completions.digest,
        "scores": measured.scores.digest,
    }
    sampled = provenance_of(runtime.store.read(measured.completions)).config
    assert {name: made.config[name] for name in sampled} == sampled
    assert made.config["scorer"] == "final_int@1"
    assert made.config["baseline"] == "leave_one_out"


def test_baseline_advantage_and_penalty_of_each_completion_follow_from_its_row(
    runtime: Runtime, taught: Step, config: LearningConfig, problems: TableRef
) -> None:
    """By hand from the other columns: k1 in the reward, and the mean of the other three."""
    rows = runtime.store.read(taught[1]).to_pylist()
    # rewards 1, 0, 0, 0.5 of each problem, and no penalty yet
    assert [row["baseline"] for row in rows] == pytest.approx([1 / 6, 0.5, 0.5, 1 / 3] * 3)
    assert [row["advantage"] for row in rows] == pytest.approx([5 / 6, -0.5, -0.5, 1 / 6] * 3)
    later = runtime.store.read(second(taught, config, problems)[1]).to_pylist()
    assert any(abs(row["kl_penalty_nats"]) > 1e-3 for row in later), "it has left its reference"
    beta = config.learning.kl_weight
    for group in (later[start : start + 4] for start in (0, 4, 8)):
        assert len({row["problem_id"] for row in group}) == 1
        signals = [row["reward"] - beta * row["kl_penalty_nats"] for row in group]
        for row, signal in zip(group, signals, strict=True):
            others = (sum(signals) - signal) / 3
            assert row["baseline"] == pytest.approx(others, abs=1e-5)
            assert row["advantage"] == pytest.approx(signal - others, abs=1e-5)
            gap = row["sum_logprob_before"] - row["sum_logprob_reference"]
            assert row["kl_penalty_nats"] == pytest.approx(gap, abs=1e-4)


def test_the_log_probabilities_of_a_row_are_those_of_its_tokens_before_and_after_the_update(
    runtime: Runtime, taught: Step, config: LearningConfig, problems: TableRef
) -> None:
    rows = runtime.store.read(taught[1]).to_pylist()
    after = [row["sum_logprob_after"] for row in rows]
    learner = runtime.models.learner(taught[0])
    prompts = get_template(config.template).encode(
        runtime.store.read(problems)["prompt"].to_pylist(), learner.policy.tokenizer
    )
    again = learner.sum_logprobs(prompts, [row["token_ids"] for row in rows])
    assert after == again, "the same weights, computed once more"
    moved = 0
    for row in rows:
        assert row["sum_logprob_before"] == pytest.approx(sum(row["logprobs"]), abs=1e-4)
        assert row["sum_logprob_before"] == pytest.approx(row["sum_logprob"], abs=1e-4)
        assert row["sum_logprob_before"] == pytest.approx(row["sum_logprob_reference"], abs=1e-4)
        moved += abs(row["sum_logprob_after"] - row["sum_logprob_before"]) > 1e-3
    assert moved > 6, "the update moved most of them"
    risen = [row["sum_logprob_after"] - row["sum_logprob_before"] for row in rows]
    assert sum(risen[::4]) > sum(risen[1::4]), "up what did better, down what did worse"


def test_without_the_pass_after_the_update_nothing_else_changes(
    runtime: Runtime, measured: Measurement, policy: PolicyRef, config: LearningConfig
) -> None:
    tables = (measured.problems, measured.completions, measured.scores)
    with_it = train_step(policy, *tables, None, config)
    runtime.models.forget()
    without = train_step(policy, *tables, None, config.model_copy(update={"logprob_after": False}))
    assert with_it[0] == without[0]
    one, other = (runtime.store.read(step[1]) for step in (with_it, without))
    assert other["sum_logprob_after"].null_count == 12
    assert one.drop_columns(["sum_logprob_after"]).equals(other.drop_columns(["sum_logprob_after"]))


def test_the_next_step_goes_on_from_the_learner_and_leads_back_to_the_first(
    runtime: Runtime, first: Step, problems: TableRef, config: LearningConfig
) -> None:
    reached, table = second(first, config, problems)
    rows = runtime.archive.steps.rows(table)
    assert [row.step for row in rows] == [1, 2]
    assert [row.learning_rate for row in rows] == [1e-3, 5e-4], "linear over two steps"
    assert rows[:1] == Steps(runtime.store).rows(first[1])
    assert provenance_of(runtime.store.read(table)).parents["step"] == first[1].digest
    assert (reached.step, reached.next_step) == (2, 3)
    assert runtime.models.learner(reached).steps_done == 2


def test_the_training_table_has_the_rows_of_all_steps_and_leads_to_them(
    runtime: Runtime, first: Step, problems: TableRef, config: LearningConfig
) -> None:
    _, table = second(first, config, problems)
    training = collect_training(table)
    rows = runtime.store.read(training)
    assert tuple(training_rows(rows)) == runtime.archive.steps.rows(table)
    assert rows["step_digest"].to_pylist() == [first[1].digest, table.digest]
    assert provenance_of(rows).parents == {"step": table.digest}
    assert collect_training(training) == training


def test_what_was_sampled_is_dropped_with_its_keys_and_comes_back_byte_for_byte(
    runtime: Runtime,
    first: Step,
    measured: Measurement,
    policy: PolicyRef,
    settings: GenerationSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = runtime.store
    paths = [store.path(table) for table in (measured.completions, measured.scores)]
    keys = set((store.root / "keys").glob("*.json"))
    contents = [path.read_bytes() for path in paths]
    drop_sampled(measured.completions, measured.scores)
    drop_sampled(measured.completions, measured.scores)  # as after a kill between the two
    assert not any(path.exists() for path in paths)
    assert len(keys - set((store.root / "keys").glob("*.json"))) == 2

    monkeypatch.setattr("engines.in_process.sample", _refused)
    found = generate(measured.problems, policy, settings, made=first[1])
    assert found == measured.completions
    assert score(measured.problems, found, "final_int@1") == measured.scores
    assert [path.read_bytes() for path in paths] == contents
    assert generate(measured.problems, policy, settings) == found, "by its key again"


def test_the_completions_of_another_step_are_not_taken(
    runtime: Runtime,
    first: Step,
    measured: Measurement,
    policy: PolicyRef,
    settings: GenerationSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engines.in_process.sample", _refused)
    other = policy.model_copy(update={"digest": "e" * 64})
    monkeypatch.setattr(
        runtime.models, "policy", lambda *_: runtime.models.learner(first[0]).policy
    )
    for asked in ((policy, settings.model_copy(update={"seed": 1})), (other, settings)):
        with pytest.raises(AssertionError, match="sampled"):
            generate(measured.problems, *asked, made=first[1])
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    with pytest.raises(AssertionError, match="sampled"):
        generate(measured.problems, policy, settings, made=first[1])


def _refused(*_: object, **__: object) -> None:
    raise AssertionError("sampled")


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
