"""The JSON object that each verb of the command line prints with `--json`, and its schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter

from schemas.config import EvalConfig, LearningConfig, RunConfig, SelectionConfig
from schemas.garbage import GcOutput
from schemas.health import DoctorOutput
from schemas.lineage import LineageOutput
from schemas.own_template import OwnTemplate
from schemas.result_parts import (
    OMITTED_IF_NONE,
    CompletionRow,
    DecisionKind,
    DemoRow,
    ResultModel,
)
from schemas.results import (
    Comparison,
    Decision,
    DemoResult,
    EvalResult,
    LearningResult,
    LoopResult,
    RatedComparison,
    SelectionResult,
)


class DemoOutput(LearningResult):
    """The result of the demo's loop C, with the table that compares the loops."""

    demo: tuple[DemoRow, ...]
    demo_run_id: str
    runs: Mapping[str, str]


class GoldenMiss(ResultModel):
    """A golden row, by its line in the file, that does not earn what it should."""

    row: int
    problem_id: str
    completion: str
    expected_answer: str
    expected_reward: float
    finish_reason: str
    reward: float
    outcome: str
    code: str


class GoldenResult(ResultModel):
    """A scorer against a file of golden rows."""

    golden: str
    dataset: str
    scorer: str
    rows: int
    passed: bool
    false_positives: tuple[GoldenMiss, ...]
    false_negatives: tuple[GoldenMiss, ...]
    exit_code: Annotated[int | None, OMITTED_IF_NONE] = None


class ListedRun(ResultModel):
    """One run of `threeloops runs`."""

    run_id: str
    name: str
    loop: str
    changed: str
    status: str
    parent: str | None
    stage: str | None
    model: str
    source: str | None
    instrument: str | None
    metrics: Mapping[str, float]


class ListedDecision(ResultModel):
    """One decision of the gate, or a rollback with its reason in `reasons`."""

    run_id: str
    name: str
    kind: DecisionKind
    decision: str
    candidate: str
    against: str
    reasons: str
    metrics: Mapping[str, float]


class SharedFailure(ResultModel):
    """All completions of several runs that failed by one code, and the first of them.

    `runs` names the runs that have any, most of them first.
    """

    outcome: str
    code: str
    completions: int
    runs: tuple[str, ...]
    example: CompletionRow


class RunsOutput(ResultModel):
    """What has been run, and what the gate decided: the newest, as many as `--limit` says.

    `not_shown` is how many more runs fit what was asked for.
    """

    runs: tuple[ListedRun, ...]
    decisions: tuple[ListedDecision, ...]
    not_shown: int = 0
    failures: Annotated[tuple[SharedFailure, ...] | None, OMITTED_IF_NONE] = None


class TokenRow(ResultModel):
    """One token; log-probability (nats) and rank where a question was given."""

    id: int
    piece: str
    logprob: Annotated[float | None, OMITTED_IF_NONE] = None
    rank: Annotated[int | None, OMITTED_IF_NONE] = None


class TokensModel(ResultModel):
    """The policy whose tokenizer was used."""

    name: str
    folder: str
    digest: str
    step: int = 0


class TokensOutput(ResultModel):
    """The tokens of a text under a policy."""

    text: str
    model: TokensModel
    tokens: tuple[TokenRow, ...]


class ShownPrompt(ResultModel):
    """What a model would get for one problem: the text, and the tokens that it is encoded as."""

    problem_id: str
    text: str
    tokens: tuple[TokenRow, ...]


class PromptOutput(ResultModel):
    """A prompt template with its digest, and what it makes of some problems of a dataset."""

    template: str
    digest: str
    form: str
    model: str
    dataset: str
    split: str
    prompts: tuple[ShownPrompt, ...]


class VerdictShown(ResultModel):
    """A scorer's verdict on one text; `words` say what the code means, where it is known."""

    reward: float
    outcome: str
    code: str
    parsed_answer: str | None
    words: str | None


class ScoreOutput(ResultModel):
    """One text judged by a scorer, with the scorer's whole rule in words."""

    text: str
    expected_answer: str
    finish_reason: str
    scorer: str
    verdict: VerdictShown
    rule: str


class AskedAnswer(ResultModel):
    """One answer to a question: its tokens as text, and its log-probability in nats."""

    text: str
    finish_reason: str
    tokens: tuple[str, ...]
    logprob: float
    verdict: VerdictShown | None


class AskOutput(ResultModel):
    """A policy's answers to one question, judged where the right one was given."""

    question: str
    expected_answer: str | None
    model: str
    template: str
    scorer: str
    prompt_tokens: int
    answers: tuple[AskedAnswer, ...]


class ExportOutput(ResultModel):
    """What was exported, where to, and the digest of the policy or completions in it."""

    source: str
    written: str
    format: str
    digest: str
    contents: str


class ConfigOutput(ResultModel):
    """The whole configuration that a verb would run with, as `--print-config` prints it."""

    config: Mapping[str, Any]


class UpOutput(ResultModel):
    """Where the servers answered until they were stopped.

    `links` are new one-time links, where they were running already.
    """

    prefect: str
    mlflow: str
    stopped: bool
    links: Mapping[str, str] = Field(default_factory=dict)


class SyncOutput(ResultModel):
    """What was sent of what servers could not be told, by kind, and how much is left, and why."""

    sent: Mapping[str, int]
    left: int
    reasons: tuple[str, ...]
    exit_code: int


DIALECT = "https://json-schema.org/draft/2020-12/schema"
CONFIGS: Mapping[str, type[RunConfig]] = {
    "eval": EvalConfig,
    "select": SelectionConfig,
    "learn": LearningConfig,
}
OUTPUTS: Mapping[str, Any] = {
    "demo": DemoOutput,
    "eval": EvalResult | ConfigOutput,
    "select": SelectionResult | ConfigOutput,
    "learn": LearningResult | ConfigOutput,
    "rescore": EvalResult | GoldenResult,
    "compare": RatedComparison | Comparison,
    "promote": Decision,
    "runs": RunsOutput,
    "show": LoopResult | DemoResult | Decision | LineageOutput,
    "doctor": DoctorOutput,
    "gc": GcOutput,
    "tokens": TokensOutput,
    "prompt": PromptOutput,
    "score": ScoreOutput,
    "ask": AskOutput,
    "export": ExportOutput,
    "sync": SyncOutput,
    "up": UpOutput,
}


def output_schema(verb: str) -> dict[str, Any]:
    """The JSON schema of what `threeloops VERB --json` prints."""
    schema = TypeAdapter(OUTPUTS[verb]).json_schema(mode="serialization")
    return {"$schema": DIALECT} | schema


def write_schemas(folder: Path) -> None:
    """Write the schema of every verb as `VERB.json`, of a configuration as `VERB.config.json`.

    That of a file with a prompt template is `template.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for verb in OUTPUTS:
        text = json.dumps(output_schema(verb), indent=1, sort_keys=True, ensure_ascii=False)
        (folder / f"{verb}.json").write_text(f"{text}\n", encoding="utf-8")
    files: dict[str, type[BaseModel]] = {"template.json": OwnTemplate}
    files |= {f"{verb}.config.json": config for verb, config in CONFIGS.items()}
    for name, model in files.items():
        schema = {"$schema": DIALECT} | model.model_json_schema()
        text = json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / name).write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
