"""What cannot work is refused in one line before a model is loaded or a server started."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.shared.objects import MARK, VARIABLE
from flows import preflight as module
from flows.cli.parser import main
from flows.cli.verbs.loops import asked
from flows.learning import learning_flow
from policy.parallel.group import Group
from policy.parallel.place import Place
from schemas.config import GROUP_BASELINES, EvalConfig, LearningConfig
from schemas.errors import InputError
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


@pytest.mark.parametrize("verb", ["eval", "select", "learn"])
def test_a_store_that_is_not_ours(
    verb: str,
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / MARK).write_bytes(b'{"layout": 2}')
    monkeypatch.setenv(VARIABLE, tmp_path.as_uri())
    line = refused([verb, "--model", tiny, "--limit", "2"], capsys)
    assert f"its {MARK} is another program's, or a newer version's" in line


def test_reasoning_with_a_scorer_that_pays_for_one_line_alone(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reasoned = ["--model", tiny, "--template", "reason_then_final@1"]
    for verb in ("eval", "select", "learn"):
        line = refused([verb, *reasoned], capsys)
        assert "add --scorer final_line_int@1" in line
        assert "--template reason_then_final@1" in line


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ({}, 16),
        ({"template": "reason_then_final@1"}, 256),
        ({"template": "reason_then_final@1", "sampling": {"max_new_tokens": 40}}, 40),
        ({"template": "reason_then_final@1", "sampling": {"temperature": 0.5}}, 256),
        ({"sampling": {"max_new_tokens": 40}}, 40),
    ],
)
def test_a_template_gives_its_answers_the_tokens_that_they_need(
    given: dict[str, object], tokens: int, tiny: str
) -> None:
    asked = EvalConfig.model_validate({"model": tiny, "scorer": "final_line_int@1", **given})
    config = module.check_names(process_runtime(), asked)
    assert config.sampling.max_new_tokens == tokens
    assert module.check_names(process_runtime(), config) == config
    assert config.sampling.temperature == asked.sampling.temperature


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


def config_of(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def a_folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "loop": (
        lambda f: (f / "chat_template.jinja").write_text(
            "{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4
        ),
        "chat_template.jinja: the model's chat template cannot show few_shot_chat@1 (it takes too",
    ),
    "memory": (
        lambda f: (f / "chat_template.jinja").write_text("{{ 'a' * 10**9 }}"),
        "(it needs too much memory)",
    ),
    "range": (
        lambda f: (f / "chat_template.jinja").write_text("{{ range(10**9) }}"),
        "(Range too big",
    ),
    "include": (
        lambda f: (f / "chat_template.jinja").write_text("{% include 'x' %}"),
        "(no loader",
    ),
    "large template": (
        lambda f: (f / "chat_template.jinja").write_bytes(b" " * (33 * 2**20)),
        "chat_template.jinja: is larger than 32 MB",
    ),
    "layers": (lambda f: config_of(f, num_hidden_layers=10**6), "num_hidden_layers is '1000000'"),
    "no layers": (lambda f: config_of(f, num_hidden_layers="x"), "num_hidden_layers is 'x'"),
    "deep": (
        lambda f: (f / "config.json").write_text(nested(900)),
        "config.json: is JSON nested more than 64 deep",
    ),
    "deeper": (
        lambda f: (f / "config.json").write_text(nested(10**5)),
        "config.json: cannot be read as JSON (RecursionError",
    ),
    "not JSON": (lambda f: (f / "config.json").write_bytes(b"\0\xff"), "config.json: cannot be"),
    "no names": (lambda f: config_of(f, architectures=[5]), "architectures is not a list"),
    "wrong type": (lambda f: config_of(f, rms_norm_eps={"a": []}), "cannot be loaded"),
    "unknown": (lambda f: config_of(f, model_type="nothing"), "cannot be loaded"),
    "no type": (lambda f: (f / "config.json").write_text("{}"), "cannot be loaded"),
    "end token": (
        lambda f: (f / "generation_config.json").write_text('{"eos_token_id": ["a", [1]]}'),
        "eos_token_id holds 'a', which is no token",
    ),
    "tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(nested(10**5)),
        "the tokenizer cannot be loaded",
    ),
    "large tokenizer": (
        lambda f: (f / "tokenizer.json").write_bytes(b" " * (65 * 2**20)),
        "tokenizer.json: is larger than 64 MB",
    ),
    "header": (
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 7 + b"\0" + b"[" * 10**6),
        "is not a complete safetensors file",
    ),
    "folder": (
        lambda f: a_folder_instead(f / "config.json"),
        "config.json: cannot be read (Is a directory)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("spoil", SPOILERS)
def test_nothing_of_a_model_is_believed_that_was_not_looked_at(
    spoil: str, spoilt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with little computing of our own, and for measuring and learning alike."""
    change, reason = SPOILERS[spoil]
    change(spoilt)
    for verb in ("eval", "learn"):
        started = time.process_time()
        line = refused([verb, "--model", str(spoilt)], capsys)
        assert reason in line
        assert str(spoilt) in line
        assert time.process_time() - started < 10


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


class WithoutModel(Group):
    """Rank 0 of two processes, the other of which has no model on its host."""

    def __init__(self) -> None:
        self.place = Place(0, 2, 0, 2)
        self.told: list[Any] = []

    def tell(self, message: Any) -> None:
        self.told.append(message)

    def together(self, work: Callable[[], bytes], *, divided: bool = False) -> list[bytes]:
        raise InputError("no such folder", "rank 1 (process 7 on node2): --model mine")


def test_of_several_processes_each_finds_the_model_before_anything_starts(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, group = process_runtime(), WithoutModel()
    monkeypatch.setattr(runtime, "group", group)
    with pytest.raises(InputError, match=r"^rank 1 \(process 7 on node2\): --model mine"):
        module.check_model(runtime, LearningConfig(model=tiny))
    (message,) = group.told
    assert message["do"] == "find"
    assert message["policy"]["name"] == tiny
    assert all_runs() == []


def test_a_model_that_the_hub_does_not_have_is_refused_before_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(model: str, timeout: float) -> None:
        raise LookupError(model)

    monkeypatch.setattr("huggingface_hub.model_info", none)
    line = refused(["eval", "--model", "nobody/nothing", "--limit", "1"], capsys)
    assert "--model nobody/nothing: could not be fetched from the hub" in line


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["eval", "--split", "blah"], "--split blah"),
        (["eval", "--split", "train"], "--split train"),
        (["prompt", "--split", "dev"], "--split dev"),
        (["learn", "--train-split", "blah"], "--train-split blah"),
    ],
)
def test_a_split_that_is_named_for_a_file_without_splits(
    words: list[str], option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "1", "prompt": "1?", "expected_answer": 1}))
    line = refused([*words, "--dataset", str(path)], capsys)
    assert f"{option}: {path} has no splits, and all its rows would be taken" in line
    assert "--split-column, or add --split-by-hash" in line


def test_all_rows_of_a_file_without_splits_are_said_to_be_measured(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "1", "prompt": "1?", "expected_answer": 1}))
    config = EvalConfig(dataset=str(path), split="holdout")
    assert (
        asked(process_runtime(), config) == f"default, 1 problem x 1, {path}, which has no splits"
    )
    assert asked(process_runtime(), EvalConfig()).endswith("240 problems x 1, arithmetic holdout")
