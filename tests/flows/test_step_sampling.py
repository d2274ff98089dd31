"""Loop C with a server as its sampler: each step's adapter is served, and what comes is checked."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.store.parquet_table import provenance_of
from engines.openai_server import asking
from flows.cli.parser import main
from flows.learning import learning_flow
from policy.learning.guard import ServedSamplesError
from policy.model.load import load_policy
from schemas.config import LearningConfig, LearningSettings
from schemas.errors import InputError
from schemas.results import LearningResult
from schemas.server import ServerSettings, StepSampling
from tasks.runtime.runtime import process_runtime
from tasks.train_step import train_step
from tests.data_folder import all_runs, find_run
from tests.model_servers.adapters import AdapterModels
from tests.model_servers.answers import texts
from tests.model_servers.server import ModelServer, serving
from tests.policy.weights import digest_of_weights

pytest.importorskip("openai", reason="needs the extra server")
pytestmark = [pytest.mark.slow, pytest.mark.untraced]

LORA = LearningSettings(adapter="lora", lora_rank=4, learning_rate=2e-2, kl_weight=0.1)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.01)


@pytest.fixture
def server(tiny: str) -> Iterator[ModelServer]:
    with serving(AdapterModels(tiny).server()) as running:
        yield running


@pytest.fixture
def config(learning_config: LearningConfig) -> LearningConfig:
    """Loop C in four small steps of an adapter, in this process."""
    return learning_config.model_copy(update={"learning": LORA, "dev_every": 0})


def by(server: ModelServer, config: LearningConfig, **given: Any) -> LearningConfig:
    changes = {
        "server": ServerSettings(base_url=server.url),
        "sampler": StepSampling.model_validate(given),
    }
    return config.model_copy(update=changes)


def training(result: LearningResult) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(result.tables["training"]).to_pylist()
    return rows


def test_each_step_is_sampled_from_the_policy_that_it_updates(
    server: ModelServer, config: LearningConfig
) -> None:
    config = config.model_copy(update={"problems_per_step": 12, "samples": 4})
    result = learning_flow.fn(by(server, config))
    rows = training(result)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    steps_asked = [body for body in server.asked if body["n"] == 4]
    assert len({str(body["prompt"]) for body in steps_asked}) == 24, "each is asked twice"
    assert len({body["seed"] for body in steps_asked}) == 48, "and drawn with other numbers"
    assert all(row["sampling_gap_nats"] < 1e-4 for row in rows)
    assert {row["off_policy_steps"] for row in rows} == {None}
    assert len(set(server.every_adapter)) == 3, "the first step is the start's own"
    assert not server.adapters, "and none is left there"
    asked = {body["model"] for body in server.asked}
    assert asked == {"tiny", *server.every_adapter}
    run = find_run(result.run_id)
    assert run.tags["sampled_by"].startswith("vllm 0.32.0")
    assert server.url not in str(run.tags)
    runtime = process_runtime()
    steps = runtime.archive.steps.tables(_newest(result))
    made = provenance_of(runtime.store.read(steps[2])).config
    assert '"name":"vllm"' in str(made["engine"])
    assert not list(runtime.data_dir.root.glob("adapters/*"))


@pytest.mark.usefixtures("prefect_server")
def test_under_prefect_a_server_samples_ahead_too(
    server: ModelServer, config: LearningConfig
) -> None:
    result = learning_flow(by(server, config, max_off_policy_steps=1))
    assert [row["off_policy_steps"] for row in training(result)] == [0, 1, 1, 1]


@pytest.mark.parametrize("age", [0, 1])
def test_an_interrupt_leaves_no_request_and_no_adapter(
    server: ModelServer, config: LearningConfig, age: int
) -> None:
    server.ready, server.hangs = 1 + 2 * 4, True  # the probe and two steps

    def interrupt() -> None:
        deadline = time.monotonic() + 100
        while not server.open and time.monotonic() < deadline:
            time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        learning_flow.fn(by(server, config, max_off_policy_steps=age))
    interrupting.join()
    deadline = time.monotonic() + 10
    while server.open and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.open == 0
    assert not server.adapters


def _newest(result: LearningResult) -> Any:
    from artifacts.runs.resuming import made_steps

    return max(made_steps(process_runtime().archive, result.run_id).items())[1]


def test_the_same_again_gives_the_same_tables(
    server: ModelServer, config: LearningConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = learning_flow.fn(by(server, config))
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    again = learning_flow.fn(by(server, config))
    assert training(again) == training(first)
    assert again.model.digest == first.model.digest


def test_a_server_that_goes_on_with_an_old_adapter_is_refused_and_the_last_good_policy_kept(
    tiny: str, config: LearningConfig
) -> None:
    with (
        serving(AdapterModels(tiny, stale=True).server()) as server,
        pytest.raises(ServedSamplesError, match="not sampled from the policy that it") as caught,
    ):
        learning_flow.fn(by(server, config))
    assert (caught.value.step, caught.value.last_good) == (3, 2)
    (run,) = (run for run in all_runs() if run.name.startswith("learn"))
    assert run.status == "FAILED"


@pytest.mark.parametrize("age", [1, 2])
def test_off_policy_steps_are_sampled_ahead_checked_and_weighted(
    server: ModelServer, config: LearningConfig, age: int
) -> None:
    result = learning_flow.fn(by(server, config, max_off_policy_steps=age))
    rows = training(result)
    assert [row["off_policy_steps"] for row in rows] == [min(s, age) for s in range(4)]
    assert all(row["sampling_gap_nats"] < 1e-4 for row in rows)
    assert all(0.0 <= row["truncated_share"] <= 1.0 for row in rows)
    assert len(server.every_adapter) == 3 - age, "no policy is served that samples nothing"
    assert not server.adapters


def test_a_stale_adapter_is_refused_off_policy_too(tiny: str, config: LearningConfig) -> None:
    with (
        serving(AdapterModels(tiny, stale=True).server()) as server,
        pytest.raises(ServedSamplesError, match="not sampled from the policy 1 steps? before"),
    ):
        learning_flow.fn(by(server, config, max_off_policy_steps=1))


@pytest.mark.parametrize("age", [0, 1])
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(
    server: ModelServer,
    config: LearningConfig,
    age: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = by(server, config, max_off_policy_steps=age)
    whole = learning_flow.fn(config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    steps: list[int] = []

    def cut_off(*arguments: object) -> object:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return train_step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("flows.learning_steps.train_step", cut_off)
    with pytest.raises(KeyboardInterrupt):
        learning_flow.fn(config)
    assert not server.adapters, "what was served is forgotten"
    (run,) = (run for run in all_runs() if run.name.startswith("learn"))
    process_runtime().models.forget()
    resumed = learning_flow.fn(config, resume=run.run_id)
    assert training(resumed) == training(whole)
    assert resumed.model.digest == whole.model.digest


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"learning": LearningSettings()}, "only an adapter can be given to a server"),
        ({"server": None, "sampler": StepSampling(max_off_policy_steps=1)}, "add --base-url"),
        ({"server": None, "sampler": StepSampling(served_model="a")}, "add --base-url"),
        ({"sampler": StepSampling(importance_cap=3.0)}, "add --max-off-policy-steps"),
        ({"sampler": StepSampling(served_model="other")}, "the server has no such model"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    server: ModelServer, config: LearningConfig, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        learning_flow.fn(by(server, config).model_copy(update=given))
    assert not all_runs()


def test_a_server_that_cannot_sample_steps_is_refused_before_anything_runs(
    tiny: str, config: LearningConfig
) -> None:
    poor = ModelServer(texts("Final: 3"))
    without = AdapterModels(tiny).server()
    without.load = None
    said = ["gives text alone", "loads no adapters while it runs"]
    for one, match in zip((poor, without), said, strict=True):
        with serving(one) as server, pytest.raises(InputError, match=match):
            learning_flow.fn(by(server, config))
    assert not all_runs()


def test_another_model_than_the_one_that_learns_is_refused(
    server: ModelServer, config: LearningConfig, tmp_path: Path
) -> None:
    from policy.model.tiny import make_tiny_model

    other = make_tiny_model(tmp_path / "other-model", seed=1)
    with pytest.raises(InputError, match="the server has another model than"):
        learning_flow.fn(by(server, config).model_copy(update={"model": str(other)}))


def test_an_adapter_that_the_server_does_not_load_ends_the_run_in_one_line(
    server: ModelServer, config: LearningConfig
) -> None:
    def refuse(name: str, path: str) -> None:
        raise ValueError("LoRA rank 4 is greater than max_lora_rank 2.")

    server.load = refuse
    with pytest.raises(InputError, match="greater than max_lora_rank 2") as caught:
        learning_flow.fn(by(server, config))
    assert "--max-lora-rank" in caught.value.remedy


@pytest.fixture
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command runs its flow in this process alone."""

    def run_flow(runtime: object, flow: Any, config: Any, terminal: object, **more: Any) -> Any:
        return flow.fn(config, **more)

    monkeypatch.setattr("flows.cli.verbs.loops.configure_prefect", lambda data_dir: None)
    monkeypatch.setattr("flows.cli.verbs.loops.run_flow", run_flow)


