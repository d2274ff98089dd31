"""Every command that the documentation shows does what is said there, on a tiny model.

Numbers that only say how long or how much are made small; names of runs become those of runs made
here. What an option means is tested elsewhere.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.cli.parser import build_parser, main
from tasks.runtime.runtime import Runtime, process_runtime
from tests.data_folder import all_runs, find_run, stored
from tests.hub_server import hub_server
from tests.model_servers.adapters import AdapterModels
from tests.model_servers.server import serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
CLUSTER = re.compile("--task-runner (dask|ray)")  # tests/services_real/ has those
NOT_YET = re.compile("bare_int|polite_chat")  # what CONTRIBUTING.md shows how to add
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`((?:threeloops)\s[^`]+)`(?!`)")
SMALL = {"--steps": "2", "--samples": "4", "--limit": "4", "--problems-per-step": "4"}
SMALL |= {"--evaluation-samples": "2", "--dev-every": "0"}
MEASURING = {"eval": ["--limit"], "select": ["--limit", "--samples"], "demo": ["--steps"]}
MEASURING["learn"] = list(SMALL)
SERVED = "TEST_MODEL_SERVER"  # where the server of this module answers
ELSEWHERE = {"up", "demo"}  # they need servers, and have tests of their own


def documented_commands() -> dict[str, str]:
    """Each command shown, without its comment, and the first page that shows it.

    In running text a verb alone, or an option without its value, is a mention and no command.
    """
    found: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
        spans = [" ".join(span.split()) for span in SPAN.findall(FENCED.sub("", text))]
        lines += [span for span in spans if is_whole(span)]
        for line in lines:
            command = re.split(r"\s{2,}#", line.removeprefix("$ "))[0].strip()
            if not command.startswith("threeloops ") or "…" in command:
                continue
            if not NOT_YET.search(command):
                found.setdefault(command, page.name)
    return found


def is_whole(command: str) -> bool:
    words = command.split()
    return len(words) > 2 and not words[-1].startswith("-")


COMMANDS = documented_commands()


def verb_of(command: str) -> str:
    return command.split()[1]


def is_here(command: str) -> bool:
    return verb_of(command) not in ELSEWHERE and not CLUSTER.search(command)


def test_the_documentation_shows_every_verb() -> None:
    (verbs_of_parser,) = (
        action.choices
        for action in build_parser()._actions
        if action.choices and "eval" in action.choices
    )
    assert {verb_of(command) for command in COMMANDS} == set(verbs_of_parser)


@pytest.fixture(scope="module")
def workplace(
    tmp_path_factory: pytest.TempPathFactory, tiny: str, small_sums: str
) -> Iterator[Path]:
    """A directory with the files that the pages name, and a data folder with two learning runs."""
    place = tmp_path_factory.mktemp("documented")
    rows = [json.loads(line) for line in Path(small_sums).read_text().splitlines()]
    write(place / "mine.jsonl", [row | {"family": "addition"} for row in rows])
    measured = [row for row in rows if row["split"] == "holdout"]
    answers = [{"id": row["id"], "completion": "Final: 4"} for row in measured]
    write(place / "answers.jsonl", answers)
    golden = [row | {"expected_reward": 0} for row in answers]
    write(place / "golden.jsonl", golden)
    foreign = ROOT / "tests/data/foreign"
    for name, kept in (
        ("asked.jsonl", "problems.jsonl"),
        ("theirs.eval", "inspect.eval"),
        ("partial.eval", "inspect-partial.eval"),
    ):
        shutil.copy(foreign / kept, place / name)
    tiny = wide(tiny, place / "wide")
    for name in ("my-model", "base-model"):
        (place / name).symlink_to(tiny)
    setup = (ROOT / "docs/your-setup.md").read_text()
    (words,) = re.findall(r"words\.jsonl\n(.*?)\$ cat words.yaml\n(.*?)\$", setup, re.DOTALL)
    (place / "words.jsonl.gz").write_bytes(gzip.compress(words[0].encode()))
    (place / "words.yaml").write_text(words[1])
    sums: list[dict[str, object]] = [
        {"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(60)
    ]
    write(place / "many.jsonl", sums)
    (of_the_hub,) = re.findall(r"cat gsm8k.yaml\n(.*?)\$ ", setup, re.DOTALL)
    (place / "gsm8k.yaml").write_text(of_the_hub)
    (own,) = re.findall(r"\$ cat brief.yaml\n(.*?)\$", setup, re.DOTALL)
    (place / "brief.yaml").write_text(own)
    (place / "nightly.yaml").write_text("samples: 2\n")
    (python,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    (place / "mymodule.py").write_text(python)
    model_server = AdapterModels(tiny).server("my-model")
    with (
        pytest.MonkeyPatch.context() as patch,
        hub_server() as hub,
        serving(model_server) as served,
    ):
        patch.setenv(SERVED, served.url)
        hub.add("openai/gsm8k", word_problems())
        patch.setenv("HF_ENDPOINT", hub.url)
        go_to(place, patch)
        patch.setattr("artifacts.registry.resolve.prepare_default", lambda *_, **__: Path(tiny))
        patch.setattr("flows.cli.verbs.loops.configure_prefect", lambda data_dir: None)
        patch.setattr("flows.cli.verbs.loops.run_flow", without_server)
        for command in ("eval", "select", "learn", "learn"):
            assert main(small(["threeloops", command, "--dataset", "mine.jsonl"])) == 0
        with patch.context() as cut:
            cut.setattr("flows.learning.save_policy", cut_off)
            assert main(small(["threeloops", "learn", "--checkpoint-every", "1"])) == 130
        yield place
    process_runtime().models.forget()


def word_problems() -> dict[str, str | bytes]:
    """Files in the layout of a dataset of the hub, in place of those that its page shows."""
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(20)]
    lines = [json.dumps(row) + "\n" for row in rows]
    paths = [f"  - {{split: {split}, path: main/{split}*}}" for split in ("train", "test")]
    card = "\n".join(["---", "configs:", "- config_name: main", "  data_files:", *paths, "---", ""])
    train, test = "".join(lines[:12]), "".join(lines[12:])
    return {"README.md": card, "main/train.jsonl": train, "main/test.jsonl": test}


def wide(tiny: str, folder: Path) -> str:
    """A copy of the tiny model whose context has room for worked examples with reasoning."""
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    write_object(folder / "config.json", config | {"max_position_embeddings": 4096})
    return str(folder)


def write_object(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def _in_the_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_to(workplace, monkeypatch)


def go_to(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(place)
    patch.syspath_prepend(str(place))
    patch.setenv("THREELOOPS_HOME", str(place / "home"))


def without_server(runtime: Runtime, flow: Any, config: Any, terminal: object, **more: Any) -> Any:
    """What the verb's flow does, in this process alone."""
    return flow.fn(config, **more)


