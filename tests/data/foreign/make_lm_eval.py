"""Make samples of lm-eval's own: `python make_lm_eval.py FOLDER`, with lm-eval and threeloops."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from policy.model.tiny import make_tiny_model

HERE = Path(__file__).resolve().parent
TASK = f"""task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {HERE / "problems.jsonl"}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{expected_answer}}}}"
repeats: 3
generation_kwargs: {{until: ["\\n"], do_sample: true, temperature: 1.0, max_gen_toks: 12}}
filter_list:
  - name: strict-match
    filter: [{{function: regex, regex_pattern: "^Final: (-?[0-9]+)$"}}, {{function: take_first}}]
  - name: flexible-extract
    filter: [{{function: regex, regex_pattern: "(-?[0-9]+)"}}, {{function: take_first}}]
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


def main(folder: Path) -> None:
    """Sample the tiny model three times a problem and keep the samples of the task."""
    folder.mkdir(parents=True)
    (folder / "sums.yaml").write_text(TASK)
    model = make_tiny_model(folder / "tiny")
    command = ["lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model}"]
    command += ["--tasks", "sums", "--include_path", str(folder), "--apply_chat_template"]
    command += ["--log_samples", "--output_path", str(folder / "out"), "--device", "cpu"]
    command += ["--seed", "4"]
    bin_folder = Path(sys.executable).parent
    subprocess.run([str(bin_folder / command[0]), *command[1:]], check=True)
    (samples,) = (folder / "out").rglob("samples_sums_*.jsonl")
    (results,) = (folder / "out").rglob("results_*.json")
    kept = HERE / "lm-eval"
    kept.mkdir(exist_ok=True)
    shutil.copy(samples, kept)
    told = json.loads(results.read_text())
    told.pop("pretty_env_info")  # pages about the machine
    (kept / results.name).write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
