"""What each verb that runs a loop does: check, start its flow, show the result."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from artifacts.text.numbers import counted
from artifacts.text.visible import printable
from flows.cli.garbage import search_as_usual
from flows.cli.options import config_from, flag, refuse_with_replay
from flows.cli.terminal import Terminal
from flows.orchestration.guarded_server import begin_server
from flows.orchestration.settings import configure_prefect, refuse_settings_here
from policy.parallel.place import place_in
from schemas.config import EvalConfig, LearningConfig, RunConfig, SelectionConfig
from schemas.errors import InputError
from schemas.files import source_of
from schemas.loops import DEMO, EVALUATION, LEARNING, SELECTION, Loop
from schemas.outputs import AskOutput, DemoOutput, PromptOutput, TokensOutput, UpOutput
from schemas.result_parts import ResultModel
from schemas.results import EvalResult, LearningResult, SelectionResult
from tasks.runtime.runtime import Runtime

Verb = Callable[[Runtime, Namespace, Terminal], ResultModel]
C = TypeVar("C", bound=EvalConfig)
P = TypeVar("P", bound=RunConfig)
R = TypeVar("R", bound=ResultModel)
STORY = {
    "A": "how good is it right now?",
    "B": "how far does search alone get?",
    "C": "can the model itself get better?",
}


def evaluate(runtime: Runtime, options: Namespace, terminal: Terminal) -> EvalResult:
    """Loop A."""
    _refuse_no_run(runtime, options)
    config = _measured(EvalConfig, options)
    config = prepare(runtime, terminal, config, EVALUATION)
    from flows.cli.render.results import print_result
    from flows.eval import eval_flow

    result: EvalResult = run_flow(runtime, eval_flow, config, terminal)
    print_result(terminal.out, result)
    return result


def select(runtime: Runtime, options: Namespace, terminal: Terminal) -> SelectionResult:
    """Loop B."""
    if "pick" in options:
        options.pick = tuple(dict.fromkeys(options.pick))
    _refuse_no_run(runtime, options)
    config = _measured(SelectionConfig, options)
    config = prepare(runtime, terminal, config, SELECTION)
    from flows.cli.render.results import print_result
    from flows.selection import selection_flow

    result: SelectionResult = run_flow(runtime, selection_flow, config, terminal)
    print_result(terminal.out, result)
    return result


def learn(runtime: Runtime, options: Namespace, terminal: Terminal) -> LearningResult:
    """Loop C, in this process alone or at the head of several."""
    place = place_in(os.environ)
    if place is None:
        return _learn(runtime, options, terminal)
    from flows.cli.ranks import leading

    with leading(runtime, place, options):
        return _learn(runtime, options, terminal)


def _learn(runtime: Runtime, options: Namespace, terminal: Terminal) -> LearningResult:
    resume = options.resume
    if resume is None:
        config = config_from(LearningConfig, vars(options))
    else:
        config, resume = _resumed(runtime, options)
    config = prepare(runtime, terminal, config, LEARNING, recorded=options.resume is not None)
    from artifacts.runs.resuming import how_to_go_on
    from flows.cli.render.results import print_result
    from flows.learning import learning_flow

    try:
        result: LearningResult = run_flow(runtime, learning_flow, config, terminal, resume=resume)
    except KeyboardInterrupt:
        terminal.note(how_to_go_on(runtime.archive))
        raise
    print_result(terminal.out, result)
    return result


def demo(runtime: Runtime, options: Namespace, terminal: Terminal) -> DemoOutput:
    """The three loops one after another on one model and one dataset."""
    config = config_from(LearningConfig, vars(options))
    config = prepare(runtime, terminal, config, DEMO)
    from flows.cli.render.demo import print_loops
    from flows.cli.render.results import print_result
    from flows.demo import Audience, demo_flow

    def begins(letter: str) -> None:
        terminal.out.rule(f"Loop {letter}: {STORY[letter]}", align="left", style="dim")

    audience = Audience(begins, lambda result: print_result(terminal.out, result))
    terminal.note("starting the flows with Prefect; the first time takes half a minute")
    start_prefect(runtime, terminal)
    search_as_usual()
    with terminal.progress(runtime.progress):
        output = demo_flow(audience)(config)
    terminal.out.rule("The three loops on the same holdout", align="left", style="bold")
    print_loops(terminal.out, output.demo)
    picture = output.pictures["learning.png"]
    terminal.out.print(printable(f"picture  {picture}"), soft_wrap=True, markup=False)
    terminal.out.print("look further with: threeloops runs; threeloops show RUN; threeloops up")
    return output


def tokens(runtime: Runtime, options: Namespace, terminal: Terminal) -> TokensOutput:
    """The tokens of a text."""
    from flows.cli.verbs.tokens import show_tokens

    return show_tokens(runtime.archive, options, terminal)


def prompt(runtime: Runtime, options: Namespace, terminal: Terminal) -> PromptOutput:
    """What a model would get."""
    from flows.cli.verbs.prompt import show_prompts

    return show_prompts(runtime, options, terminal)


def ask(runtime: Runtime, options: Namespace, terminal: Terminal) -> AskOutput:
    """Answers to one question."""
    from flows.cli.verbs.score import ask as answered

    return answered(runtime.archive, options, terminal)


def up(runtime: Runtime, options: Namespace, terminal: Terminal) -> UpOutput:
    """The servers and the deployments, until Ctrl-C."""
    # both before anything imports Prefect, which looks at once
    refuse_settings_here(Path())
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from flows.cli.verbs.up import serve
    from flows.services.addresses import Addresses

    given = {field.name: vars(options)[field.name] for field in fields(Addresses)}
    return serve(runtime, Addresses(**given), terminal)


def prepare(
    runtime: Runtime, terminal: Terminal, config: P, loop: Loop, *, recorded: bool = False
) -> P:
    """Prepare the environment for Prefect, then find what is wrong before anything starts.

    In this order, since the check of a cluster imports Prefect, which takes its settings then.
    Between the checks that take a moment and those that take seconds it says what was asked for.
    Returns the configuration to run (see `check_names`); one that was `recorded` is taken as it is.
    """
    configure_prefect(runtime.data_dir)
    if not (isinstance(config, EvalConfig) and config.completions):
        begin_server(runtime.data_dir)  # while all that follows is imported
    from flows.preflight import check_model, check_names

    runtime.archive.tracking.refuse_silence()
    runtime.datasets.strict = not recorded
    try:
        config = check_names(runtime, config)
    finally:
        runtime.datasets.strict = False
    terminal.note(f"Loop {loop.letter}, {loop.name}: {asked(runtime, config)}")
    check_model(runtime, config)
    runtime.checked = config
    return config


def run_flow(
    runtime: Runtime,
    flow: Any,
    config: RunConfig,
    terminal: Terminal,
    *,
    started: bool = False,
    **more: Any,
) -> Any:
    """Run a flow under Prefect; a replay without a server is a plain call, done in a moment.

    So is a flow after Prefect's server has gone away. With `started`, the server is there already.
    """
    served = "PREFECT_API_URL" in os.environ
    from flows.preflight import replayed

    call = flow.fn if replayed(config) is not None and not served else flow
    if call is flow and not started and not runtime.side_channel.gone:
        terminal.note(f"starting the flow with Prefect ({where_prefect_is()})")
        start_prefect(runtime, terminal)
    search_as_usual()
    with terminal.progress(runtime.progress):
        return call(config, **more)


def where_prefect_is() -> str:
    """Prefect's server in words; who shows them hides the login in an address."""
    return os.environ.get("PREFECT_API_URL", "a server of its own")


