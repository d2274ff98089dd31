"""`python -m bench.table_bytes`: bytes of a shard's table and its requests, CPU time to read it.

Tokens, log-probabilities and letters are drawn evenly, so nothing of them can be compressed: real
answers take less. The table is written and read as by the store. Seconds are those of the
process on all its cores, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import string
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store
from bench.process import Record
from engines.openai_server.prompts import Prompt
from engines.openai_server.request import Wanted, body_of
from schemas.config import SamplingSettings
from schemas.finish_reasons import STOP
from schemas.server import ServerSettings

VOCABULARY = 128_256
LETTERS = 4  # a token, in English about as many
PARTS = 4  # that a table to be written is put together from, as from shards
PROBLEMS, SAMPLES, PROMPT = 64, 64, 200  # a shard as it is by default; tokens of a prompt
TOKENS = (16, 128, 512)


def shard(problems: int, samples: int, tokens: int, seed: int = 0) -> pa.Table:
    """Completions of so many tokens each."""
    chance = np.random.default_rng(seed)
    rows = problems * samples
    ids = [f"problem-{index:07d}" for index in range(problems)]
    letters = np.frombuffer(string.ascii_letters.encode(), dtype="S1")
    texts = [b"".join(row).decode() for row in chance.choice(letters, (rows, LETTERS * tokens))]
    offsets = pa.array(np.arange(0, (rows + 1) * tokens, tokens), pa.int32())
    logprobs = -chance.random(rows * tokens).astype(np.float32)
    drawn = chance.integers(0, VOCABULARY, rows * tokens)
    return pa.table(
        {
            "problem_id": pa.array(np.repeat(ids, samples), pa.string()),
            "sample_index": pa.array(np.tile(np.arange(samples), problems), pa.int32()),
            "text": pa.array(texts, pa.string()),
            "finish_reason": pa.array([STOP] * rows, pa.string()),
            "token_count": pa.array([tokens] * rows, pa.int32()),
            "sum_logprob": pa.array(
                logprobs.reshape(rows, tokens).sum(axis=1, dtype=np.float64), pa.float64()
            ),
            "shard_seed": pa.array([seed] * rows, pa.int64()),
            "token_ids": pa.ListArray.from_arrays(offsets, pa.array(drawn, pa.int32())),
            "logprobs": pa.ListArray.from_arrays(offsets, pa.array(logprobs, pa.float32())),
        }
    )


def measure(problems: int, samples: int, tokens: int) -> Record:
    """Bytes a completion in the store's file and in memory, CPU seconds to write and read all."""
    table, rows = shard(problems, samples, tokens), problems * samples
    with TemporaryDirectory(prefix="bench") as folder:
        store = Store(DataDir(Path(folder)))
        pool, usual = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
        pa.set_memory_pool(pool)
        try:
            started = time.process_time()
            kept = store.write("completions", in_parts(table), producer="bench")
            written = time.process_time() - started
        finally:
            pa.set_memory_pool(usual)
        size = store.path(kept).stat().st_size
        started = time.process_time()
        Store(DataDir(Path(folder))).read(kept)
        read = time.process_time() - started
    return {
        "tokens": tokens,
        "file_bytes": size / rows,
        "memory_bytes": table.nbytes / rows,
        "writing_bytes": pool.max_memory() / rows,
        "write_seconds": written,
        "read_seconds": read,
        "request_bytes": request_bytes(samples, tokens),
        "answer_bytes": answer_bytes(table.slice(0, samples)),
    }


def in_parts(table: pa.Table) -> pa.Table:
    """The same rows in parts that do not lie together, as shards of a table do."""
    each = -(-table.num_rows // PARTS)
    return pa.concat_tables(table.slice(first, each) for first in range(0, table.num_rows, each))


def request_bytes(samples: int, tokens: int) -> int:
    """The body of the request for one problem, as our client sends it."""
    prompt = list(range(VOCABULARY - PROMPT, VOCABULARY))
    wanted = Wanted(Prompt(prompt, prompt), 0, samples, 2**52 - 1)
    sampling = SamplingSettings(max_new_tokens=tokens)
    return len(json.dumps(body_of("model", wanted, sampling, ServerSettings())))


def answer_bytes(samples: pa.Table) -> int:
    """An answer with what we read of it: text, token ids, log-probabilities, tokens as text."""
    choices = []
    for place, row in enumerate(samples.to_pylist()):
        text = row["text"]
        pieces = [text[first : first + LETTERS] for first in range(0, len(text), LETTERS)]
        told = {"token_logprobs": row["logprobs"], "tokens": pieces}
        choices.append(
            {
                "index": place,
                "text": text,
                "finish_reason": STOP,
                "token_ids": row["token_ids"],
                "logprobs": told,
            }
        )
    return len(json.dumps({"model": "model", "choices": choices}))


def lines(records: list[Record], problems: int, samples: int) -> Iterator[str]:
    """A table of all, and of how much a million problems are."""
    yield f"A shard of {problems} problems x {samples} samples:\n"
    yield (
        "| tokens | file, a completion | memory, a completion | more to write it | CPU to write | "
        "CPU to read | a request | its answer |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for one in records:
        yield (
            f"| {one['tokens']} | {one['file_bytes']:,.0f} B | {one['memory_bytes']:,.0f} B | "
            f"{one['writing_bytes']:,.0f} B | {one['write_seconds']:.2f} s | "
            f"{one['read_seconds']:.2f} s | "
            f"{one['request_bytes']:,} B | {one['answer_bytes']:,} B |"
        )


def main() -> None:
    """Measure shards of three lengths, and print a table."""
    parser = argparse.ArgumentParser(prog="bench.table_bytes", description=__doc__)
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--tokens", type=int, nargs="+", default=list(TOKENS))
    given = parser.parse_args()
    records = [measure(given.problems, given.samples, tokens) for tokens in given.tokens]
    print("\n".join(lines(records, given.problems, given.samples)))


if __name__ == "__main__":
    main()
