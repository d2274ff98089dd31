"""`threeloops prompt` shows exactly what a model would get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.parser import main
from policy.model.load import load_tokenizer
from policy.model.template import get_template
from tests.data_folder import all_runs

TEXT = """name: brief
version: 1
form: chat
system: Be exact.
instruction: |-
  {question}
  One  line.
examples:
  - {question: "8 + 35?", answer: "Final: 43"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A template of one's own."""
    path = tmp_path / "brief.yaml"
    path.write_text(TEXT)
    return path


def test_the_text_and_tokens_are_those_that_a_loop_would_use(
    tiny: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy.model.load.load_policy", None)  # no weights
    words = ["prompt", "--template", str(file), "--model", tiny]
    assert main([*words, "--limit", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["template"], shown["form"], len(shown["prompts"])) == ("brief@1", "chat", 2)
    tokenizer = load_tokenizer(Path(tiny))
    from artifacts.prompts.template_file import read_template

    template = get_template(read_template(str(file)))
    assert shown["digest"] == template.digest
    for prompt in shown["prompts"]:
        question = prompt["text"].rpartition("<|user|>")[2].partition("\n")[0]
        assert prompt["text"] == (
            "<|system|>Be exact.<|end|><|user|>8 + 35?\nOne  line.<|end|><|assistant|>Final: 43"
            f"<|end|><|user|>{question}\nOne  line.<|end|><|assistant|>"
        )
        (ids,) = template.encode([question], tokenizer)
        assert [token["id"] for token in prompt["tokens"]] == ids
        assert "".join(token["piece"] for token in prompt["tokens"]) == prompt["text"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"brief@1, chat, digest {template.digest}\n\nproblem ")
    assert "\n<|system|>Be exact.<|end|><|user|>8 + 35?\\n\nOne␠␠line.<|end|>" in said
    assert f": {len(shown['prompts'][0]['tokens'])} tokens\n" in said
    assert all(len(line) <= 100 for line in said.splitlines())
    assert all_runs() == []


def test_a_built_in_template_in_plain_text(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "--template", "few_shot_plain@1", "--model", tiny, "--json"]) == 0
    (prompt,) = json.loads(capsys.readouterr().out)["prompts"]
    assert prompt["text"].startswith("What is 8 + 35?\nFinal: 43<|end|>What is 27 - 19?\n")
    assert prompt["text"].endswith("\n")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            TEXT.replace("8 + 35?", "What is 20 - 5?"),
            "examples.1.question: shows problem 'sub-20-5'",
        ),
        (TEXT.replace("brief", "few_shot_chat"), "name: a built-in template has the name"),
        (TEXT.replace("{question}\n", "\n"), "instruction: has no {question}"),
        (TEXT.replace("Final: 43", "{answer}"), "examples.1.answer: holds {answer}"),
        (TEXT + "sistem: x\n", "sistem: there is no such field"),
    ],
)
@pytest.mark.parametrize("verb", ["prompt", "eval", "learn"])
def test_a_template_that_cannot_be_used_is_one_line(
    verb: str, text: str, part: str, tiny: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    assert main([verb, "--template", str(file), "--model", tiny]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("threeloops: ")
    assert part in line
    assert all_runs() == []


def test_a_chat_for_a_model_without_a_chat_template(
    tiny: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny, tmp_path / "base"))
    (folder / "chat_template.jinja").unlink()
    assert main(["prompt", "--template", str(file), "--model", str(folder)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "the template brief@1 is a chat, but this model has no chat template" in line
    assert "`form: plain`" in line
