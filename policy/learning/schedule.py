"""The learning rate of each step."""

from __future__ import annotations

from schemas.errors import InputError


def scheduled_rate(base: float, schedule: str, step: int, total_steps: int) -> float:
    """The learning rate of step 0, 1, … `total_steps` − 1; `linear` falls from `base` towards 0.

    Raises InputError for `linear` after the last step, where the rate would be 0.
    """
    if schedule == "constant":
        return base
    if step >= total_steps:
        raise InputError(
            f"all {total_steps} steps of the linear learning-rate schedule are done",
            remedy="start with more steps, or use the constant schedule",
        )
    return base * (1.0 - step / total_steps)
