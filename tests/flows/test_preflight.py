"""What cannot work is refused in one line before a model is loaded or a server started."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import preflight as module
from flows.cli.parser import main
from flows.learning import learning_flow
from schemas.config import GROUP_BASELINES, LearningConfig
from tasks.runtime.progress import Event, Message
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refusal prints."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *asked, line = captured.err.strip().splitlines()
    assert [words.partition(",")[0] for words in asked] in ([], ["Loop A"], ["Loop B"], ["Loop C"])
    assert line.startswith("threeloops: ")
    assert all_runs() == []
    return line


@pytest.fixture
def spoilt(tiny: str, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be spoilt."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.mark.parametrize("baseline", GROUP_BASELINES)
def test_one_sample_with_a_group_baseline(
    baseline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["learn", "--samples", "1", "--baseline", baseline], capsys)
    assert f"the baseline {baseline} compares completions of one problem" in line
    assert "--baseline running_mean" in line


@pytest.mark.parametrize("verb", ["eval", "select", "learn"])
def test_a_model_without_a_chat_template(
    verb: str, spoilt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (spoilt / "chat_template.jinja").unlink()
    line = refused([verb, "--model", str(spoilt)], capsys)
    assert "no chat template" in line
    assert "--template few_shot_plain@1" in line


def test_a_tokenizer_with_more_tokens_than_the_model_is_still_refused(
    spoilt: Path, monkeypatch: pytest.MonkeyPatch, learning_config: LearningConfig
) -> None:
    from policy.model.load import load_tokenizer
    from schemas.errors import InputError

    tokenizer = load_tokenizer(spoilt)
    tokenizer.add_tokens(["<one more>"])
    tokenizer.save_pretrained(spoilt)
    with pytest.raises(InputError, match="tokenizer and weights must come from one model"):
        learning_flow.fn(learning_config.model_copy(update={"model": str(spoilt)}))


@pytest.mark.parametrize(
    ("free", "remedy"),
    [(10**6, "take a smaller --model"), (10**7, "lower --samples or --max-new-tokens")],
)
def test_too_little_memory_for_a_step(
    free: int,
    remedy: str,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda device: free)
    line = refused(["learn", "--model", tiny, "--samples", "64"], capsys)
    assert "GB are free" in line
    assert remedy in line


def test_measuring_needs_less_memory_than_learning(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda device: 10**5)
    assert "--model" in refused(["eval", "--model", tiny], capsys)


def test_rewards_that_are_all_equal_for_many_steps_are_a_warning_and_no_stop(
    learning_config: LearningConfig,
) -> None:
    heard: list[Event] = []
    hopeless = learning_config.model_copy(
        update={
            "steps": 11,
            "dev_every": 0,
            "samples": 2,
            "problems_per_step": 2,
            "sampling": learning_config.sampling.model_copy(update={"max_new_tokens": 1}),
        }
    )
    with process_runtime().progress.listening(heard.append):
        result = learning_flow.fn(hopeless)
    lines = [event.text for event in heard if isinstance(event, Message)]
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "easier problems, more --samples or another --template" in warnings[0]
    assert result.metrics.steps == 11
