"""The still parts of a report: what was measured, how well, why answers failed, on what instrument.

Every text that comes from a run is escaped here; nothing is computed that the result has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from artifacts.text.describe import OUTCOME_WORDS
from artifacts.text.numbers import percent, points
from artifacts.text.visible import visible
from scorers.final_int_rules import RULES

Result = Mapping[str, Any]
STRICT = "final_int"
CODE_WORDS = {rule.code: rule.words for rule in RULES} | {
    "other_integer": "well formed, another integer",
    "cut_off": "the answer was not at its end",
    "cut_off_match": "cut off, though it would have been right",
}
FIRST_CODES = 10
PART_WORDS = {"prompt_template": "prompt template"}


def plain(text: object) -> str:
    """Any text as HTML that shows it and does nothing."""
    return escape(visible(str(text), mark_spaces=False))


def headline(result: Result) -> str:
    """The loop, what it changed, the model, and the rates with their intervals and n."""
    body = _learning(result) if result["loop"] == "C" else _measured(result)
    model = result["model"]
    came_from = model.get("started_from")
    start = f" <span class=quiet>learned from</span> <b>{plain(came_from)}</b>" if came_from else ""
    return (
        f"<p class=kicker><span class=loop>Loop {plain(result['loop'])}</span> "
        f"{plain(result['loop_name'])} <span class=quiet>· changed: {plain(result['changed'])}"
        f"</span></p><p class=model><span class=quiet>model</span> <b>{plain(model['name'])}</b>"
        f"{start}</p>{body}"
    )


def _measured(result: Result) -> str:
    metrics = result["metrics"]
    rate = {"value": metrics["pass_rate"]}
    rate |= {end: metrics[f"pass_rate_{end}"] for end in ("low", "high")}
    page = (
        f"<div class=big><b>{percent(rate['value'])}</b> <span>pass rate</span></div>"
        f"{_bar(rate)}<p class=interval>{_interval(rate)}, {_n(result)}</p>"
    )
    mean = metrics.get("mean_reward", rate["value"])
    if abs(mean - rate["value"]) > 1e-9:
        low, high = result["intervals"]["mean_reward"]
        page += f"<p>Mean reward {mean:.3f} (95 % interval {low:.3f} to {high:.3f})</p>"
    if "selected" in result:
        page += _selected(result)
    return page


def _selected(result: Result) -> str:
    rows = []
    for rule, selected in result["selected"].items():
        rate, gain = selected["rate"], selected["gain"]
        knows = " <span class=quiet>knows the answer</span>" if rule == "oracle" else ""
        rows.append(
            f"<tr><th>picked by {plain(rule)}{knows}</th><td class=num><b>{percent(rate['value'])}"
            f"</b></td><td>{_bar(rate)}</td><td class=quiet>{_range(rate)}</td>"
            f"<td class=num>{points(gain['value'])}</td><td class=quiet>{points(gain['low'])} to "
            f"{points(gain['high'])}</td></tr>"
        )
    best = result["best_of_n"]
    return (
        "<table class=rates><thead><tr><th></th><th>rate</th><th></th><th>95 % interval</th>"
        "<th>gain in points</th><th>95 % interval</th></tr></thead><tbody>"
        f"{''.join(rows)}</tbody></table><p class=quiet>A gain here is by search: the model stays "
        f"as it is. Best of {best['samples']} by the oracle is "
        f"{best['divergence_nats']['value']:.2f} nats from the policy, bound "
        f"{best['bound_nats']:.2f}.</p>"
    )


def _learning(result: Result) -> str:
    before, after = (_rates(result[side]) for side in ("before", "after"))
    shown = "".join(
        f"<div class=side><span class=quiet>{name}</span><div class=big><b class={name}>"
        f"{percent(rate['value'])}</b></div>{_bar(rate, name)}"
        f"<p class=interval>{_interval(rate)}</p></div>"
        for name, rate in (("before", before["pass@1"]), ("after", after["pass@1"]))
    )
    rows = "".join(
        f"<tr><th>{plain(name)}</th><td class=num>{percent(rate['value'])}</td>"
        f"<td class=quiet>{_range(rate)}</td><td class=bars>{_bar(rate, 'before')}"
        f"{_bar(after[name], 'after')}</td><td class=num><b>{percent(after[name]['value'])}</b>"
        f"</td><td class=quiet>{_range(after[name])}</td></tr>"
        for name, rate in before.items()
        if name != "pass@1" and name in after
    )
    kl, metrics = result["kl_nats"], result["metrics"]
    steps = metrics["steps"]
    return (
        f"<div class=sides>{shown}</div><p>Pass rate on {_n(result)}, none trained on. "
        f"{steps} step{'' if steps == 1 else 's'}, {metrics['wall_seconds']:.0f} s; KL to the "
        f"start {_nats(kl['value'])} nats a completion ({_nats(kl['low'])} to "
        f"{_nats(kl['high'])}).</p><table class=rates><thead><tr><th></th><th>before</th>"
        "<th>95 % interval</th><th></th><th>after</th><th>95 % interval</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _rates(side: Result) -> dict[str, Mapping[str, float]]:
    """Every rate of one measurement by what it is called, pass@1 first."""
    metrics, intervals = side["metrics"], side["intervals"]
    rates: dict[str, Mapping[str, float]] = {
        f"pass@{k}": _estimate(value, intervals["pass_at_k"][k])
        for k, value in metrics["pass_at_k"].items()
    }
    rates["valid format"] = _estimate(metrics["valid_format_rate"], intervals["valid_format_rate"])
    for name, rate in side["families"].items():
        rates[f"family {name}" if name in rates else name] = rate
    return rates


def _estimate(value: float, interval: Sequence[float]) -> dict[str, float]:
    return {"value": value, "low": interval[0], "high": interval[1]}


def families(result: Result) -> str:
    """The pass rate of each family, as a button that filters; empty where there are none.

    A learning run's families stand in its headline, before and after.
    """
    rows = "".join(
        f"<tr data-facet=family data-value={_quoted(name)} tabindex=0 role=button>"
        f"<th>{plain(name)}</th><td class=num><b>{percent(rate['value'])}</b></td>"
        f"<td>{_bar(rate)}</td><td class=quiet>{_range(rate)}</td>"
        f"<td class='num quiet'>n = {rate['problems']}</td></tr>"
        for name, rate in result.get("families", {}).items()
    )
    table = f"<table class='rates pick'><tbody>{rows}</tbody></table>"
    return (
        f"<section class='card families'><h2>Pass rate by family</h2>{table}</section>"
        if rows
        else ""
    )


def verdicts(counts: Iterable[tuple[str, str, int]], scorer: str, stage: str = "") -> str:
    """Completions by outcome and by code, most frequent first; each line filters the table.

    `counts` are triples (outcome, code, completions); `stage` says of which measurement. Codes of
    the strict scorer are explained; what others mean by theirs is not known here.
    """
    counts = sorted(counts, key=lambda item: (-item[2], item[0], item[1]))
    total = sum(count for _, _, count in counts)
    of_outcome = {
        name: sum(count for outcome, _, count in counts if outcome == name)
        for name in OUTCOME_WORDS
    }
    stack = "".join(
        f"<i class={name} style='flex-grow:{count}' title='{words}: {count:,}'></i>"
        for name, words in OUTCOME_WORDS.items()
        if (count := of_outcome[name])
    )
    buttons = "".join(
        f"<button class='outcome {name}' data-facet=outcome data-value={name}>"
        f"<b>{of_outcome[name]:,}</b> {words}</button>"
        for name, words in OUTCOME_WORDS.items()
    )
    failed = [item for item in counts if item[0] != "correct"]
    words = CODE_WORDS if scorer.startswith(f"{STRICT}@") else {}
    lines = [_code_line(*item, failed[0][2], words.get(item[1], "")) for item in failed]
    shown, more = lines[:FIRST_CODES], lines[FIRST_CODES:]
    rest = f"<details><summary>{len(more)} more codes</summary>{_rows(more)}</details>"
    when = f" <span class=quiet>{plain(stage)} n = {total:,} completions</span>"
    return (
        f"<section class='card verdicts'><h2>Why answers failed{when}</h2>"
        f"<div class=stack>{stack}</div><div class=outcomes>{buttons}</div>"
        f"{_rows(shown)}{rest if more else ''}</section>"
    )


def _rows(lines: Sequence[str]) -> str:
    none = "<p class=quiet>No answer failed.</p>"
    return f"<table class='codes pick'><tbody>{''.join(lines)}</tbody></table>" if lines else none


def _code_line(outcome: str, code: str, count: int, largest: int, words: str) -> str:
    return (
        f"<tr data-facet=code data-value={_quoted(code)} tabindex=0 role=button>"
        f"<td class=num><b>{count:,}</b></td>"
        f"<td class=length><i class={outcome} style='width:{110 * count / largest:.0f}px'></i></td>"
        f"<th>{plain(code)}</th><td class=quiet>{plain(words)}</td></tr>"
    )


def changes_section(changes: Result) -> str:
    """What a second scorer judged otherwise: the 2 × 2, and the groups of changed rows."""
    words = {"won": "now right", "lost": "no longer right", "moved": "same verdict, another reason"}
    cells = "".join(
        f"<tr><td class=num><b>{changes[key]:,}</b></td><td class=quiet>{name}</td></tr>"
        for name, key in (
            ("right by both", "correct_in_both"),
            ("right only before", "correct_only_before"),
            ("right only now", "correct_only_after"),
            ("wrong by both", "correct_in_neither"),
        )
    )
    groups = "".join(
        f"<tr data-facet=change data-value={plain(group['direction'])} tabindex=0 role=button>"
        f"<td class=num><b>{group['count']:,}</b></td>"
        f"<td class=quiet>{words[group['direction']]}</td><th>"
        f"{plain(group['codes'][0])} → {plain(group['codes'][1])}</th></tr>"
        for group in changes["groups"]
    )
    return (
        f"<section class='card changes'><h2>What the scorer changed <span class=quiet>"
        f"{plain(changes['before'])} → {plain(changes['after'])}</span></h2><div class=sides>"
        f"<table class=codes><tbody>{cells}</tbody></table><table class='codes pick'><tbody>"
        f"{groups or '<tr><td>Every verdict is the same.</td></tr>'}</tbody></table></div>"
        "</section>"
    )


def instrument(result: Result) -> str:
    """The digest of the instrument and its parts, and the model's."""
    parts = result["instrument"]["parts"]
    digest = result["instrument"]["digest"]
    lines = "".join(
        f"<dt>{PART_WORDS.get(name, name)}</dt><dd title={_quoted(value)}>{plain(_short(value))}"
        "</dd>"
        for name, value in parts.items()
    )
    model = result["model"].get("digest")
    model_line = (
        f"<dt>model</dt><dd title='{plain(model)}'>{plain(model[:12])}</dd>" if model else ""
    )
    return (
        f"<section class='card instrument'><h2>Instrument <code title='{plain(digest)}'>"
        f"{plain(digest[:12])}</code></h2>"
        "<p class=quiet>Two rates may be compared where these are equal.</p>"
        f"<dl>{lines}</dl><h2>Not in it</h2><dl>{model_line}<dt>samples</dt>"
        f"<dd>{result['samples']} a problem</dd><dt>seed</dt>"
        f"<dd>{plain(result['config'].get('seed'))}</dd></dl></section>"
    )


