"""A data folder has one `up`, and what it started counts until it has ended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from artifacts.store.data_dir import DataDir
from flows.services.claim import claim, holders

pytestmark = pytest.mark.slow


def test_a_second_claim_is_told_who_has_the_first(data_dir: DataDir) -> None:
    with claim(data_dir) as first:
        assert first is not None
        with claim(data_dir) as second:
            assert second is None
        assert holders(data_dir) == [os.getpid()]
    with claim(data_dir) as again:
        assert again is not None


def test_a_server_that_outlives_its_up_holds_the_claim(data_dir: DataDir) -> None:
    with claim(data_dir) as first:
        assert first is not None
        words = [sys.executable, "-c", "input()"]
        server = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[first])
    with claim(data_dir) as second:
        assert second is None
        assert holders(data_dir) == [server.pid]
    server.communicate(b"\n")
    with claim(data_dir) as third:
        assert third is not None
