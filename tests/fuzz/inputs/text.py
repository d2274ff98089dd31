"""Nearly right texts: JSON lines, CSV and JSON files with one or two things wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

Pieces = Mapping[str, SearchStrategy[str]]
ODD = (
    "null", "true", "[]", "{}", '""', '" "', "0", "-0", "007", "+1", "1.0", "1e2", "1e400",
    "-1e-400", "NaN", "Infinity", "-Infinity", "9" * 400, "-" + "9" * 5000, '"\\ud800"',
    '"\\ud83d\\ude00"', '"\\u0000"', '"\\u202e"', '"\\u001b[31m"', '"\\n"', "'a'", "[[[]]]",
    '{"a": {"a": []}}', '"a"', "[" * 2000, "[" * 70 + "]" * 70, '{"a":' * 70 + "1" + "}" * 70,
    '"' + "x" * 5000 + '"', "", "undefined", "0x10", '"１２"', '"-"', '" 5"', '"5\\n"', "[1, 2]",
    '["a"]', "12345678901234567890",
)  # fmt: skip
ANY_TEXT = st.text(st.characters(codec=None), max_size=6)
ODD_JSON = st.one_of(st.sampled_from(ODD), ANY_TEXT.map(json.dumps), st.integers().map(str))


def written(texts: SearchStrategy[str]) -> SearchStrategy[str]:
    """Texts as JSON, with an escape for what is not ASCII or without."""
    return st.builds(lambda text, plain: json.dumps(text, ensure_ascii=plain), texts, st.booleans())


def one_in(many: int) -> SearchStrategy[bool]:
    """True once in so many; of integers, small ones would be drawn more often."""
    return st.sampled_from((True, *(False,) * (many - 1)))


@st.composite
def record(draw: DrawFn, right: Pieces) -> str:
    """A JSON object with these fields; in every fifth, one is odd, doubled or left out."""
    pairs = []
    spoilt = draw(one_in(5))
    harmed = draw(st.sampled_from(sorted(right))) if right and spoilt else None
    for name, value in right.items():
        fate = draw(st.integers(1, 4)) if name == harmed else 0
        if fate == 1:
            continue
        pairs.append((name, draw(ODD_JSON if fate == 2 else value)))
        if fate == 3:
            pairs.append((name, draw(ODD_JSON)))
        if fate == 4:
            pairs.append((draw(ANY_TEXT), draw(ODD_JSON)))
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}"


@st.composite
def encoded(draw: DrawFn, texts: SearchStrategy[str]) -> bytes:
    """A text as bytes: most often UTF-8, now and then with a mark, another encoding or damage."""
    text, fate = draw(texts), draw(st.sampled_from((*range(1, 6), *(0,) * 25)))
    encoding = {1: "utf-16", 2: "latin-1", 3: "utf-8-sig", 4: "utf-32"}.get(fate, "utf-8")
    content = text.encode(encoding, "replace" if fate == 2 else "surrogatepass")
    return draw(damaged(content)) if fate == 5 else content


@st.composite
def damaged(draw: DrawFn, content: bytes) -> bytes:
    """Bytes with a few of them changed, cut off, doubled or put in."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(changed)))
        match draw(st.integers(0, 4)):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + draw(st.integers(1, 8))]
            case 2 if at < len(changed):
                changed[at] ^= 1 << draw(st.integers(0, 7))
            case 3:
                changed[at:at] = draw(
                    st.sampled_from((b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b'"'))
                )
            case _:
                changed[at:at] = changed[at : at + draw(st.integers(1, 40))]
    return bytes(changed)


def lines(rows: SearchStrategy[str]) -> SearchStrategy[bytes]:
    """A file of rows, with line ends of every kind."""
    end = st.sampled_from((*("\n",) * 14, "\r\n", "\r", "\n\n", "\u2028", "\x1e", " \n"))
    # `one_of` would take the same strategy once alone
    many = st.lists(one_in(15).flatmap(lambda odd: ODD_JSON if odd else rows), max_size=4)
    return encoded(st.builds(lambda found, by: by.join([*found, ""]), many, end))


