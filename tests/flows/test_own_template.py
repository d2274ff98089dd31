"""A template of a file is measured with, told apart, and kept after its file has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifacts.registry.versions import registered_version
from artifacts.store.parquet_table import provenance_of
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from flows.preflight import check_names
from policy.model.template import get_template
from schemas.config import EvalConfig, LearningConfig, SamplingSettings
from schemas.errors import InputError
from schemas.own_template import OwnTemplate
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs, stored

pytestmark = pytest.mark.slow

TEXT = """name: brief
version: 1
form: chat
instruction: "{question} One line."
examples:
  - question: 20 + 30?
    answer: "Final: 50"
answer_tokens: 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A template of one's own."""
    path = tmp_path / "brief.yaml"
    path.write_text(TEXT)
    return path


def test_what_a_file_said_is_measured_with_told_apart_and_kept(
    eval_config: EvalConfig, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EvalConfig(
        **dict(eval_config) | {"template": str(file), "sampling": SamplingSettings(), "samples": 1}
    )
    first = eval_flow.fn(config)
    assert isinstance(first.config.template, OwnTemplate)
    assert first.config.sampling.max_new_tokens == 5, "as the template says"
    template = get_template(first.config.template)
    assert first.instrument.parts.prompt_template == f"brief@1:{template.digest}"
    completions = stored().read(stored().lookup("completions", _completions()))
    content = json.loads(str(provenance_of(completions).config["template_content"]))
    assert content["instruction"] == "{question} One line."
    file.write_text(TEXT.replace("One line", "A line"))
    second = eval_flow.fn(config)
    assert second.instrument.digest != first.instrument.digest
    assert main(["compare", first.run_id, second.run_id]) == 1
    said = capsys.readouterr()
    assert "prompt_template" in said.out + said.err
    file.unlink()
    replayed = eval_flow.fn(EvalConfig(completions=first.run_id))
    assert replayed.instrument.parts.prompt_template == f"brief@1:{template.digest}"
    assert replayed.outcomes == first.outcomes
    for words in (["show", first.run_id], ["rescore", first.run_id, "--scorer", "contains_int@1"]):
        assert main(words) == 0
    # the same again, by what was kept
    kept = all_runs()[-1].folder / "template.yaml"
    assert (
        eval_flow.fn(config.model_copy(update={"template": str(kept)})).outcomes == first.outcomes
    )


def _completions() -> str:
    return all_runs()[0].table_refs()["completions"][1]


def test_a_learning_run_goes_on_with_the_template_that_it_has_kept(
    learning_config: LearningConfig, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    config = learning_config.model_copy(update={"template": str(file), "steps": 2})
    config = config.model_copy(update={"checkpoint_every": 1, "dev_every": 0})
    with monkeypatch.context() as patched:
        patched.setattr("flows.learning.save_policy", stop)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(config)
    process_runtime().models.forget()
    (run,) = all_runs()
    kept = run.config(LearningConfig).template
    assert isinstance(kept, OwnTemplate)
    file.write_text(TEXT.replace("One line", "A line"))
    other = config.model_copy(update={"template": "few_shot_chat@1"})
    with pytest.raises(InputError, match="a resumed run goes on as it was set, with template"):
        learning_flow.fn(other, resume=run.run_id)
    result = learning_flow.fn(config, resume=run.run_id)
    assert result.config.template == kept
    identity = get_template(kept).identity
    assert result.instrument.parts.prompt_template == identity
    version = registered_version(process_runtime().archive, result.model.name)
    assert "| prompt | `brief@1`, digest" in (version.folder / "README.md").read_text()
    assert (version.folder / "template.yaml").read_text().startswith(f"# {identity}\n")
    tags = process_runtime().archive.tracking.client.get_model_version("threeloops", "1").tags
    assert tags["threeloops.template"] == identity


@pytest.mark.parametrize("kind", [EvalConfig, LearningConfig])
def test_a_worked_example_that_is_measured_is_refused_for_that_dataset_alone(
    kind: type[EvalConfig] | type[LearningConfig], small_sums: str, tiny: str, file: Path
) -> None:
    rows = [json.loads(line) for line in Path(small_sums).read_text().splitlines()]
    runtime = process_runtime()
    for split in ("holdout", "dev", "train"):
        shown = next(row["prompt"] for row in rows if row["split"] == split)
        file.write_text(TEXT.replace("20 + 30?", shown))
        config = (
            kind(model=tiny, dataset=small_sums, template=str(file), dev_limit=2)
            if (kind is LearningConfig)
            else kind(model=tiny, dataset=small_sums, template=str(file))
        )
        measured = split == "holdout" or (split == "dev" and kind is LearningConfig)
        if measured:
            with pytest.raises(InputError, match=r"examples\.1\.question: shows problem"):
                check_names(runtime, config)
        else:
            check_names(runtime, config)
    assert all_runs() == []


def test_a_learning_run_samples_as_many_tokens_as_its_template_needs(
    learning_config: LearningConfig, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LearningConfig] = []

    def no_run(runtime: object, loop: object, config: LearningConfig, place: object) -> None:
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.learning.recorded_run", no_run)
    given = learning_config.model_copy(
        update={"template": str(file), "sampling": SamplingSettings()}
    )
    with pytest.raises(KeyboardInterrupt):
        learning_flow.fn(given)
    assert asked[0].sampling.max_new_tokens == 5
