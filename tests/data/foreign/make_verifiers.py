"""Make results of verifiers' own: `python make_verifiers.py FOLDER`, with verifiers 0.1.14.

The environment samples from a server on this machine that speaks the chat completions protocol.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import verifiers as vf
from datasets import Dataset
from verifiers.types import ClientConfig

HERE = Path(__file__).resolve().parent
ROWS = [json.loads(line) for line in (HERE / "problems.jsonl").read_text().splitlines()]
ASKED = Counter[str]()


class Server(BaseHTTPRequestHandler):
    """Answers in turn: right, wrong, in a sentence, cut off."""

    def do_POST(self) -> None:
        """One chat completion."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = asked["messages"][-1]["content"]
        number, row = next((n, r) for n, r in enumerate(ROWS) if r["prompt"] == question)
        place = number + ASKED[question]
        ASKED[question] += 1
        right = row["expected_answer"]
        said = [f"Final: {right}", f"Final: {right + 1}", f"It is {right}", "Final: "][place % 4]
        choice = {
            "index": 0, "message": {"role": "assistant", "content": said},
            "finish_reason": "length" if place % 4 == 3 else "stop",
        }  # fmt: skip
        body = {
            "id": f"c{place}", "object": "chat.completion", "created": 0, "model": asked["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9},
        }  # fmt: skip
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def last_number(completion: list[Any], answer: str) -> float:
    """1 where the last number of the answer is the right one."""
    content = completion[-1]["content"]
    numbers = re.findall(r"-?[0-9]+", content or "")
    return float(bool(numbers) and numbers[-1] == answer)


def main(folder: Path) -> None:
    """Twelve problems with two rollouts each."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    rows = [{"question": r["prompt"], "answer": str(r["expected_answer"])} for r in ROWS]
    env = vf.SingleTurnEnv(dataset=Dataset.from_list(rows), rubric=vf.Rubric(funcs=[last_number]))
    env.env_id = "sums"
    address = f"http://127.0.0.1:{server.server_port}/v1"
    env.evaluate_sync(
        client=ClientConfig(api_base_url=address), model="on-this-machine", num_examples=12,
        rollouts_per_example=2, results_path=folder, save_results=True, max_concurrent=1,
    )  # fmt: skip
    server.shutdown()
    (HERE / "verifiers").mkdir(exist_ok=True)
    for name in ("results.jsonl", "metadata.json"):
        shutil.copy(folder / name, HERE / "verifiers")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