INTEGERS = st.integers(-99, 99)
PROBLEM: Pieces = {
    "id": st.sampled_from(("a", "b", "c", "d", "é", "0")).map(json.dumps) | INTEGERS.map(str),
    "prompt": written(st.sampled_from(("1 + 1?", "2 + 2?", "é?\n", "😀")))
    | ANY_TEXT.map(json.dumps),
    "expected_answer": INTEGERS.map(str) | INTEGERS.map(lambda one: f'"{one}"'),
    "split": st.sampled_from(('"train"', '"holdout"', '"holdout"')),
    "family": st.sampled_from(('"sums"', "null")),
}
ID = st.sampled_from(("a", "b")).map(json.dumps)
COMPLETION = written(st.sampled_from(("Final: 2", "Final: 4", "", "Final: 2\n"))) | ANY_TEXT.map(
    json.dumps
)
FINISH = st.sampled_from(('"stop"', '"length"'))
SAMPLE = COMPLETION | record({"completion": COMPLETION, "finish_reason": FINISH})
SAMPLES = st.lists(SAMPLE, min_size=1, max_size=2).map(lambda found: f"[{', '.join(found)}]")


@st.composite
def _problem(draw: DrawFn) -> str:
    """A problem; most often one whose prompt has the same answer in every row."""
    number = draw(st.uuids()).int % 10**6  # small integers would be drawn again and again
    same: Pieces = {
        "id": st.sampled_from((f'"{number}"', str(number))),
        "prompt": st.just(f'"{number} + 0?"'),
        "expected_answer": st.sampled_from((f'"{number}"', str(number))),
    }
    return draw(record(PROBLEM if draw(one_in(5)) else {**PROBLEM, **same}))


def dataset_jsonl() -> SearchStrategy[bytes]:
    return lines(_problem())


@st.composite
def _answers(draw: DrawFn) -> str:
    """Both problems answered, most of the time."""
    alone = draw(st.booleans())
    rows = []
    for identity in draw(st.sampled_from((("a", "b"), ("a", "b"), ("b", "a"), ("a",), ("a", "a")))):
        answer: Pieces = (
            {"completion": COMPLETION, "finish_reason": FINISH} if alone else {"samples": SAMPLES}
        )
        rows.append(draw(record({"id": st.just(json.dumps(identity)), **answer})))
    return draw(st.sampled_from(("\n", "\r\n", "\n\n"))).join(rows)


def completions_jsonl() -> SearchStrategy[bytes]:
    return encoded(_answers())


def golden() -> SearchStrategy[bytes]:
    reward = st.sampled_from(("0", "1", "0.5", "true", "1.0", "-0.0", "1e-9"))
    row: Pieces = {
        "id": ID,
        "completion": COMPLETION,
        "expected_reward": reward,
        "finish_reason": FINISH,
    }
    return lines(record(row))


@st.composite
def _csv(draw: DrawFn) -> str:
    names = draw(st.permutations(("id", "prompt", "expected_answer", "split", "family")))
    field = st.one_of(
        st.sampled_from(
            (
                "a",
                "b",
                '"a,b"',
                '"a""b"',
                '"a\nb"',
                'a"b',
                '"a"b',
                '"a',
                "",
                " ",
                "2",
                "-3",
                "x" * 140_000,
            )
        ),
        ANY_TEXT,
        INTEGERS.map(str),
    )
    right = {
        "id": st.uuids().map(str),
        "prompt": st.sampled_from(("1?", "2?")),
        "expected_answer": st.just("2"),
        "split": st.just("holdout"),
        "family": st.sampled_from(("", "sums")),
    }
    head = [draw(field) if draw(one_in(30)) else name for name in names]
    rows = [head]
    for _ in range(draw(st.integers(0, 3))):
        row = [draw(field if draw(one_in(15)) else right[name]) for name in names]
        rows.append([*row, draw(field)] if draw(one_in(30)) else row)
    return draw(st.sampled_from(("\n", "\r\n", "\r"))).join(",".join(row) for row in rows)


def dataset_csv() -> SearchStrategy[bytes]:
    return encoded(_csv())


def _nested(depth: int) -> SearchStrategy[str]:
    if not depth:
        return ODD_JSON
    inner = _nested(depth - 1)
    listed = st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]")
    return st.one_of(ODD_JSON, record({"a": inner, "b": inner}), listed)


def json_file() -> SearchStrategy[bytes]:
    return encoded(record({"a": _nested(2), "b": _nested(2)}))