def cut_off(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", [c for c in COMMANDS if is_here(c)])
def test_a_documented_command_does_what_it_says(
    command: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown_as_refused = verb_of(command) in ("compare", "promote", "rescore")
    code = main(small(shlex.split(here(command))))
    said = capsys.readouterr()
    assert code in ((0, 1) if shown_as_refused else (0,)), said.err
    assert said.out.strip() or ("--rollback" in command and "no champion" in said.err)


@pytest.mark.parametrize("page", ["reading.md", "replay.md"])
def test_documented_python_runs(
    page: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, text = stored(), (ROOT / "docs" / page).read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        run = find_run(runs_of_this_place()["learn" if '["training"]' in code else "eval"])
        paths = {name: store.path(store.lookup(*found)) for name, found in run.table_refs().items()}
        code = code.replace(".threeloops/", f"{workplace}/home/")
        exec(code, {"result": {"tables": paths}, "pq": pq})
        assert capsys.readouterr().out.strip()


def here(command: str) -> str:
    """The command with the names of this place's runs and files."""
    runs = runs_of_this_place()
    command = command.replace("http://127.0.0.1:8000/v1", os.environ[SERVED])
    command = re.sub(r"\b(eval|select|learn)-[0-9a-f]{6}\b", lambda m: runs[m[1]], command)
    if "--resume" in command:
        command = command.replace("RUN", runs_of_this_place("KILLED")["learn"])
    for name, value in {
        "RUN_A": f"{runs['learn']}:before",
        "RUN_B": f"{runs['learn']}:after",
        "RUN": runs["select" if verb_of(command) == "select" else "eval"],
        "CODE": "cut_off",
        "FILE": "golden.jsonl --dataset mine.jsonl",
        "N": "4",
    }.items():
        command = re.sub(rf"\b{name}\b", value, command)
    return command


def runs_of_this_place(status: str = "FINISHED") -> dict[str, str]:
    """The first run of each loop that ended so."""
    return {run.loop.verb: run.name for run in all_runs() if run.status == status}


def small(arguments: list[str]) -> list[str]:
    """The arguments without the program's name, with little to do."""
    _, verb, *options = arguments
    if "--completions" in options or "--resume" in options:
        return [verb, *options]
    for name in MEASURING.get(verb, []):
        if name in options:
            options[options.index(name) + 1] = SMALL[name]
        else:
            options += [name, SMALL[name]]
    if verb == "learn" and not {"--dataset", "--config"} & set(options):
        options += ["--dataset", "mine.jsonl"]  # the built-in problems have thousands to read
    return [verb, *options]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
