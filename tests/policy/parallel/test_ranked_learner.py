"""Two processes learn what one does that makes the same passes; split weights learn it too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from policy.learning.learner import Learner
from policy.model.load import load_policy
from policy.sampling.sample import sample
from tests.policy.parallel.worker import (
    PROMPTS,
    REFUSED,
    SAMPLES,
    SAMPLING,
    STEPS,
    learn,
    learn_and_be_refused,
    sampled,
    settings,
    two,
)
from tests.policy.weights import digest_of_weights
from tests.ranks import alone as processes_alone
from tests.ranks import as_srun, as_torchrun, run_ranks, started

WORKER = "tests.policy.parallel.worker"
# AdamW moves a weight by about this much however small its gradient is, so where a gradient is
# hardly more than rounding, weights differ by a part of it; it is five times the default
RATE = 1e-4
Together = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """As the processes have: sums over several threads have other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def together(tmp_path: Path, tiny_folder: Callable[[str], Path]) -> Together:
    """What rank 0 of several processes tells of their learning."""

    def run(ranks: int = 2, scene: str = "learn", **given: Any) -> dict[str, Any]:
        folder = tmp_path / "work"
        folder.mkdir()
        given = {"model": str(tiny_folder("llama")), "prompts": PROMPTS[:2], **given}
        (folder / "given.json").write_text(json.dumps(given))
        ended = run_ranks(["-m", WORKER, scene, str(folder)], as_torchrun(ranks), folder)
        assert [one.code for one in ended] == [0] * ranks, [one.err for one in ended]
        told: dict[str, Any] = json.loads((folder / "told-0.json").read_text())
        return told

    return run


def alone(
    folder: Path, prompts: list[list[int]], device: str = "cpu", **changed: Any
) -> tuple[Learner, dict[str, Any]]:
    policy, reference = two(folder, device)
    learner = Learner(policy, reference.model, settings(**changed), STEPS)
    metrics: list[Any] = []
    for step in range(STEPS):
        told = learn(learner, prompts, range(step, step + 1))
        metrics += told["metrics"]
    return learner, {"metrics": metrics, "tokens": told["tokens"]}


@pytest.mark.parametrize("baseline", ["leave_one_out", "running_mean"])
def test_two_processes_make_the_bytes_of_one_that_makes_the_same_two_passes(
    together: Together, tiny_folder: Callable[[str], Path], baseline: str
) -> None:
    learner, told = alone(tiny_folder("llama"), PROMPTS[:2], baseline=baseline)
    both = together(settings={"baseline": baseline})
    assert both["digest"] == digest_of_weights(learner.policy.model)
    assert both["digests"] == [both["digest"]] * 2
    assert both["metrics"] == told["metrics"]
    assert [metrics[3] for metrics in both["metrics"]] == [2] * STEPS, "two passes a step"
    assert any(metrics[4] for metrics in both["metrics"]), "some gradient was clipped"
    start = digest_of_weights(load_policy(tiny_folder("llama"), name="", device="cpu").model)
    assert both["digest"] != start


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two CUDA devices")
def test_two_gpus_add_up_by_nccl_what_one_makes_in_two_passes(
    together: Together, tiny_folder: Callable[[str], Path]
) -> None:
    _, told = alone(tiny_folder("llama"), PROMPTS[:2], device="cuda")
    both = together(device="cuda")
    first, second = both["digests"]
    assert first == second, "each has the sum to the bit"
    # later steps sample from weights of other last bits, and so other tokens
    begun = [next(one for one in run["metrics"] if one[2] > 1e-2) for run in (both, told)]
    assert begun[0] == pytest.approx(begun[1], rel=1e-2, abs=1e-3)


def test_a_step_that_is_refused_changes_no_process_and_the_next_is_that_of_one_process(
    together: Together, tiny_folder: Callable[[str], Path]
) -> None:
    changed, prompts = {"baseline": "running_mean"}, PROMPTS[:2]
    policy, reference = two(tiny_folder("llama"))
    learner = Learner(policy, reference.model, settings(**changed), STEPS)
    told = learn_and_be_refused(learner, prompts, lambda: [digest_of_weights(policy.model)])
    both = together(scene="refused", settings=changed)
    assert both["said"] == told["said"]
    gap, kl, overflow = both["said"]
    assert "differ by 0.01 nats a token" in gap
    assert "above --max-kl" in kl
    assert "are not finite" in overflow
    assert both["metrics"] == told["metrics"]
    assert both["digests"] == [2 * one for one in told["digests"]], "each rank, each time"
    assert both["digests"][1::2][:3] == both["digests"][2::2]
    assert len({first for first, _ in both["digests"]}) == 1 + len(REFUSED) + 1


def test_going_on_from_a_checkpoint_changes_no_byte(
    together: Together, tiny_folder: Callable[[str], Path]
) -> None:
    learner, _ = alone(tiny_folder("llama"), PROMPTS[:2])
    assert together(resume=True)["digest"] == digest_of_weights(learner.policy.model)


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_with_unequal_shares_learn_the_same_up_to_rounding(
    together: Together, tiny_folder: Callable[[str], Path], tmp_path: Path, ranks: int
) -> None:
    one_pass: dict[str, Any] = {"max_tokens_per_pass": 2048, "learning_rate": RATE}
    prompts = PROMPTS[: ranks + 1]
    learner, told = alone(tiny_folder("llama"), prompts, **one_pass)
    several = together(ranks, prompts=prompts, settings=one_pass)
    assert several["tokens"] == told["tokens"]
    assert nearly_equal(learner, tmp_path / "work" / "model")
    theirs = learner.sum_logprobs(prompts, told["tokens"])
    assert several["sums"] == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("kl_weight", [0.0, 0.1])