def _short(value: str) -> str:
    """A part with its long digests cut; the whole stands in the tooltip."""
    words = value.replace(":", " : ").split(" ")
    hexadecimal = set("0123456789abcdef")
    cut = [w[:12] + "…" if len(w) >= 40 and set(w) <= hexadecimal else w for w in words]
    return " ".join(cut).replace(" : ", ":")


def settings(flat: Mapping[str, str]) -> str:
    """Every setting of the run."""
    lines = "".join(f"<dt>{plain(name)}</dt><dd>{plain(v)}</dd>" for name, v in flat.items())
    return (
        f"<details class=card><summary>Every setting of the run</summary><dl>{lines}</dl></details>"
    )


def picture(name: str, png_base64: str) -> str:
    """One picture, inside the page."""
    words = {"pass_at_k.png": "pass@k", "learning.png": "How learning went"}.get(name, name)
    return (
        f"<section class='card picture'><h2>{plain(words)}</h2>"
        f"<img alt={_quoted(words)} src='data:image/png;base64,{png_base64}'></section>"
    )


def _bar(rate: Mapping[str, float], kind: str = "after") -> str:
    low, high = 100 * rate["low"], 100 * rate["high"]
    return (
        f"<span class='bar {kind}' title='{percent(rate['value'])}, {_interval(rate)}'>"
        f"<i style='left:{low:.2f}%;width:{max(high - low, 0.4):.2f}%'></i>"
        f"<b style='left:{100 * rate['value']:.2f}%'></b></span>"
    )


def _nats(value: float) -> str:
    """Two digits, and no minus before 0.00."""
    return f"{round(value, 2) + 0.0:.2f}"


def _interval(rate: Mapping[str, float]) -> str:
    return f"95 % interval {_range(rate)}"


def _range(rate: Mapping[str, float]) -> str:
    return f"{percent(rate['low'])} to {percent(rate['high'])}"


def _n(result: Result) -> str:
    metrics = result["metrics"]
    each = metrics["completions"] // max(metrics["problems"], 1)
    return (
        f"n = {metrics['problems']} problems × {each} sample{'' if each == 1 else 's'} = "
        f"{metrics['completions']} completions"
    )


def _quoted(value: object) -> str:
    return f'"{plain(value)}"'


def plain_block(text: str) -> str:
    """Text of several lines as HTML."""
    return escape(text)
