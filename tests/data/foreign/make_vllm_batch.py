"""Make vLLM's answer to an OpenAI batch: `python make_vllm_batch.py MODEL`, where vLLM is.

The file of requests is as OpenAI's batches take it; `vllm run-batch` answers it with two samples
of each problem and the log-probabilities of their tokens.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Ask for each problem by its id, with a worked example before it."""
    rows = [json.loads(line) for line in (HERE / "problems.jsonl").read_text().splitlines()]
    example = [
        {"role": "user", "content": "What is 8 + 35?\nOutput exactly one line: Final: <int>"},
        {"role": "assistant", "content": "Final: 43"},
    ]
    asked = [
        {
            "custom_id": row["id"], "method": "POST", "url": "/v1/chat/completions",
            "body": {
                "model": "smol", "n": 2, "seed": number, "max_tokens": 8, "logprobs": True,
                "messages": [
                    *example,
                    {
                        "role": "user",
                        "content": f"{row['prompt']}\nOutput exactly one line: Final: <int>",
                    },
                ],
            },
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    with TemporaryDirectory() as scratch:
        requests = Path(scratch) / "requests.jsonl"
        requests.write_text("".join(json.dumps(one) + "\n" for one in asked))
        words = ["-m", "vllm.entrypoints.openai.run_batch", "-i", str(requests)]
        words += ["-o", str(HERE / "vllm-batch.jsonl"), "--model", sys.argv[1]]
        words += ["--served-model-name", "smol", "--dtype", "float32", "--enforce-eager"]
        words += ["--max-model-len", "2048", "--generation-config", "vllm"]
        subprocess.run([sys.executable, *words], check=True, cwd=scratch)


if __name__ == "__main__":
    main()
