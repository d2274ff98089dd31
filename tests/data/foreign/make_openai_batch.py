"""Make the output of an OpenAI batch: `python make_openai_batch.py`, with openai alone.

No server was asked. Each line has the published form of a batch's output, and its body is
checked by the package's own type of a chat completion.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openai.types.chat import ChatCompletion

HERE = Path(__file__).resolve().parent


def body(row: dict[str, Any], number: int) -> dict[str, Any]:
    """Two choices: one right or wrong, one in a sentence or cut off; made-up log-probabilities."""
    right = row["expected_answer"]
    said = [
        (f"Final: {right + number % 3 % 2}", "stop"),
        (f"It is {right}", "stop") if number % 2 else (f"Final: {right}", "length"),
    ]
    choices = [
        {
            "index": index, "finish_reason": reason,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": {
                "content": [
                    {
                        "token": word, "logprob": -0.125 * (place + number),
                        "bytes": list(word.encode()), "top_logprobs": [],
                    }
                    for place, word in enumerate(text.split(), 1)
                ],
                "refusal": None,
            },
        }
        for index, (text, reason) in enumerate(said)
    ]  # fmt: skip
    made = {
        "id": f"chatcmpl-{number:02d}", "object": "chat.completion", "created": 1764374400,
        "model": "gpt-4o-mini-2024-07-18", "choices": choices, "system_fingerprint": "fp_0",
        "usage": {"prompt_tokens": 13, "completion_tokens": 8, "total_tokens": 21},
    }  # fmt: skip
    ChatCompletion.model_validate(made, strict=True)
    return made


def main() -> None:
    """One line a problem, in another order, as a batch may be answered."""
    rows = [json.loads(line) for line in (HERE / "problems.jsonl").read_text().splitlines()]
    lines = [
        {
            "id": f"batch_req_{number:02d}", "custom_id": row["id"],
            "response": {
                "status_code": 200, "request_id": f"req_{number:02d}", "body": body(row, number),
            },
            "error": None,
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in reversed(lines))
    (HERE / "openai-batch.jsonl").write_text(text)


if __name__ == "__main__":
    main()
