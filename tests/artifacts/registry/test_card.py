"""A version's card says where the model comes from, and hands that on to the versions after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from artifacts.registry.card import UNKNOWN, model_card, origin, readme
from policy.model.embedded import FOLDER
from schemas.config import LearningConfig
from schemas.instrument import Instrument
from schemas.measurements import ConstantAnswer, Estimate, Learned, Measurement, Summary
from schemas.references import PolicyRef, TableRef


@pytest.mark.parametrize(
    ("card", "known"),
    [
        (None, ("owner/model", "unknown")),
        ("# no front matter\nlicense: mit\n", ("owner/model", "unknown")),
        ("---\nlicense: mit\nbase_model: its/own\n---\n# x\n", ("owner/model", "mit")),
        ('---\nlicense: "mit"\n---\n', ("owner/model", "mit")),
        ("---\nlicense: 'mit | <b>'\n---\n", ("owner/model", "mit | <b>")),
        ("---\nlicense:\n  - mit\n  - apache-2.0\n---\n", ("owner/model", "mit, apache-2.0")),
        ("---\r\nlicense: mit\r\n---\r\n", ("owner/model", "mit")),
        # nothing that a stranger wrote stops learning from the model
        ("---\nlicense: [mit\n---\n", ("owner/model", "unknown")),
        ("---\nlicense: no\n---\n", ("owner/model", "unknown")),
        ("---\n- license\n---\n", ("owner/model", "unknown")),
        ("---\n1: 2\nlicense: mit\n---\n", ("owner/model", "unknown")),
        ("---\ntags: 3\nlicense: mit\n---\n", ("owner/model", "unknown")),
        ("---\nlicense: mit\nmodel-index: broken\n---\n", ("owner/model", "mit")),
        ("---\nlicense: mit\n", ("owner/model", "unknown")),
        ("", ("owner/model", "unknown")),
    ],
)
def test_the_base_is_the_model_and_the_licence_that_of_its_card(
    tmp_path: Path, card: str | None, known: tuple[str, str]
) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert origin("owner/model", tmp_path) == known


def test_a_card_that_is_no_text_is_no_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00---")
    assert origin("owner/model", tmp_path) == ("owner/model", "unknown")


def test_the_embedded_default_is_known_without_a_card(tmp_path: Path) -> None:
    base, licence = origin("default", tmp_path / FOLDER)
    assert (base, licence) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")


def test_a_version_trained_further_keeps_base_and_licence(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    ours = tmp_path / "version"
    ours.mkdir()
    known = origin("owner/model", tmp_path)
    (ours / "README.md").write_text(readme("the card", *known, "threeloops"))
    assert origin("models:/threeloops/1", ours) == known == ("owner/model", "mit")


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, problems=9, completions=36)


def measured(value: float) -> Measurement:
    """Nine problems with four samples, of which one family."""
    table = TableRef(kind="scores", digest="d" * 64, rows=36)
    return Measurement(
        policy=None,
        problems=table,
        completions=table,
        scores=table,
        instrument=Instrument(
            dataset="a" * 64, split="holdout", prompt_template="t", scorer="s", sampling="{}"
        ),
        summary=Summary(
            samples=4,
            pass_rate=estimate(value),
            pass_at_k={1: estimate(value), 4: estimate(value + 0.2)},
            valid_format_rate=estimate(0.8),
            mean_reward=estimate(value),
            outcomes={},
            codes={},
            families={"<u>|sums": estimate(value)},
            control={},
            best_constant=ConstantAnswer(answer="3", rate=1 / 3, correct=1, problems=3),
        ),
    )


LEARNED = Learned(
    start=PolicyRef(name="owner/model", digest="d" * 64),
    trained=PolicyRef(name="learn-1", digest="e" * 64),
    before=measured(0.2),
    after=measured(0.5),
    kl_nats=Estimate(value=-0.001, low=-0.2, high=0.3, problems=9, completions=36),
    training=TableRef(kind="training", digest="f" * 64, rows=100),
    dev=(),
    wall_seconds=1.0,
    seconds_per_step=0.01,
)


@pytest.fixture
def card() -> str:
    """The card of a version that was made of a model with a licence."""
    config = LearningConfig(dataset="{{ 1 + 1 }}")
    return model_card(config, LEARNED, "owner/model", "mit | <b>", run_name="learn-1")


def test_the_card_has_every_rate_before_and_after(card: str) -> None:
    lines = card.splitlines()
    assert lines[0].startswith("**pass@1 20 % before, 50 % after learning**, on 9 problems of ")
    assert "(4 completions each, 95 % intervals in brackets):" in lines[0]
    for row in (
        "| pass@1 | 20 % (10 % to 30 %) | 50 % (40 % to 60 %) |",
        "| pass@4 | 40 % (30 % to 50 %) | 70 % (60 % to 80 %) |",
        "| valid format | 80 % (70 % to 90 %) | 80 % (70 % to 90 %) |",
        "| `<u>\\|sums` | 20 % (10 % to 30 %) | 50 % (40 % to 60 %) |",
    ):
        assert row in lines


def test_the_card_says_where_the_model_comes_from_and_how_it_learned(card: str) -> None:
    for row in (
        "| base | `owner/model` |",
        f"| started from | `owner/model`, digest `{'d' * 12}` |",
        "| KL to the start | 0.00 nats a completion (-0.20 to 0.30) |",
        "| made by run | `learn-1` |",
    ):
        assert row in card.splitlines()
    assert "100 steps of 16 problems × 8 completions, baseline leave_one_out, β 0.01" in card
    assert "**Instrument** `" in card


def test_texts_of_others_stay_text_in_the_card(card: str) -> None:
    assert "| licence | `mit \\| <b>` |" in card
    assert "| data | `{{ 1 + 1 }}` train" in card


def test_the_readme_opens_with_what_hubs_read(card: str) -> None:
    whole = readme(card, "owner/model", "mit | <b>", "threeloops")
    assert whole.endswith(f"---\n# threeloops\n\n{card}\n")
    kept = vars(ModelCard(whole).data)
    assert (kept["license"], kept["base_model"]) == ("mit | <b>", "owner/model")
    assert kept["tags"] == ["threeloops"]


def test_an_unknown_licence_is_said_to_be_the_base_s() -> None:
    made = model_card(LearningConfig(), LEARNED, "owner/model", UNKNOWN, run_name="learn-1")
    assert "| licence | unknown: that of the base |" in made
