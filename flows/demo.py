"""The whole story on one model and one dataset: measure, select, learn, measure again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from artifacts.recording.demo import demo_rows, record_demo
from flows.eval import eval_flow
from flows.learning import learning_flow
from flows.orchestration.links import recorded_run
from flows.orchestration.pipeline_flow import pipeline_flow
from flows.selection import selection_flow
from schemas.config import LearningConfig, RunConfig, SelectionConfig
from schemas.loops import DEMO
from schemas.outputs import DemoOutput
from schemas.results import LoopResult
from tasks.runtime.runtime import process_runtime

SELECT_SAMPLES = 8


@dataclass(frozen=True)
class Audience:
    """Who watches a demo: `begins` gets a loop's letter before it starts, `ended` its result."""

    begins: Callable[[str], None] = lambda letter: None
    ended: Callable[[LoopResult], None] = lambda result: None


def demo_flow(audience: Audience) -> Callable[[LearningConfig], DemoOutput]:
    """The flow that has the three loops as its parts, each a run of its own inside the demo's."""

    @pipeline_flow(name="demo", flow_run_name="demo of {config.model}", persist_result=False)
    def demo(config: LearningConfig) -> DemoOutput:
        shared = {name: getattr(config, name) for name in RunConfig.model_fields}
        with recorded_run(process_runtime(), DEMO, config) as run:
            audience.begins("A")
            evaluation = eval_flow(config.evaluation(), run.run_id)
            audience.ended(evaluation)
            audience.begins("B")
            selecting = SelectionConfig(**shared, samples=SELECT_SAMPLES)
            selection = selection_flow(selecting, run.run_id)
            audience.ended(selection)
            audience.begins("C")
            learning = learning_flow(config, parent_run=run.run_id)
            audience.ended(learning)
            rows = demo_rows(evaluation, selection, learning)
            runs = {str(r.loop): r.run_id for r in (evaluation, selection, learning)}
            record_demo(run, config, rows, selection, learning, runs)
        return DemoOutput(**dict(learning), demo=rows, demo_run_id=run.run_id, runs=runs)

    return demo
