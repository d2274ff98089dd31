"""A configuration in a file: read, overridden, printed whole, refused with its place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.config_file import MOST_BYTES, read_config, written
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from flows.selection import selection_flow
from schemas.config import EvalConfig, LearningConfig, LearningSettings, SelectionConfig
from schemas.errors import InputError
from schemas.outputs import CONFIGS
from tests.data_folder import all_runs


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with settings of both kinds."""
    path = tmp_path / "run.yaml"
    path.write_text(
        "model: default\nlimit: 5   # few\nsampling:\n  temperature: 0.5\n  max_new_tokens: 8\n"
    )
    return path


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main([*words, "--print-config", "--json"]) == 0
    config: dict[str, object] = json.loads(capsys.readouterr().out)["config"]
    return config


@pytest.mark.parametrize("verb", CONFIGS)
def test_the_whole_configuration_is_printed_and_reads_the_same(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--print-config", "--temperature", "0.25", "--seed", "9"]) == 0
    shown = capsys.readouterr().out
    path = tmp_path / "whole.yaml"
    path.write_text(shown)
    config = CONFIGS[verb].model_validate(yaml.safe_load(shown))
    assert (config.seed, config.sampling.temperature) == (9, 0.25)
    again = printed(capsys, verb, "--config", str(path))
    assert again == yaml.safe_load(shown), "the same settings, each of them"
    assert CONFIGS[verb].model_validate(again) == config
    for line in shown.splitlines():
        assert "  # " in line, "each setting says what it means"
    assert all_runs() == []


@pytest.mark.parametrize(
    ("verb", "flow"), [("eval", eval_flow), ("select", selection_flow), ("learn", learning_flow)]
)
def test_one_file_is_the_configuration_of_a_command_and_the_parameter_of_a_deployment(
    verb: str, flow: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = yaml.safe_load(file.read_text())
    by_prefect = flow.validate_parameters({"config": mapping})["config"]
    by_command = CONFIGS[verb].model_validate(printed(capsys, verb, "--config", str(file)))
    tokens = by_prefect.sampling.max_new_tokens
    assert (by_prefect.limit, by_prefect.sampling.temperature, tokens) == (5, 0.5, 8)
    assert by_prefect == by_command


def test_a_deployment_may_give_a_number_as_text(file: Path) -> None:
    found = eval_flow.validate_parameters({"config": {"limit": "5"}})["config"]
    assert found.limit == 5


def test_options_override_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "eval", "--config", str(file), "--limit", "3", "--temperature", "1")
    assert (found["limit"], found["samples"]) == (3, 1)
    assert found["sampling"] == {
        "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 8,
    }  # fmt: skip


def test_small_numbers_come_back(tmp_path: Path) -> None:
    config = LearningConfig(learning=LearningSettings(learning_rate=1e-5, kl_weight=3.5e-7))
    text = written(config)
    assert yaml.safe_load(text)["learning"]["learning_rate"] == 1e-5
    path = tmp_path / "small.yaml"
    path.write_text(text)
    assert read_config(path, LearningConfig)["kl_weight"] == 3.5e-7


@pytest.mark.parametrize("written", ["1e-5", "1.0e-5", "1E-5", "0.00001", "+.00001"])
def test_a_number_is_read_however_it_is_written(written: str, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"learning:\n  learning_rate: {written}\n")
    assert read_config(path, LearningConfig) == {"learning_rate": 1e-5}


def test_a_text_keeps_its_digits(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text("model: 007\ndataset: 12:30\nsplit: 2026-01-02\npick: [oracle]\n")
    assert read_config(path, SelectionConfig) == {
        "model": "007", "dataset": "12:30", "split": "2026-01-02", "pick": ["oracle"],
    }  # fmt: skip


def test_a_run_of_a_file_is_a_run_of_its_options(
    tiny: str,
    small_sums: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_prefect(monkeypatch)
    path = tmp_path / "run.yaml"
    path.write_text(
        f"model: {tiny}\ndataset: {small_sums}\nlimit: 4\nsampling: {{max_new_tokens: 4}}\n"
    )
    tables = []
    plain = ["--model", tiny, "--dataset", small_sums, "--limit", "4", "--max-new-tokens", "4"]
    for words in (["--config", str(path)], plain):
        assert main(["eval", *words, "--json"]) == 0
        tables.append(json.loads(capsys.readouterr().out.splitlines()[-1])["tables"])
    assert tables[0] == tables[1]


def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows as plain calls: a server would stay for as long as this process."""
    monkeypatch.setattr("flows.cli.verbs.loops.configure_prefect", lambda data_dir: None)
    monkeypatch.setattr(
        "flows.cli.verbs.loops.run_flow", lambda _, flow, config, __: flow.fn(config)
    )


@pytest.mark.parametrize("verb", ["eval", "select"])
def test_a_whole_file_that_was_printed_is_run_and_replayed(
    verb: str,
    tiny: str,
    small_sums: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_prefect(monkeypatch)
    path = tmp_path / "whole.yaml"
    asked = ["--model", tiny, "--dataset", small_sums, "--limit", "4", "--samples", "2"]

    def ran(*words: str) -> dict[str, Any]:
        assert main([verb, *words, "--json"]) == 0, capsys.readouterr().err
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    assert main([verb, *asked, "--print-config"]) == 0
    path.write_text(capsys.readouterr().out)
    made = ran("--config", str(path))
    assert main([verb, "--completions", made["run_id"], "--print-config"]) == 0
    path.write_text(capsys.readouterr().out)
    replayed = ran("--config", str(path))
    assert replayed["tables"]["completions"] == made["tables"]["completions"]
    assert replayed["config"]["completions"] == made["run_id"]


def test_what_a_file_settles_otherwise_is_refused_with_stored_completions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("sampling: {temperature: 0.5}\n")
    assert main(["eval", "--config", str(path), "--completions", "x.parquet"]) == 2
    assert "--temperature with --completions: it was settled when" in capsys.readouterr().err


MANY = "a: &a [x, x]\n"
BAD = {
    "an unknown setting": ("modle: x\n", ": modle: there is no such setting"),
    "an unknown setting of a group": (
        "sampling: {temprature: 1}\n",
        ": sampling.temprature: there is no such setting",
    ),
    "a setting of a group beside it": (
        "temperature: 1\n",
        ": temperature: there is no such setting; it belongs into the group sampling: "
        "sampling.temperature",
    ),
    "a setting in a group": (
        "sampling: {samples: 2}\n",
        ": sampling.samples: there is no such setting; samples belongs into no group",
    ),
    "an address": (
        "base_url: x\n",
        ": base_url: there is no such setting; an address is in no file",
    ),
    "a value that is not allowed": (
        "sampling: {temperature: -1}\n",
        ": sampling.temperature: is less than 0",
    ),
    "a word for a number": ("limit: many\n", ": limit: is not a whole number"),
    "text for a whole number": ('samples: "2"\n', ": samples: is not a whole number; give digits"),
    "text for a number": (
        'sampling: {temperature: "0.5"}\n',
        ": sampling.temperature: is not a number; give digits, as 0.5, without quotes",
    ),
    "text for a truth": (
        'allow_missing: "true"\n',
        ": allow_missing: is neither true nor false; write it without quotes",
    ),
    "a zero before a number": ("seed: 010\n", ": seed: is not a whole number; give digits, as 20"),
    "a number to the base 16": ("limit: 0x10\n", ": limit: is not a whole number"),
    "a number to the base 60": ("limit: 190:20:30\n", ": limit: is not a whole number"),
    "digits in groups": ("limit: 1_000\n", ": limit: is not a whole number"),
    "a number to the base 60 with a point": (
        "sampling: {temperature: '1:30.5'}\n",
        ": sampling.temperature: is not a number",
    ),
    "more digits than any number has": (
        f"seed: {'9' * 5000}\n",
        "line 1: is not YAML (a number of",
    ),
    "bytes": ("model: !!binary aGk=\n", "line 1: is not YAML"),
    "a group that is none": ("sampling: 5\n", ": sampling: "),
    "a list": ("- model\n", "holds no settings"),
    "a text": ("model\n", "holds no settings"),
    "a name twice": ("seed: 1\nseed: 2\n", "line 2: is not YAML (seed is set twice)"),
    "an alias": (MANY + "b: *a\n", "line 2: is not YAML (an alias (*name))"),
    "an object of Python": ("model: !!python/object:os.system x\n", "line 1: is not YAML"),
    "open brackets": ("[" * 5000, "is not YAML"),
    "no YAML": ("model: [\n", "is not YAML"),
    "bytes that are no text": (b"model: \xff\n", "is not UTF-8 text"),
    "a null character": ("model: a\0b\n", "is not YAML"),
    "half a pair": ('model: "\\ud800"\n', ": model: holds bytes that are not UTF-8 text"),
    "a number as a name": ("5: x\n", "holds no settings"),
    "a list as a name": ("? [a, b]\n: x\n", "is not YAML"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD.keys())
def test_a_fault_is_one_line_with_its_place(
    content: str | bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["eval", "--config", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"threeloops: {path}" in line
    assert words in line
    assert all_runs() == []


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "none.yaml", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"is no plain file|cannot be read"):
            read_config(name, EvalConfig)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="is no plain file"):
        read_config(tmp_path / "pipe.yaml", EvalConfig)
    with (tmp_path / "large.yaml").open("wb") as large:
        large.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="larger than 1 MB"):
        read_config(tmp_path / "large.yaml", EvalConfig)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_config(tmp_path / "empty.yaml", SelectionConfig) == {}


def test_what_a_replay_has_settled_cannot_be_set_by_a_file_either(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--config", str(file), "--completions", "x.parquet"]) == 2
    assert "it was settled when the completions were made" in capsys.readouterr().err


def test_a_resumed_run_takes_no_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "--config", str(file), "--resume", "learn-123456"]) == 2
    assert "--config with --resume" in capsys.readouterr().err
