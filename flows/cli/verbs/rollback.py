"""`threeloops promote models:/NAME --rollback --reason TEXT`: back to the former champion."""

from __future__ import annotations

from argparse import Namespace

from flows.cli.terminal import Terminal
from schemas.errors import InputError
from schemas.results import Decision
from tasks.runtime.runtime import Runtime


def roll_back(runtime: Runtime, options: Namespace, terminal: Terminal) -> Decision:
    """Make the former champion the champion again; InputError where no reason is given."""
    from artifacts.promotion.rollback import model_of, reason_of
    from flows import gate
    from flows.cli.render.decision import print_decision

    model, number = model_of(options.version)
    if options.min_gain is not None:
        raise InputError(
            "a rollback needs no evidence", "--min-gain with --rollback", "leave --min-gain out"
        )
    if options.reason is None:
        raise InputError("a rollback needs a reason", "--rollback", 'say why with --reason "TEXT"')
    reason = reason_of(options.reason)
    with terminal.progress(runtime.progress):  # the gate says what it waits for
        decided = gate.roll_back(runtime, model, number, reason)
    print_decision(terminal.out, decided)
    return decided


def refuse_reason(options: Namespace) -> None:
    """InputError for a reason where nothing is rolled back: the gate decides by evidence."""
    if options.reason is not None:
        raise InputError("the gate takes evidence", "--reason without --rollback", "leave it out")
