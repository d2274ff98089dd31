"""The scorer by the package math-verify: nothing that goes wrong in it is hidden."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers import math_verify
from scorers.math_verify import MATH_VERIFY_1
from scorers.scorer import Verdict

pytestmark = pytest.mark.slow

installed = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="needs the package math-verify"
)


def score(*texts: str, finish_reason: str = "stop") -> list[Verdict]:
    rows = len(texts)
    table = MATH_VERIFY_1.score(
        pa.array(texts), pa.array([finish_reason] * rows), pa.array(["12"] * rows)
    )
    return [Verdict(**row) for row in table.to_pylist()]


@installed
def test_it_takes_many_forms_for_the_integer() -> None:
    verdicts = score("Final: 12", "$\\boxed{12}$", "\\frac{24}{2}", "12.0", "3*4", "13", "twelve")
    assert [verdict.code for verdict in verdicts] == ["equal"] * 5 + ["not_equal", "nothing_found"]
    assert [verdict.reward for verdict in verdicts] == [1.0] * 5 + [0.0] * 2
    assert verdicts[0].parsed_answer == "12"
    assert verdicts[5].parsed_answer == "13"


@installed
def test_a_text_that_takes_too_long_is_counted_as_timeout_and_the_others_are_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(math_verify, "SECONDS", 1.0)
    monkeypatch.setattr(math_verify, "WORKERS", 1)
    before, stuck, after = score("12", "9**9**9**9", "13")
    assert (stuck.reward, stuck.outcome, stuck.code) == (0.0, "bad_format", "timeout")
    assert (before.code, after.code) == ("equal", "not_equal")


@installed
def test_it_works_off_the_main_thread() -> None:
    found: list[Verdict] = []
    thread = threading.Thread(target=lambda: found.extend(score("12")))
    thread.start()
    thread.join()
    assert found[0].code == "equal"


def test_what_the_package_raises_on_is_counted_as_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sympy.py").write_text("Integer = int\n")
    (tmp_path / "math_verify.py").write_text(
        "def parse(text, **settings):\n    return [int(text)]\n"
        "def verify(gold, target, **settings):\n    print('noise')\n    return gold == target[0]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    assert score("12", "twelve", "13") == [
        Verdict(1.0, "correct", "equal", "12"),
        Verdict(0.0, "bad_format", "error", None),
        Verdict(0.0, "wrong_answer", "not_equal", "13"),
    ]


@installed
def test_the_worker_starts_without_anything_of_ours_or_torch() -> None:
    loaded = (
        "import sys, runpy; sys.stdin = open('/dev/null'); "
        f"runpy.run_path({str(math_verify.WORKER)!r}, run_name='__main__'); "
        "sys.exit(sorted({'torch', 'pyarrow', 'scorers', 'schemas'} & set(sys.modules)) or None)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", loaded], check=False).returncode == 0


def test_a_worker_that_dies_is_counted_as_crashed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker.py").write_text(
        "import json, os, sys\n"
        "print(json.dumps({'ready': True}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    if 'die' in line:\n"
        "        os._exit(1)\n"
        "    print(json.dumps({'verdict': 'equal', 'parsed': None}), flush=True)\n"
    )
    monkeypatch.setattr(math_verify, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(math_verify, "WORKERS", 1)
    assert [verdict.code for verdict in score("a", "die", "b")] == ["equal", "crashed", "equal"]


def test_a_worker_that_does_not_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker.py").write_text("raise SystemExit(1)\n")
    monkeypatch.setattr(math_verify, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(InputError, match=r"does not start; pip install -e"):
        score("12", "13", "14")


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e"):
        score("12")


def test_what_was_cut_off_is_never_shown_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(math_verify, "WORKER", Path("/nowhere"))
    assert score("12", finish_reason="length") == [Verdict(0.0, "truncated", "cut_off", None)]