def start_prefect(runtime: Runtime, terminal: Terminal) -> None:
    """Start Prefect's server, or see that the one that is named answers; InputError if not."""
    from flows.orchestration.lost import tell_of_lost_runs
    from flows.orchestration.own_server import start_own_server

    start_own_server(runtime.data_dir, terminal.note)
    tell_of_lost_runs(runtime)


def _refuse_no_run(runtime: Runtime, options: Namespace) -> None:
    """InputError for a run that is not there, before what else does not go with it."""
    source = vars(options).get("completions")
    if isinstance(source, str) and source_of(source) == "run":
        runtime.archive.tracking.refuse_silence()
        runtime.archive.history.find(source)


def _measured(config: type[C], options: Namespace) -> C:
    if "completions" in options:
        refuse_with_replay(vars(options))
    return config_from(config, vars(options))


def _resumed(runtime: Runtime, options: Namespace) -> tuple[LearningConfig, str]:
    from artifacts.runs.resuming import MAY_CHANGE, resumable, settings_of

    given = {k: v for k, v in vars(options).items() if k not in ("verb", "json", "resume")}
    asked = {name: given.pop(name) for name in ("base_url",) if name in given}
    limits = {name: given.pop(name) for name in MAY_CHANGE if name in given}
    checked = config_from(LearningConfig, limits)
    changed = {name: getattr(checked, name) for name in limits}
    if given:
        option = flag(next(iter(given)))
        raise InputError(
            "a resumed run goes on as it was set", f"{option} with --resume", f"leave {option} out"
        )
    run = resumable(runtime.archive, options.resume)
    settings = settings_of(run)
    if asked:  # an address is not recorded
        if settings.server is None:
            raise InputError(
                "this run samples its steps in this process", "--base-url with --resume",
                "leave --base-url out",
            )  # fmt: skip
        changed["server"] = settings.server.model_copy(update=asked)
    return settings.model_copy(update=changed), run.run_id


def asked(runtime: Runtime, config: RunConfig) -> str:
    """What a loop was asked for, in words."""
    from flows.preflight import replayed

    if (source := replayed(config)) is not None:
        return f"the completions of {source}, scored by {config.scorer}"
    if isinstance(config, LearningConfig):
        problems_per_step = counted(config.problems_per_step, "problem")
        batch = f"{counted(config.steps, 'step')} of {problems_per_step} x {config.samples}"
        return f"{config.model}, {batch}, {config.dataset} {config.train_split}"
    assert isinstance(config, EvalConfig)
    datasets, columns = runtime.datasets, config.columns
    problems = datasets.load(config.dataset, config.split, config.limit, columns).num_rows
    batch = f"{counted(problems, 'problem')} x {config.samples}"
    has_splits = datasets.has_splits(config.dataset, columns)
    rows = f" {config.split}" if has_splits else ", which has no splits"
    return f"{config.model}, {batch}, {config.dataset}{rows}"


LOOP_VERBS: Mapping[str, Verb] = {
    "demo": demo,
    "eval": evaluate,
    "select": select,
    "learn": learn,
    "tokens": tokens,
    "prompt": prompt,
    "ask": ask,
    "up": up,
}
