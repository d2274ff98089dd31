"""Digests and seeds that depend on a value and on nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.identity import canonical_json, derive_seed, digest_of, file_digest


def test_equal_values_have_equal_text_whatever_the_order_of_their_keys() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5]}'
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


def test_a_digest_is_the_sha_256_of_that_text() -> None:
    assert digest_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_have_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_of([value])


def test_a_file_s_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_seed_depends_on_every_part_and_fits_into_63_bits() -> None:
    seeds = {derive_seed("a", 1), derive_seed("a", 2), derive_seed("b", 1), derive_seed("a", 1, 0)}
    assert len(seeds) == 4
    assert all(0 <= derive_seed("x", number) < 2**63 for number in range(1000))


def test_a_seed_is_the_same_in_another_process() -> None:
    code = "from schemas.identity import derive_seed; print(derive_seed('deck', 7))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert int(found.stdout) == derive_seed("deck", 7)