def test_split_weights_learn_the_same_up_to_rounding_whatever_passes_each_process_needs(
    together: Together, tiny_folder: Callable[[str], Path], tmp_path: Path, kl_weight: float
) -> None:
    changed: dict[str, Any] = {"kl_weight": kl_weight, "learning_rate": RATE}
    learner, told = alone(tiny_folder("llama"), PROMPTS[:3], **changed)
    both = together(prompts=PROMPTS[:3], settings=changed, shard=True, resume=True)
    assert both["tokens"] == told["tokens"]
    assert nearly_equal(learner, tmp_path / "work" / "model")


def nearly_equal(learner: Learner, folder: Path) -> bool:
    """Whether every exported weight is within 1e-6 of the learner's."""
    found = load_file(folder / "model.safetensors")
    mine = dict(learner.policy.model.named_parameters())
    assert found.keys() == mine.keys()
    return all(bool((found[name] - mine[name]).abs().max() <= 1e-6) for name in found)


def test_a_part_of_the_prompts_gets_the_tokens_that_it_has_among_all(
    tiny_folder: Callable[[str], Path],
) -> None:
    policy = load_policy(tiny_folder("llama"), name="tiny", device="cpu")
    whole = sampled(policy, PROMPTS, step=3)
    rows = len(PROMPTS) * SAMPLES
    parts = [
        sample(
            policy,
            PROMPTS[first:last],
            samples=SAMPLES,
            settings=SAMPLING,
            seed=3,
            within=(first * SAMPLES, rows),
        )
        for first, last in ((0, 1), (1, 4))
    ]
    assert [ids for part in parts for ids in part.token_ids] == whole.token_ids
    for mine, theirs in zip(
        (row for part in parts for row in part.logprobs), whole.logprobs, strict=True
    ):
        assert mine == pytest.approx(theirs, abs=1e-5)


def scene(name: str, folder: Path, given: dict[str, Any], srun: bool = False) -> list[Any]:
    folder.mkdir(exist_ok=True)
    (folder / "given.json").write_text(json.dumps(given))
    places = as_srun(2) if srun else as_torchrun(2)
    return run_ranks(["-m", WORKER, name, str(folder)], places, folder)


def test_what_one_process_cannot_do_is_raised_by_the_first_and_they_can_go_on(
    tmp_path: Path,
) -> None:
    ended = scene("failure", tmp_path, {}, srun=True)
    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    told = json.loads((tmp_path / "told-0.json").read_text())
    assert told["answers"] == ["0", "1"]
    assert re.fullmatch(
        r"rank 1 \(process \d+ on .+\): here: cannot be done; do that", told["caught"]
    )


def test_processes_that_were_given_different_options_do_not_begin(tmp_path: Path) -> None:
    ended = scene("failure", tmp_path, {"samples": {"1": 8}})
    assert [one.code for one in ended] == [2, 0]
    (line,) = ended[0].err.splitlines()
    assert "has another --samples (8) than rank 0 (4)" in line
    assert line.startswith("rank 1 on ")
    assert not (tmp_path / "told-0.json").exists()
    assert ended[1].err == ""


@pytest.mark.engines  # it takes as long as a process may be silent
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("how", ["SIGKILL", pytest.param("SIGSTOP", marks=pytest.mark.engines)])
@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_is_gone_or_hangs_ends_the_other_within_a_minute(
    tmp_path: Path, who: int, how: str, busy: bool
) -> None:
    (tmp_path / "given.json").write_text(json.dumps({"who": who, "how": how, "busy": busy}))
    words = ["-m", WORKER, "gone", str(tmp_path)]
    with started(words, as_torchrun(2), tmp_path) as ranks:
        other = ranks[1 - who].wait(120)
    told = json.loads((tmp_path / f"told-{1 - who}.json").read_text())
    assert told["seconds"] < 60
    assert told["error"].startswith(f"rank {who} (process {ranks[who].process.pid} on ")
    assert other.code == 1


def test_a_learner_that_is_alone_imports_nothing_of_several_processes(
    tiny_folder: Callable[[str], Path],
) -> None:
    code = (
        "import sys; from pathlib import Path; from policy.learning.learner import Learner; "
        "from policy.model.load import load_policy; from schemas.config import LearningSettings; "
        f"folder = Path({str(tiny_folder('llama'))!r}); "
        "load = lambda: load_policy(folder, name='tiny', device='cpu'); "
        "Learner(load(), load().model, LearningSettings(), 1).step([[5, 6]], [[3], [4]], None, "
        "[[1.0, 0.0]]); "
        "import torch.distributed as dist; assert not dist.is_initialized(); "
        "print([name for name in sys.modules if name.startswith('policy.parallel')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=processes_alone(), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "[]"
