"""Run the benchmarks: `python -m bench`, which `make bench` prepares; `--quick` tests the code.

It starts measurements one after another, and imports nothing large (see `bench.process`).
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.plan import (
    TRL,
    Job,
    Series,
    gpu_plan,
    quick_gpu_plan,
    quick_plan,
    whole_plan,
    without_trl,
)
from bench.process import ROOT, BenchError, Record, run
from bench.report import RAW, write_report

MINUTES = 27.0  # after which no further pair is started; one run must end within 30
VENV = ROOT / ".venv-bench"


def main() -> int:
    """Measure and write the report; exit 1 when a measurement fails."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model, seconds, no figures")
    parser.add_argument(
        "--output", type=Path, help="folder of benchmarks.md and benchmarks.json; default docs"
    )
    parser.add_argument("--venv", type=Path, default=VENV, help="the environment that has TRL")
    parser.add_argument(
        "--only",
        metavar="LABEL",
        help="measure this alone, and keep the report's other figures; gpu: the comparisons on one",
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="start no pair after it")
    given = parser.parse_args()
    if given.quick and given.output is None:
        parser.error("--quick measures nothing worth keeping: name another folder with --output")
    scratch = Path(tempfile.mkdtemp(prefix="bench-"))
    output, trl_python = given.output or ROOT / "docs", given.venv / "bin" / "python"
    try:
        if given.only == "gpu":
            former = _former(output)
            measured = _measure_gpu(given.quick, trl_python, given.minutes, scratch)
            records = former | {"on_gpu": measured}
        elif given.only:
            measured = records = _measure_again(given.only, output, scratch)
        else:
            measured = _measure(given.quick, trl_python, given.minutes, scratch)
            records = measured
            if (output / RAW).exists():  # what a GPU did, perhaps in another machine, is kept
                records |= {k: v for k, v in _former(output).items() if k == "on_gpu"}
            if measured["gpu"] and not given.quick:
                there = _measure_gpu(given.quick, trl_python, given.minutes, scratch)
                records |= {"on_gpu": there}
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"written: {write_report(records, output)}")
    return 1 if measured["failed"] else 0


def _measure(quick: bool, trl_python: Path, minutes: float, scratch: Path) -> Record:
    """All records, with the date and what the machine is."""
    if not trl_python.exists() and not quick:
        raise BenchError(f"no environment with TRL ({trl_python}); `make bench` installs it")
    setting, folder = _setting(quick, trl_python, scratch)
    plan = quick_plan(folder) if quick else whole_plan(folder)
    return setting | _run_plan(plan, trl_python, minutes, scratch)


def _measure_gpu(quick: bool, trl_python: Path, minutes: float, scratch: Path) -> Record:
    """The records of the comparisons on a GPU, with the date and what the machine is."""
    setting, folder = _setting(quick, trl_python, scratch, computing_alone=True)
    if not setting["gpu"]:
        raise BenchError("there is no CUDA device here, so nothing can be measured on one")
    plan = quick_gpu_plan(folder) if quick else gpu_plan(folder)
    return setting | _run_plan(plan, trl_python, minutes, scratch)


def _setting(
    quick: bool, trl_python: Path, scratch: Path, computing_alone: bool = False
) -> tuple[Record, str]:
    """The date and what the machine is, and the folder of the model."""
    asked = {"tiny": str(scratch / "tiny") if quick else None, "computing_alone": computing_alone}
    told = run("setting", asked)
    names = ("model", "machine", "versions", "gpu", "products")
    setting: Record = {"date": _now(), "quick": quick} | {name: told[name] for name in names}
    if trl_python.exists():
        ask = "from importlib.metadata import version; print(version('trl'))"
        reply = subprocess.run([trl_python, "-c", ask], capture_output=True, text=True, check=True)
        setting["versions"]["trl"] = reply.stdout.strip()
    return setting, told["folder"]


def _run_plan(plan: list[Series], trl_python: Path, minutes: float, scratch: Path) -> Record:
    """The records of a plan, as far as the time allows; what failed, and what was left out."""
    started = time.monotonic()
    if not trl_python.exists():
        plan = without_trl(plan)
    records: list[Record] = []
    left_out: list[str] = []
    failed: list[str] = []
    costs: dict[str, float] = {}
    for place in range(max(series.rounds for series in plan)):
        for series in plan:
            if place >= series.rounds:
                continue
            name = series.jobs[0].label
            elapsed = time.monotonic() - started
            if place and elapsed + costs[name] > minutes * 60:
                left_out.append(f"{name}, round {place + 1}")
                continue
            try:
                _run_series(series, records, place, trl_python, scratch)
            except BenchError as error:  # the others are worth their time all the same
                print(error, file=sys.stderr)
                failed.append(f"{name}, round {place + 1}")
            costs[name] = time.monotonic() - started - elapsed
    if not records:
        raise BenchError("no measurement succeeded")
    return {
        "minutes": (time.monotonic() - started) / 60,
        "left_out": left_out,
        "failed": failed,
        "records": records,
    }


def _measure_again(label: str, output: Path, scratch: Path) -> Record:
    """The records of a report, with those of one label measured again, at their own date."""
    found = _former(output)
    plan = [s for s in whole_plan("") if any(j.label == label for j in s.jobs)]
    if not plan or any(job.needs or "folder" in job.parameters for job in plan[0].jobs):
        raise BenchError(f"there is no measurement {label!r} that can be made alone")
    again: list[Record] = []
    _run_series(plan[0], again, 0, Path(sys.executable), scratch)
    found["records"] = [one for one in found["records"] if one["label"] != label]
    found["records"] += [record | {"date": _now()} for record in again]
    return found


def _former(output: Path) -> Record:
    """The report that is there already; BenchError without one."""
    path = output / RAW
    if not path.exists():
        raise BenchError(f"there is no report to add to ({path}); run `python -m bench` first")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _run_series(
    series: Series, records: list[Record], place: int, trl_python: Path, scratch: Path
) -> None:
    """Run the jobs of a series one after another, and add their records."""
    for job in series.jobs:
        python = str(trl_python) if job.benchmark == TRL else sys.executable
        # learning starts from an empty data folder; old scores would be found, not made
        home = scratch / ("learning" if job.benchmark == "orchestration" else "tables")
        if job.label == "rescore task":
            for found in ("keys", "scores"):
                shutil.rmtree(home / "tables" / found, ignore_errors=True)
        record = run(
            job.benchmark, job.parameters | _needed(job, records), python=python, home=home
        )
        # the model's folder is of no interest to a reader, and names this machine's paths
        shown = {name: value for name, value in job.parameters.items() if name != "folder"}
        records.append({"label": job.label, "round": place + 1} | record | {"parameters": shown})
        _tell(records[-1])


def _needed(job: Job, before: list[Record]) -> Record:
    if job.needs is None:
        return {}
    found = next(record for record in before if record["label"] == job.needs)
    return {"problems": found["problems"], "completions": found["completions"]}


def _tell(record: Record) -> None:
    kept = {
        name: round(value, 3)
        for name, value in record.items()
        if isinstance(value, float) and value < 1e6
    }
    print(f"{record['label']}: {json.dumps(kept)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
