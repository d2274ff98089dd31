"""The table that a demo ends with fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable

from flows.cli.render.demo import print_loops
from schemas.result_parts import DemoRow


def row(loop: str, what: str, changed: str, **given: object) -> DemoRow:
    common: dict[str, object] = {
        "pass_at_1": 1.0,
        "pass_at_1_interval": (0.99, 1.0),
        "pass_at_4": None,
        "pass_at_4_interval": None,
        "valid_format_rate": None,
        "kl_nats": None,
    }
    return DemoRow.model_validate(common | {"loop": loop, "what": what, "changed": changed} | given)


def test_the_loops_stand_side_by_side(shown: Callable[..., str]) -> None:
    at_4 = {"pass_at_4": 1.0, "pass_at_4_interval": (0.99, 1.0), "kl_nats": 12.345}
    rows = [
        row("A", "the start, measured", "nothing", problems=240, **at_4),
        row("B", "best of 8 by likelihood", "the output"),
        row("C", "after 1000 steps", "the model", problems=240, **at_4),
    ]
    lines = shown(print_loops, rows).splitlines()
    assert " ".join(lines[0].split()) == "loop what changed pass@1, % pass@4, % KL, nats"
    assert " ".join(lines[1].split()) == (
        "A the start, measured nothing 100 [99, 100] 100 [99, 100] 12.35"
    )
    assert " ".join(lines[2].split()) == "B best of 8 by likelihood the output 100 [99, 100]"
    assert lines[4] == "n = 240 problems, 95 % intervals in brackets"
    assert lines[5] == "* knows the expected answer: what a perfect scorer could pick"