def command(config: LearningConfig, server: ModelServer, *more: str) -> list[str]:
    words = ["learn", "--model", config.model, "--dataset", config.dataset, "--limit", "4"]
    return [*words, "--device", "cpu", "--base-url", server.url, "--steps", "2", *more]


@pytest.mark.usefixtures("without_prefect")
def test_the_command_learns_by_a_server_that_has_other_names_and_folders(
    tiny: str, config: LearningConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served, read_from = AdapterModels(tiny), tmp_path / "read-by-the-server"
    paths: list[Path] = []

    def load(name: str, path: str) -> None:
        paths.append(Path(path))
        served.load(name, path)

    read_from.mkdir()
    small = ["--problems-per-step", "4", "--samples", "8", "--max-new-tokens", "6", "--json"]
    small += ["--evaluation-samples", "2", "--dev-every", "0", "--learning-rate", "2e-2"]
    with serving(served.server("its-name")) as server:
        server.load = load
        named = ["--served-model", "its-name", "--adapter-folder", str(read_from)]
        assert main(command(config, server, *named, *small, "--adapter", "lora")) == 0
    result = json.loads(capsys.readouterr().out)
    assert find_run(result["run_id"]).tags["sampled_by"].startswith("vllm 0.32.0")
    (adapter,) = server.every_adapter
    asked = [body["model"] for body in server.asked if body["n"] == 8]
    assert asked == ["its-name"] * 4 + [adapter] * 4, "each step's problems, and nothing else"
    assert [path.is_relative_to(read_from) for path in paths] == [True]
    assert not any(read_from.iterdir()), "and nothing is left there"
    assert result["metrics"]["kl_nats"] != 0.0
    assert weights_in(Path(result["model"]["folder"])) != weights_in(Path(tiny))


def weights_in(folder: Path) -> str:
    return digest_of_weights(load_policy(folder, name="", device="cpu").model)


def test_the_command_refuses_whole_weights_by_a_server_in_one_line(
    server: ModelServer, config: LearningConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(config, server)) == 2
    assert "only an adapter can be given to a server" in capsys.readouterr().err
