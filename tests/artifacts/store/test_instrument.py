"""The instrument is read from the tables, and changes with what is asked, not with its names."""

from __future__ import annotations

import json

import pyarrow as pa

from artifacts.store.instrument import dataset_digest, instrument_of
from artifacts.store.tables import Store
from schemas.identity import canonical_json
from tests.artifacts.measuring import SAMPLING, measure, problems_table


def test_the_parts_are_those_that_the_completions_were_made_with(store: Store) -> None:
    made = measure(store, "r", "w", template="mine@2:abc")
    problems, completions = store.read(made.problems), store.read(made.completions)
    instrument = instrument_of(problems, completions, "a@1:x")
    assert instrument.model_dump() == {
        "dataset": dataset_digest(problems),
        "split": "holdout",
        "prompt_template": "mine@2:abc",
        "scorer": "a@1:x",
        "sampling": SAMPLING,
    }


def test_it_changes_with_each_of_its_parts(store: Store) -> None:
    made = measure(store, "r", "w")
    problems, completions = store.read(made.problems), store.read(made.completions)
    base = instrument_of(problems, completions, "a@1:x")
    assert instrument_of(problems, completions, "a@2:x").digest != base.digest
    for changed in (
        measure(store, "r", "w", template="b@1:y"),
        measure(store, "r", "w", sampling="{}"),
    ):
        other = store.read(changed.completions)
        assert instrument_of(problems, other, "a@1:x").digest != base.digest
    fewer = instrument_of(problems.slice(0, 1), completions, "a@1:x")
    assert fewer.dataset != base.dataset


def test_a_family_is_no_part_of_the_question(store: Store) -> None:
    table = problems_table(3)
    other = table.set_column(3, "family", pa.nulls(3, pa.string()))
    assert dataset_digest(other) == dataset_digest(table)
    assert dataset_digest(table.slice(1)) != dataset_digest(table)


def test_problems_of_several_splits_name_each_of_them_once(store: Store) -> None:
    made = store.read(measure(store, "r").completions)
    mixed = pa.concat_tables(
        [problems_table(2, split="dev"), problems_table(1, split="all", first=2)]
    )
    assert instrument_of(mixed, made, "a@1:x").split == "all+dev"


def sampling_part(store: Store, **asked: object) -> str:
    """The part `sampling` of completions by a server that was asked so."""
    made = measure(store, "r", request=canonical_json(asked))
    problems, completions = store.read(made.problems), store.read(made.completions)
    return instrument_of(problems, completions, "a@1:x").sampling


def test_what_else_a_server_is_told_is_a_part_of_it(store: Store) -> None:
    told = [
        None,
        '{"min_p": 0.1}',
        '{"min_p": 0.2}',
        '{"logit_bias": {"7": 100}}',
        '{"repetition_penalty": 1.1}',
        '{"unheard_of": true}',
    ]
    parts = [sampling_part(store, extra_body=body) for body in told]
    assert len(set(parts)) == len(told)
    assert json.loads(parts[1]) == json.loads(SAMPLING) | {"extra_body": {"min_p": 0.1}}


def test_it_stays_the_same_where_a_server_is_told_nothing_that_changes_its_tokens(
    store: Store,
) -> None:
    assert sampling_part(store, extra_body=None, samples_per_request=1) == SAMPLING
    neutral = '{"top_k": 5, "min_p": 0, "repetition_penalty": 1.0, "logit_bias": null}'
    for body in ("{}", neutral, '{"return_token_ids": true, "skip_special_tokens": false}'):
        assert sampling_part(store, extra_body=body) == SAMPLING


def test_a_run_of_an_earlier_version_keeps_its_digest(store: Store) -> None:
    request = '{"extra_body":null,"samples_per_request":null}'
    for made in (measure(store, "r", "w"), measure(store, "r", "w", request=request)):
        problems, completions = store.read(made.problems), store.read(made.completions)
        digest = instrument_of(problems, completions, "a@1:x").digest
        assert digest == "ee238548a8c6202baae7d0a57ef13fd66a552d8b72750b66fee04357529989ff"
