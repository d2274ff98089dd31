"""A log that is newer, damaged, mixed or about something else is one line with its row."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.foreign.zipped import Members
from schemas.errors import InputError
from tests.artifacts.foreign.samples import LM_EVAL, SAMPLES, expected_of, read

Change = Callable[[dict[str, Any]], object]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(folder: Path, rows: Iterable[Any], name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def changed_eval(folder: Path, changes: dict[str, Change]) -> Path:
    """The real log packed by deflate, with some of its members changed."""
    members = Members(SAMPLES["inspect"])
    path = folder / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in members.names:
            value = json.loads(members.read(name))
            if name in changes:
                changes[name](value)
            file.writestr(name, json.dumps(value))
    return path


def put(*keys: Any, to: Any) -> Change:
    """A change of one value, named by the keys that lead to it."""

    def change(value: Any) -> None:
        for key in keys[:-1]:
            value = value[key]
        value[keys[-1]] = to

    return change


SAMPLE = "samples/sum-03_epoch_2.json"
CHOICE = ("output", "choices", 0)


def test_a_log_packed_by_deflate_reads_as_one_packed_by_zstd(tmp_path: Path) -> None:
    again = read(changed_eval(tmp_path, {})).answers
    assert [one.text for one in again] == [one.text for one in read(SAMPLES["inspect"]).answers]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("header.json", put("version", to=3), r"log\.eval: is written in format '3'"),
        ("header.json", put("version", to=None), "is written in format null"),
        (SAMPLE, put(*CHOICE, "stop_reason", to="tired"), f"{SAMPLE}: the finish reason 'tired'"),
        (SAMPLE, put(*CHOICE, "stop_reason", to="tool_calls"), "the finish reason 'tool_calls'"),
        (SAMPLE, put("output", "choices", to=[]), f"{SAMPLE}: has 0 choices"),
        (SAMPLE, put(*CHOICE, "message", "content", to=5), "the answer is '5', not text"),
        (
            SAMPLE,
            put(*CHOICE, "message", "content", to=[{"type": "image"}]),
            "holds a part of type 'image'",
        ),
        (
            SAMPLE,
            put(*CHOICE, "logprobs", "content", 0, "logprob", to=0.5),
            "the log-probability 0.5 is no number up to 0",
        ),
        (SAMPLE, put("output", "model", to="other"), "was answered by other, and rows before it"),
        (SAMPLE, put("epoch", to="x"), "the epoch is 'x'"),
    ],
)
def test_what_a_log_of_inspect_may_not_say(
    name: str, change: Change, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        read(changed_eval(tmp_path, {name: change}))


def test_what_inspect_keeps_as_attachment_or_in_parts_is_put_together(tmp_path: Path) -> None:
    def attach(sample: dict[str, Any]) -> None:
        sample["attachments"] = {"abc": "Final: 9"}
        put(*CHOICE, "message", "content", to="attachment://abc")(sample)

    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Final: 2"}]
    other = "samples/sum-02_epoch_1.json"
    changes = {SAMPLE: attach, other: put(*CHOICE, "message", "content", to=parts)}
    texts = {
        one.where.split(", ")[1]: one.text for one in read(changed_eval(tmp_path, changes)).answers
    }
    assert (texts[SAMPLE], texts[other]) == ("Final: 9", "Final: 2")


def test_a_damaged_log_of_inspect_is_refused_wherever_it_is_cut_or_changed(tmp_path: Path) -> None:
    whole = SAMPLES["inspect"].read_bytes()
    path = tmp_path / "log.eval"
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"log\.eval.*is not a readable zip file"):
            read(path)
    broken = bytearray(whole)
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        info = file.getinfo(SAMPLE)
    place = info.header_offset + 30 + len(SAMPLE) + info.compress_size // 2
    broken[place] ^= 0xFF
    path.write_bytes(broken)
    with pytest.raises(InputError, match=rf"log\.eval, {SAMPLE}: is (damaged|not JSON)"):
        read(path)


def test_a_log_that_was_cut_off_has_no_header(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("_journal/start.json", "{}")
    with pytest.raises(InputError, match=r"has no header\.json: the evaluation was cut off"):
        read(path)


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    raw = bytearray(SAMPLES["inspect"].read_bytes())
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        size = file.getinfo(SAMPLE).file_size
    place = raw.rindex(SAMPLE.encode()) - 46 + 24  # the size in the list at the end
    assert int.from_bytes(raw[place : place + 4], "little") == size
    raw[place : place + 4] = (size - 1).to_bytes(4, "little")
    path = tmp_path / "log.eval"
    path.write_bytes(raw)
    with pytest.raises(InputError, match="is damaged"):
        read(path)


def test_lm_eval_rows_that_hold_no_answers(tmp_path: Path) -> None:
    rows = lines(LM_EVAL)
    choices = rows[0] | {"resps": [[["-1.5", "True"]], [["-2.5", "False"]]]}
    with pytest.raises(InputError, match="row 1: holds no single request with answers"):
        read(written(tmp_path, [choices]))
    with pytest.raises(InputError, match="row 2: holds .*log-likelihoods are no answers"):
        read(written(tmp_path, [rows[0], rows[1] | {"resps": [[["-1.5", "True"]]]}]))
    with pytest.raises(InputError, match="row 13: document 0 has other answers here than in"):
        read(written(tmp_path, [*rows[:12], rows[12] | {"resps": [["x", "y", "z"]]}]))
    with pytest.raises(InputError, match="row 2: resps is missing"):
        read(written(tmp_path, [rows[0], {k: v for k, v in rows[1].items() if k != "resps"}]))


def test_batches_that_hold_no_answers(tmp_path: Path) -> None:
    rows = lines(SAMPLES["openai-batch"])
    put("response", "body", "choices", 1, "finish_reason", to="function_call")(rows[3])
    with pytest.raises(InputError, match="row 4: the finish reason 'function_call'"):
        read(written(tmp_path, rows))
    put("response", "body", to={"output": []})(rows[3])
    with pytest.raises(InputError, match="row 4: its body has no choices"):
        read(written(tmp_path, rows))
    put("response", "body", "model", to="gpt-9")(rows[2])
    with pytest.raises(InputError, match="row 3: was answered by gpt-9, and rows before it by"):
        read(written(tmp_path, rows[:3]))
    rows[1] |= {"response": {"status_code": 500, "body": {}}}
    rows[0] |= {"error": {"code": "batch_expired"}, "response": None}
    failed = read(written(tmp_path, rows[:2])).answers
    assert [one.text for one in failed] == [None, None]


def test_a_plain_completion_and_a_refusal_are_answers(tmp_path: Path) -> None:
    row = lines(SAMPLES["openai-batch"])[0]
    logprobs = {"tokens": ["a"], "token_logprobs": [-1]}
    plain = {"index": 0, "text": "Final: 9", "finish_reason": "length", "logprobs": logprobs}
    message = {"role": "assistant", "content": None, "refusal": "No."}
    refused = {"index": 1, "message": message, "finish_reason": "content_filter"}
    put("response", "body", "choices", to=[plain, refused])(row)
    first, second = read(written(tmp_path, [row])).answers
    assert (first.text, first.finish_reason, first.sum_logprob) == ("Final: 9", "length", -1.0)
    assert (second.text, second.finish_reason, second.sum_logprob) == ("No.", "length", None)


def test_verifiers_rows_of_several_turns_and_newer_traces(tmp_path: Path) -> None:
    rows = lines(SAMPLES["verifiers"])
    rows[2]["completion"] *= 2
    with pytest.raises(InputError, match="row 3: the completion has 2 messages, and one is read"):
        read(written(tmp_path, rows))
    trace = {"version": 1, "verifiers": {}, "task": {}, "nodes": []}
    with pytest.raises(InputError, match="row 1: is a trace of verifiers' newer format"):
        read(written(tmp_path, [trace]))
    failed = read(written(tmp_path, [rows[0] | {"error": {"error": "Timeout"}}])).answers
    assert failed[0].text is None


def test_tables_of_trl_of_more_than_one_step_or_turn(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLES["trl"])
    path = tmp_path / "log.parquet"
    steps = pa.array([1] * 24 + [2] * 24, pa.int64())
    pq.write_table(table.set_column(0, "step", steps), path)
    with pytest.raises(InputError, match=r"log\.parquet: holds the steps 1 to 2, each by another"):
        read(path)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(InputError, match="has no rows"):
        read(path)
    completions = [[*row, *row] for row in table["completion"].to_pylist()]
    column = pa.array(completions, table["completion"].type)
    pq.write_table(table.set_column(2, "completion", column), path)
    with pytest.raises(InputError, match="row 1: the completion has 2 messages"):
        read(path)
    path.write_bytes(SAMPLES["trl"].read_bytes()[:-9])
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        read(path)


def test_what_no_problem_has_is_refused_with_its_row(tmp_path: Path) -> None:
    rows = lines(SAMPLES["openai-batch"])
    rows[5]["custom_id"] = "sum-99"
    with pytest.raises(InputError, match=r"row 6: no problem of the dataset .* the id 'sum-99'"):
        expected_of(read(written(tmp_path, rows)))
    rows = lines(SAMPLES["verifiers"])
    rows[5]["prompt"][0]["content"] = "What is 9 + 9?"
    with pytest.raises(InputError, match=r"row 6: no problem .* the prompt 'What is 9 \+ 9\?'"):
        expected_of(read(written(tmp_path, rows)))
    rows = lines(SAMPLES["verifiers"])
    rows[7]["answer"] = "17"
    with pytest.raises(InputError, match=r"row 8: expects 17 for problem 'sum-04', and the data"):
        expected_of(read(written(tmp_path, rows)))
