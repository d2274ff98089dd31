"""Datasets of the hub: one commit, whole files, no code, usable without the hub afterwards."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.datasets.hub import HubDatasets, HubName
from artifacts.datasets.problems import Datasets
from artifacts.store.data_dir import DataDir
from schemas.config import Columns
from schemas.errors import InputError
from tests.hub_server import Hub, hub_server

NAME = "hf:owner/sums"
CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train*}
  - {split: test, path: main/test*}
---
"""
COLUMNS = Columns(prompt_column="question", answer_column="answer", answer_pattern="#### (.*)")


def parquet(*sums: tuple[int, int]) -> bytes:
    rows = [{"question": f"{a} + {b}?", "answer": f"so\n#### {a + b}"} for a, b in sums]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


FILES: dict[str, str | bytes] = {
    "README.md": CARD,
    "main/train-00000-of-00002.parquet": parquet((1, 2), (3, 4)),
    "main/train-00001-of-00002.parquet": parquet((5, 6)),
    "main/test-00000-of-00001.parquet": parquet((7, 8)),
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one dataset, instead of the real one."""
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.add("owner/sums", FILES)
        yield running


@pytest.fixture
def datasets(data_dir: DataDir) -> Datasets:
    return Datasets(data_dir)


def prompts(datasets: Datasets, name: str, split: str) -> list[str]:
    found: list[str] = datasets.load(name, split, columns=COLUMNS)["prompt"].to_pylist()
    return found


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def kept(data_dir: DataDir) -> list[str]:
    """What is in the folder of the hub's datasets, without the folders."""
    root = data_dir.datasets
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_name_becomes_a_commit_and_only_the_files_of_a_split_are_fetched(
    hub: Hub, datasets: Datasets, data_dir: DataDir
) -> None:
    commit = hub.repositories["owner/sums"].branches["main"]
    pinned = datasets.pinned("hf:owner/sums:main")
    assert pinned == f"hf:owner/sums:main@{commit}"
    assert datasets.source(pinned) == pinned
    assert prompts(datasets, pinned, "test") == ["7 + 8?"]
    assert hub.files_asked() == ["README.md", "main/test-00000-of-00001.parquet"]
    assert prompts(datasets, pinned, "train") == ["1 + 2?", "3 + 4?", "5 + 6?"]
    table = datasets.load(pinned, "train", columns=COLUMNS)
    assert table["expected_answer"].to_pylist() == ["3", "7", "11"]
    assert set(table["split"].to_pylist()) == {"train"}
    assert not any("partial" in path for path in kept(data_dir)), "nothing of the fetch is left"


def test_what_was_fetched_needs_no_hub(
    hub: Hub, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Datasets(data_dir)
    pinned = first.pinned(NAME)
    prompts(first, NAME, "test")
    hub.asked.clear()
    again = Datasets(data_dir)
    assert again.pinned(pinned) == pinned, "a commit never changes, so nobody is asked"
    assert prompts(again, pinned, "test") == ["7 + 8?"]
    offline(monkeypatch)
    without = Datasets(data_dir)
    assert without.pinned(NAME) == pinned
    assert prompts(without, NAME, "test") == ["7 + 8?"]
    assert not hub.asked
    with pytest.raises(InputError, match=r"main/train-0.* was never fetched.*unset HF_HUB_OFFL"):
        prompts(without, NAME, "train")
    with pytest.raises(InputError, match=r"revision 'v2' was never fetched"):
        without.pinned(f"{NAME}@v2")
    with pytest.raises(InputError, match=r"hf:owner/other: revision 'main' was never fetched"):
        without.pinned("hf:owner/other")


def test_a_new_commit_is_another_dataset_and_an_old_one_stays(hub: Hub, datasets: Datasets) -> None:
    old = datasets.pinned(NAME)
    hub.add("owner/sums", FILES | {"main/test-00000-of-00001.parquet": parquet((9, 9))})
    hub.add("owner/sums", {"test.jsonl": '{"question": "1?", "answer": "#### 1"}'}, branch="a/b")
    new = datasets.pinned(NAME)
    assert new != old
    assert prompts(datasets, new, "test") == ["9 + 9?"]
    assert prompts(datasets, NAME, "test") == ["9 + 9?"], "a name means what was said last"
    assert prompts(datasets, old, "test") == ["7 + 8?"]
    assert prompts(datasets, f"{NAME}@a/b", "test") == ["1?"]


def test_files_that_change_on_the_way_are_not_believed(
    hub: Hub, datasets: Datasets, data_dir: DataDir
) -> None:
    path = "main/test-00000-of-00001.parquet"
    content = hub.repositories["owner/sums"].commits[datasets.pinned(NAME).partition("@")[2]][path]
    hub.changed[path] = content[:-1] + b"?"
    with pytest.raises(InputError, match=rf"{path} is not what the hub says it is"):
        prompts(datasets, NAME, "test")
    assert not any(one.endswith(".parquet") for one in kept(data_dir))
    hub.changed.clear()
    assert prompts(datasets, NAME, "test") == ["7 + 8?"]


def test_a_fetch_that_breaks_off_leaves_no_file_and_goes_on(
    hub: Hub, datasets: Datasets, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    pinned = datasets.pinned(NAME)
    prompts(datasets, pinned, "test")
    hub.cut_after = 0
    with pytest.raises(InputError, match=r"main/train-0.* could not be fetched.*run again") as e:
        prompts(datasets, pinned, "train")
    assert "\n" not in str(e.value)
    assert not any("files/main/train" in path for path in kept(data_dir))
    hub.cut_after = None
    assert len(prompts(datasets, pinned, "train")) == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:owner/none", "is not on the hub, or is private; check the name"),
        (f"{NAME}@v9", "has no revision 'v9'; name a branch, a tag or a commit"),
        (f"{NAME}@{'0' * 40}", "has no revision '0000"),
        ("hf:owner/private", "is not on the hub, or is private.*set HF_TOKEN"),
        ("hf:owner/gated", "is given out on request only"),
        ("hf:owner/broken", r"the hub does not answer \(HfHubHTTPError\)"),
        ("hf:owner/code", r"made by code \(code.py\), which is never run"),
        (f"{NAME}:other", r"has no config 'other'; it has main"),
        ("hf:sums", "is no name of a dataset on the hub"),
        ("hf:owner/..", "is no name"),
        ("hf:owner/sums:", "is no name"),
        ("hf:owner/sums@../x", "is no name"),
        ("hf:", "is no name"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    name: str, said: str, hub: Hub, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for one, refusal in {
        "private": (401, ""), "gated": (403, "GatedRepo"), "broken": (500, ""),
    }.items():  # fmt: skip
        hub.add(f"owner/{one}", FILES)
        hub.repositories[f"owner/{one}"].refusal = refusal
    hub.add("owner/code", {"README.md": "", "code.py": "raise SystemExit"})
    with pytest.raises(InputError, match=said) as caught:
        datasets.load(name, "test", columns=COLUMNS)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_gone_is_one_line_that_says_how_to_go_on(
    hub: Hub, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    pinned = Datasets(data_dir).pinned(NAME)
    with hub_server() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    with pytest.raises(InputError, match=r"does not answer \(ConnectError\).*HF_HUB_OFFLINE=1"):
        Datasets(data_dir).pinned(NAME)
    with pytest.raises(InputError, match=r"does not answer \(ConnectError\); check the network"):
        Datasets(data_dir).pinned("hf:owner/other")
    with pytest.raises(InputError, match="README.md could not be fetched"):
        prompts(Datasets(data_dir), pinned, "test")


def test_no_path_leads_out_of_the_folder(hub: Hub, datasets: Datasets, data_dir: DataDir) -> None:
    hub.add("owner/evil", {"../../../evil.jsonl": "{}", "test.jsonl": '{"prompt": "x"}'})
    splits = HubDatasets(data_dir.datasets).splits(datasets.pinned("hf:owner/evil"))
    assert splits == {"test": ("test.jsonl",)}


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
def test_a_folder_with_a_model_is_no_dataset(file: str, tmp_path: Path, datasets: Datasets) -> None:
    for name in ("config.json", file):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="holds a model, not a dataset; name it with --model"):
        datasets.load(str(tmp_path), "train")


def test_a_dataset_with_one_split_may_be_split_by_hash(hub: Hub, datasets: Datasets) -> None:
    rows = "".join(f'{{"question": "{n}?", "answer": "#### {n}"}}\n' for n in range(100))
    hub.add("owner/one", {"train.jsonl": rows})
    columns = COLUMNS.model_copy(update={"split_by_hash": "80/10/10"})
    counts = {
        split: datasets.load("hf:owner/one", split, columns=columns).num_rows
        for split in ("train", "dev", "holdout")
    }
    assert sum(counts.values()) == 100
    assert counts["train"] > 60
    with pytest.raises(InputError, match=r"has the splits train, test.*leave --split-by-hash out"):
        datasets.load(NAME, "train", columns=columns)


def test_errors_name_the_columns_and_splits_that_are_there(hub: Hub, datasets: Datasets) -> None:
    with pytest.raises(InputError, match=r"no column prompt, expected_answer; it has question, a"):
        datasets.load(NAME, "test")
    with pytest.raises(InputError, match=r"no split 'holdout'; use one of train, test"):
        prompts(datasets, NAME, "holdout")


def test_an_id_with_another_answer_in_another_split_is_not_guessed(
    hub: Hub, datasets: Datasets
) -> None:
    row = '{{"id": "0", "prompt": "{0}?", "expected_answer": {0}}}'
    hub.add("owner/ids", {"train.jsonl": row.format(1), "test.jsonl": row.format(2)})
    with pytest.raises(InputError, match=r"id '0' has another answer in each of two splits"):
        datasets.expected_answers("hf:owner/ids")


def test_a_name_has_parts() -> None:
    whole = HubName.of("hf:openai/gsm8k:main@refs/pr/1")
    assert (whole.repository, whole.config, whole.revision) == ("openai/gsm8k", "main", "refs/pr/1")
    assert HubName.of("hf:openai/gsm8k").revision == "main"
    assert not whole.is_pinned


def test_a_folder_in_the_hub_s_layout_is_a_dataset_too(tmp_path: Path, datasets: Datasets) -> None:
    folder = tmp_path / "clone"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        (folder / path).write_bytes(data)
    for name in (str(folder), f"{folder}:main"):
        assert prompts(datasets, name, "train") == ["1 + 2?", "3 + 4?", "5 + 6?"]
        assert datasets.source(name) == ""
        assert datasets.pinned(name) == name
    assert datasets.has_split(str(folder), "test", COLUMNS)
    assert not datasets.has_split(str(folder), "dev", COLUMNS)
    parsed = datasets.parsed
    prompts(datasets, str(folder), "train")
    assert datasets.parsed == parsed, "it is read once"
    (folder / "main/test-00000-of-00001.parquet").write_bytes(parquet((1, 1), (2, 2)))
    assert prompts(datasets, str(folder), "test") == ["1 + 1?", "2 + 2?"]
    with pytest.raises(InputError, match="no config 'x'"):
        prompts(datasets, f"{folder}:x", "test")
