"""What each verb of the command line does: check, start its flow, show the result.

Each takes the parsed options and the terminal, and returns the result that `--json` prints.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from artifacts.store.data_dir import current_data_dir
from flows.cli.options import config_from, flag, refuse_with_replay
from flows.cli.terminal import Terminal
from flows.orchestration.settings import configure_prefect
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError
from schemas.loops import DEMO, EVALUATION, LEARNING, SELECTION, Loop

Given = dict[str, Any]
Result = dict[str, Any]
STRICT = "final_int@1"
STORY = {
    "A": "how good is it right now?",
    "B": "how far does search alone get?",
    "C": "can the model itself get better?",
}


def do_eval(given: Given, terminal: Terminal) -> Result:
    """Loop A."""
    from flows.cli.render.results import print_result

    config = _measured(EvalConfig, given)
    _prepare(terminal, config, EVALUATION)
    from flows.eval import eval_flow

    result = _run(eval_flow, config, terminal)
    print_result(terminal.out, result)
    return result


def do_select(given: Given, terminal: Terminal) -> Result:
    """Loop B."""
    from flows.cli.render.results import print_result

    if "pick" in given:
        given["pick"] = tuple(dict.fromkeys(given["pick"]))
    config = _measured(SelectionConfig, given)
    _prepare(terminal, config, SELECTION)
    from flows.selection import selection_flow

    result = _run(selection_flow, config, terminal)
    print_result(terminal.out, result)
    return result


def do_learn(given: Given, terminal: Terminal) -> Result:
    """Loop C."""
    from flows.cli.render.results import print_result

    resume = given.pop("resume")
    if resume is None:
        config = config_from(LearningConfig, given)
    else:
        config, resume = _resumed(resume, given)
    _prepare(terminal, config, LEARNING)
    from flows.learning import learning_flow

    try:
        result = _run(learning_flow, config, terminal, resume=resume)
    except KeyboardInterrupt:
        terminal.note("go on with: threeloops learn --resume RUN (`threeloops runs` lists them)")
        raise
    print_result(terminal.out, result)
    return result


def do_rescore(given: Given, terminal: Terminal) -> Result:
    """Loop A on stored completions with another scorer and what changed, or golden rows."""
    from artifacts.compare.rescoring import keep_changes, score_changes, scores_before
    from artifacts.runs.measured import stored_table
    from artifacts.tracking.history import find_run
    from flows.cli.render.comparison import show_changes

    source, golden, rows = given.pop("run"), given.pop("golden"), _rows(given)
    if (source is None) == (golden is None):
        raise InputError("needs either RUN or --golden FILE", "rescore")
    if golden is not None:
        return _check_golden(golden, given, terminal)
    old = scores_before(source)
    result = do_eval(given | {"completions": source}, terminal)
    from tasks.score import score

    run = find_run(result["run_id"])
    problems, completions, new = (
        stored_table(run, name) for name in ("problems", "completions", "scores")
    )
    first = old or score(problems, completions, STRICT)
    changes = score_changes(first, new, completions, problems, rows=rows)
    changes["scored_before"] = old is not None
    keep_changes(run, result, changes, first)
    show_changes(terminal.out, changes)
    return result | {"changes": changes}


def do_compare(given: Given, terminal: Terminal) -> Result:
    """Two runs on the same instrument, or a refusal that names what differs."""
    from artifacts.compare.comparison import compare_measurements
    from artifacts.runs.measured import find_measurement
    from flows.cli.render.comparison import print_comparison

    rows = _rows(given)
    first, second = find_measurement(given["a"]), find_measurement(given["b"])
    result = compare_measurements(first, second, given["allow"] or (), rows=rows)
    print_comparison(terminal.out, result)
    if not result["comparable"]:
        parts = result["refused_parts"]
        terminal.fail(
            f"refused: {first.name} and {second.name} were measured with different "
            f"instruments, in {', '.join(parts)}; "
            f"{' '.join(f'--allow {part}' for part in parts)} compares them all the same"
        )
    return result | {"exit_code": 0 if result["comparable"] else 1}


def do_promote(given: Given, terminal: Terminal) -> Result:
    """The gate: the version becomes the champion on evidence, or not."""
    from artifacts.registry.versions import registered_version
    from flows.cli.render.comparison import print_decision
    from flows.gate import decide_and_record

    if not 0 <= given["min_gain"] < 1:
        raise InputError("is not a rate from 0 to 1", f"--min-gain {given['min_gain']}")
    version = registered_version(given["version"], "promote")
    terminal.note(f"reading the evidence for {version.name}")
    result = decide_and_record(version, given["min_gain"])
    print_decision(terminal.out, result)
    if not result["promoted"]:
        terminal.fail(f"refused: {version.name} is not promoted; {result['reasons'][0]}")
    return result | {"exit_code": 0 if result["promoted"] else 1}


def do_demo(given: Given, terminal: Terminal) -> Result:
    """The three loops one after another on one model and one table."""
    from flows.cli.render.demo import print_loops
    from flows.cli.render.results import print_result

    config = config_from(LearningConfig, given)
    _prepare(terminal, config, DEMO)
    from flows.demo import demo_flow

    def begins(letter: str) -> None:
        terminal.out.rule(f"Loop {letter}: {STORY[letter]}", align="left", style="dim")

    terminal.note("starting Prefect's own server; the first time takes half a minute")
    flow = demo_flow(begins, lambda result: print_result(terminal.out, result))
    with terminal.progress():
        demo_id, rows, results = flow(config)
    terminal.out.rule("The three loops on the same holdout", align="left", style="bold")
    print_loops(terminal.out, rows)
    picture = results["C"]["pictures"]["learning.png"]
    terminal.out.print(f"picture  {picture}", soft_wrap=True, markup=False)
    terminal.out.print("look further with: threeloops runs; threeloops show RUN; threeloops up")
    return results["C"] | {
        "demo": rows,
        "demo_run_id": demo_id,
        "runs": {k: r["run_id"] for k, r in results.items()},
    }


def do_runs(given: Given, terminal: Terminal) -> Result:
    """What has been run, and what the gate decided."""
    from dataclasses import asdict

    from artifacts.promotion.decisions import all_decisions
    from artifacts.runs.listing import failures_by_code, in_families, listed
    from artifacts.tracking.history import all_runs, every_run
    from flows.cli.render.runs import show_decisions, show_failures, show_runs

    if given["limit"] < 1:
        raise InputError("is less than 1", f"--limit {given['limit']}")
    chosen = {name: given[name] for name in ("loop", "model", "instrument")}
    runs = every_run() if given["children"] else all_runs()
    found = listed(runs, **chosen, sort=given["sort"])
    lines = in_families(found) if given["children"] else [(0, run) for run in found]
    lines = lines[: given["limit"]]
    shown = [run for _, run in lines]
    decisions = [] if any(chosen.values()) else all_decisions()[: given["limit"]]
    groups = None
    if given["failures"]:  # a learning run's own measurements count once, with it
        groups = failures_by_code([run for run in shown if not run.stage])
    show_runs(terminal.out, lines, len(found), len(runs))
    if decisions:
        show_decisions(terminal.out, decisions)
    if groups is not None:
        show_failures(terminal.out, groups)
    return {
        "runs": [_listed(run) for run in shown],
        "decisions": [
            {name: getattr(d, name) for name in ("run_id", "name", "decision", "candidate")}
            | {"against": d.against, "metrics": dict(d.metrics)}
            for d in decisions
        ],
    } | ({} if groups is None else {"failures": [asdict(group) for group in groups]})


def _listed(run: Any) -> Result:
    from artifacts.runs.listing import run_model

    return {
        "run_id": run.run_id,
        "name": run.name,
        "loop": run.loop.letter,
        "changed": run.loop.changed,
        "status": run.status,
        "parent": run.parent or None,
        "stage": run.stage or None,
        "model": run_model(run),
        "instrument": run.tags.get("instrument"),
        "metrics": dict(run.metrics),
    }


def do_show(given: Given, terminal: Terminal) -> Result:
    """One run, its failures grouped by code with examples; or one decision of the gate."""
    from artifacts.promotion.decisions import find_decision
    from artifacts.tracking.history import find_run
    from flows.cli.render.comparison import print_decision
    from flows.cli.render.demo import print_loops
    from flows.cli.render.results import print_result
    from flows.cli.render.runs import show_report, show_rows

    rows = _rows(given)
    decision = find_decision(given["run"])
    if decision is not None:
        decided = decision.result()
        print_decision(terminal.out, decided)
        return decided
    run = find_run(given["run"])
    result = run.result()
    if result is None:
        reason = run.tags.get("error", "it has not finished")
        raise InputError(f"the run has no result ({reason})", f"run {run.name}")
    if run.loop is DEMO:
        print_loops(terminal.out, result["demo"])
        return result
    print_result(terminal.out, result)
    shown = show_rows(
        terminal.out,
        run,
        per_code=rows,
        code=given["code"],
        family=given["family"],
        surest_first=given["sort"] == "likelihood",
    )
    show_report(terminal.out, run)
    return result | {"rows": shown}


def do_tokens(given: Given, terminal: Terminal) -> Result:
    """The tokens of a text."""
    from flows.cli.tokens import show_tokens

    return show_tokens(given, terminal)


def do_up(given: Given, terminal: Terminal) -> Result:
    """The servers and the deployments, until Ctrl-C."""
    from flows.cli.up import serve

    return serve(given["prefect_port"], given["mlflow_port"], terminal)


def _rows(given: Given) -> int:
    rows = int(given.pop("rows"))
    if rows < 0:
        raise InputError("is less than 0", f"--rows {rows}")
    return rows


def _check_golden(golden: str, given: Given, terminal: Terminal) -> Result:
    from artifacts.compare.rescoring import golden_check
    from flows.cli.render.comparison import show_golden

    if "limit" in given:
        raise InputError("every golden row is checked", "--limit with --golden", "leave it out")
    config = config_from(EvalConfig, given)
    result = golden_check(golden, config.dataset, config.scorer)
    show_golden(terminal.out, result)
    return result | {"exit_code": 0 if result["passed"] else 1}


def _measured(config: type[Any], given: Given) -> Any:
    if "completions" in given:
        refuse_with_replay(given)
    return config_from(config, given)


def _resumed(name: str, given: Given) -> tuple[LearningConfig, str]:
    from artifacts.runs.resuming import MAY_CHANGE, resumable, settings_of

    guard = {name: given.pop(name) for name in (MAY_CHANGE,) if name in given}
    limit = config_from(LearningConfig, guard).max_kl_nats
    if given:
        option = flag(next(iter(given)))
        raise InputError(
            "a resumed run goes on as it was set", f"{option} with --resume", f"leave {option} out"
        )
    run = resumable(name)
    config = settings_of(run)
    return config.model_copy(update={MAY_CHANGE: limit} if guard else {}), run.run_id


def _prepare(terminal: Terminal, config: Any, loop: Loop) -> None:
    """Find what is wrong before anything starts, then set the scene for Prefect.

    Between what is found in a moment and what takes seconds it says what was asked for.
    """
    from flows.preflight import check_model, check_names

    check_names(config)
    terminal.note(f"Loop {loop.letter}, {loop.name}: {_asked(config)}")
    check_model(config)
    configure_prefect(current_data_dir())


def _asked(config: Any) -> str:
    from artifacts.datasets.problems import load_problems
    from flows.preflight import replayed

    if source := replayed(config):
        return f"the completions of {source}, judged by {config.scorer}"
    if isinstance(config, LearningConfig):
        steps = "1 step" if config.steps == 1 else f"{config.steps} steps"
        batch = f"{steps} of {config.problems_per_step} problems x {config.samples}"
        return f"{config.model}, {batch}, {config.dataset} {config.train_split}"
    measured = load_problems(config.dataset, config.split, config.limit)
    batch = f"{measured.num_rows} problems x {config.samples}"
    return f"{config.model}, {batch}, {config.dataset} {config.split}"


def _run(flow: Any, config: Any, terminal: Terminal, **more: Any) -> Result:
    """Run a flow under Prefect; a replay without a server is a plain call, done in a moment."""
    served = "PREFECT_API_URL" in os.environ
    from flows.preflight import replayed

    call: Callable[..., Result] = flow.fn if replayed(config) and not served else flow
    if call is flow:
        where = os.environ.get("PREFECT_API_URL", "a server of its own")
        terminal.note(f"starting the flow with Prefect ({where})")
    with terminal.progress():
        return call(config, **more)
