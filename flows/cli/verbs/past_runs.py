"""What each verb about past runs does: rescore, compare, promote, list, show, send."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping

from artifacts.tracking.history import RunRecord
from flows.cli.options import config_from
from flows.cli.terminal import Terminal
from flows.cli.verbs.loops import Verb, evaluate, run_flow, start_prefect, where_prefect_is
from flows.orchestration.settings import configure_prefect
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.garbage import GcOutput
from schemas.lineage import LineageOutput
from schemas.outputs import (
    ExportOutput,
    GoldenResult,
    ListedDecision,
    ListedRun,
    RunsOutput,
    SyncOutput,
)
from schemas.results import Comparison, Decision, DemoResult, EvalResult, LoopResult
from tasks.runtime.runtime import Runtime

STRICT = "final_int@1"


def rescore(runtime: Runtime, options: Namespace, terminal: Terminal) -> EvalResult | GoldenResult:
    """Loop A on stored completions with another scorer and what changed, or golden rows."""
    from artifacts.compare.rescoring import (
        ScoredTwice,
        keep_changes,
        score_changes,
        scores_before,
    )
    from artifacts.runs.measured import stored_table
    from flows.cli.render.comparison import print_changes

    source, rows = options.run, _rows(options)
    if (source is None) == (options.golden is None):
        raise InputError("needs either RUN or --golden FILE", "rescore")
    if options.golden is not None:
        return _check_golden(runtime, options, terminal)
    archive = runtime.archive
    before = scores_before(archive, source)
    result = evaluate(runtime, Namespace(**vars(options), completions=source), terminal)
    from tasks.score import score

    run = archive.history.find(result.run_id)
    problems, completions, after = (
        stored_table(archive.store, run, name) for name in ("problems", "completions", "scores")
    )
    scored = ScoredTwice(
        before=before or score(problems, completions, STRICT),
        after=after,
        completions=completions,
        problems=problems,
        scored_before=before is not None,
    )
    changes = score_changes(archive.store, scored, rows=rows)
    result = result.model_copy(update={"changes": changes})
    keep_changes(archive, run, result, scored.before)
    print_changes(terminal.out, changes)
    return result


def compare(runtime: Runtime, options: Namespace, terminal: Terminal) -> Comparison:
    """Two runs on the same instrument, or a refusal that names what differs."""
    from artifacts.compare.comparison import compare_measurements, refuse_other_engine
    from artifacts.runs.measured import find_measurement
    from flows.cli.render.comparison import print_comparison

    archive, rows = runtime.archive, _rows(options)
    first, second = (find_measurement(archive, name) for name in (options.a, options.b))
    if options.same_engine:
        refuse_other_engine(first, second)
    runs = archive.history.loops_with({first.policy, second.policy})
    result = compare_measurements(first, second, runs, options.allow or (), rows=rows)
    print_comparison(terminal.out, result)
    if not result.comparable:
        parts = result.refused_parts
        terminal.fail(
            f"refused: {first.name} and {second.name} were measured with different "
            f"instruments, in {', '.join(parts)}; "
            f"{' '.join(f'--allow {part}' for part in parts)} compares them all the same"
        )
    return result.model_copy(update={"exit_code": 0 if result.comparable else 1})


def promote(runtime: Runtime, options: Namespace, terminal: Terminal) -> Decision:
    """The gate: the version becomes the champion on evidence, or not; or the champion goes back."""
    from flows.cli.verbs.rollback import refuse_reason, roll_back

    if options.rollback:
        return roll_back(runtime, options, terminal)
    refuse_reason(options)
    from artifacts.registry.versions import registered_version
    from flows.cli.render.decision import print_decision
    from flows.gate import decide_and_record

    min_gain = 0.0 if options.min_gain is None else options.min_gain
    if not 0 <= min_gain < 1:
        raise InputError("is not a rate from 0 to 1", f"--min-gain {min_gain}")
    version = registered_version(runtime.archive, options.version, "promote")
    terminal.note(f"reading the evidence for {version.name}")

    def prepare() -> None:
        configure_prefect(runtime.data_dir)  # before anything imports Prefect
        terminal.note(f"starting the flows with Prefect ({where_prefect_is()})")
        start_prefect(runtime, terminal)

    def evaluate_anew(config: EvalConfig) -> EvalResult:
        from flows.eval import eval_flow

        result: EvalResult = run_flow(runtime, eval_flow, config, terminal, started=True)
        return result

    with terminal.progress(runtime.progress):  # the gate says what it waits for
        decided = decide_and_record(runtime, version, evaluate_anew, min_gain, prepare)
    print_decision(terminal.out, decided)
    if not decided.promoted:
        terminal.fail(f"refused: {version.name} is not promoted; {decided.reasons[0]}")
    return decided.model_copy(update={"exit_code": 0 if decided.promoted else 1})


def runs(runtime: Runtime, options: Namespace, terminal: Terminal) -> RunsOutput:
    """What has been run, and what the gate decided."""
    from artifacts.promotion.decisions import all_decisions
    from artifacts.runs.listing import failures_by_code, in_families, listed
    from flows.cli.render.runs import print_decisions, print_failures, print_runs

    if options.limit < 1:
        raise InputError("is less than 1", f"--limit {options.limit}")
    history, out = runtime.archive.history, terminal.out
    chosen = {name: getattr(options, name) for name in ("loop", "model", "instrument")}
    recorded = history.every() if options.children else history.loops()
    found = listed(recorded, **chosen, sort=options.sort)
    lines = in_families(found) if options.children else [(0, run) for run in found]
    lines = lines[: options.limit]
    shown = [run for _, run in lines]
    decisions = [] if any(chosen.values()) else all_decisions(history, options.limit + 1)
    more_decisions = len(decisions) > options.limit
    decisions = decisions[: options.limit]
    groups = None
    if options.failures:  # a learning run's own measurements count once, with it
        groups = failures_by_code(runtime.store, [run for run in shown if not run.stage])
    print_runs(out, lines, len(found), len(recorded))
    if decisions:
        print_decisions(out, decisions, more=more_decisions)
    if groups is not None:
        print_failures(out, groups)
    return RunsOutput(
        runs=tuple(_listed(run) for run in shown),
        decisions=tuple(ListedDecision.model_validate(made) for made in decisions),
        not_shown=len(found) - len(shown),
        failures=groups,
    )


def _listed(run: RunRecord) -> ListedRun:
    from artifacts.runs.listing import run_model, run_source

    return ListedRun(
        run_id=run.run_id,
        name=run.name,
        loop=run.loop.letter,
        changed=run.loop.changed,
        status=run.status,
        parent=run.parent or None,
        stage=run.stage or None,
        model=run_model(run),
        source=run_source(run),
        instrument=run.tags.get("instrument"),
        metrics=run.metrics,
    )


def show(
    runtime: Runtime, options: Namespace, terminal: Terminal
) -> LoopResult | DemoResult | Decision | LineageOutput:
    """One run, its failures grouped by code with examples; one decision of the gate; a lineage."""
    if options.lineage:
        return _lineage(runtime, options.run, terminal)
    from artifacts.promotion.decisions import find_decision
    from artifacts.report.write import REPORT_FILE
    from artifacts.runs.listing import choose_rows, run_rows
    from flows.cli.render.decision import print_decision
    from flows.cli.render.demo import print_loops
    from flows.cli.render.results import print_result
    from flows.cli.render.runs import print_report, print_rows

    history, out, rows = runtime.archive.history, terminal.out, _rows(options)
    decision = find_decision(history, options.run)
    if decision is not None:
        decided = decision.result()
        print_decision(out, decided)
        return decided
    run = history.find(options.run)
    result = run.result()
    if result is None:
        if run.status == "FINISHED":
            raise InputError(
                "the run has finished, and its result is not there any more",
                f"run {run.name}",
                "`threeloops doctor` says what is missing and what to do",
            )
        reason = run.tags.get("error", "it has not finished")
        raise InputError(f"the run has no result ({reason})", f"run {run.name}")
    if isinstance(result, DemoResult):
        print_loops(out, result.demo)
        return result
    print_result(out, result)
    table = run_rows(runtime.store, run)
    assert table is not None  # a run with a result has its tables
    groups = choose_rows(
        table,
        run_name=run.name,
        per_code=rows,
        code=options.code,
        family=options.family,
        surest_first=options.sort == "likelihood",
    )
    print_rows(out, groups)
    report = run.files.local(REPORT_FILE)
    reason = run.tags.get("report_error", "the run made none")
    print_report(out, str(report) if report else None, reason)
    return result.model_copy(update={"rows": tuple(row for g in groups for row in g.rows)})


def _lineage(runtime: Runtime, name: str, terminal: Terminal) -> LineageOutput:
    from artifacts.lineage.chain import lineage_of
    from flows.cli.render.lineage import print_lineage

    terminal.note(f"comparing what {name} was made from with what is stored")
    found = lineage_of(runtime.archive, name)
    print_lineage(terminal.out, found)
    return found


def sync(runtime: Runtime, options: Namespace, terminal: Terminal) -> SyncOutput:
    """What servers could not be told is sent."""
    from flows.cli.verbs.sync import send_kept

    return send_kept(runtime, terminal)


def gc(runtime: Runtime, options: Namespace, terminal: Terminal) -> GcOutput:
    """What nothing refers to is counted, or dropped."""
    from flows.cli.verbs.gc import collect

    return collect(runtime, options, terminal)


def _rows(options: Namespace) -> int:
    if options.rows < 0:
        raise InputError("is less than 0", f"--rows {options.rows}")
    return int(options.rows)


def _check_golden(runtime: Runtime, options: Namespace, terminal: Terminal) -> GoldenResult:
    from artifacts.compare.rescoring import golden_check
    from flows.cli.render.comparison import print_golden

    if "limit" in options:
        raise InputError("every golden row is checked", "--limit with --golden", "leave it out")
    config = config_from(EvalConfig, vars(options))
    result = golden_check(
        runtime.datasets, options.golden, config.dataset, config.scorer, config.columns
    )
    print_golden(terminal.out, result)
    return result.model_copy(update={"exit_code": 0 if result.passed else 1})


def export(runtime: Runtime, options: Namespace, terminal: Terminal) -> ExportOutput:
    """A version as a folder, or a run's answers as a file."""
    from flows.cli.verbs.export import export as exported

    return exported(runtime, options, terminal)


PAST_VERBS: Mapping[str, Verb] = {
    "rescore": rescore,
    "compare": compare,
    "promote": promote,
    "runs": runs,
    "show": show,
    "export": export,
    "gc": gc,
    "sync": sync,
}
