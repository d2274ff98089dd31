"""What Rust says of a full disk is told as Python would."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from policy.files.saving import saving
from policy.learning.checkpoint import write_state

LIMIT = 4096  # bytes; a limit of a process's own stands for the end of the disk


def weights(folder: Path) -> None:
    write_state(folder, {"w": torch.zeros(100_000)}, {}, {})


def tokenizer(folder: Path) -> None:
    with saving(folder):
        words = {str(number): number for number in range(10_000)}
        Tokenizer(WordLevel(words, "0")).save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("write", [weights, tokenizer])
def test_a_full_disk_is_an_os_error_with_the_folder(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
            try:
                write(tmp_path)
            except OSError as error:
                code = 0 if (error.errno, error.filename) == (errno.EFBIG, str(tmp_path)) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_other_errors_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="x"), saving(tmp_path):
        raise KeyError("x")
    with pytest.raises(FileNotFoundError) as caught, saving(tmp_path):
        (tmp_path / "none").read_bytes()
    assert caught.value.filename == str(tmp_path / "none")
