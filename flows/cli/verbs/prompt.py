"""The exact text and tokens that a model would get; its weights are not loaded."""

from __future__ import annotations

from argparse import Namespace
from functools import cache

from artifacts.prompts.shown_problems import refuse_shown_problems
from artifacts.registry.resolve import check_model_name, known_folder, resolve_policy
from flows.cli.options import config_from
from flows.cli.render.prompts import print_prompts
from flows.cli.terminal import Terminal
from flows.preflight import check_splits, with_template
from policy.limited.tokenizer_trial import explaining_tokenizer
from policy.model.load import load_tokenizer
from policy.model.template import get_template
from schemas.config import EvalConfig
from schemas.outputs import PromptOutput, ShownPrompt, TokenRow
from tasks.runtime.runtime import Runtime


def show_prompts(runtime: Runtime, options: Namespace, terminal: Terminal) -> PromptOutput:
    """Print what a model would get for the first `limit` problems, 1 where none is given."""
    archive, config = runtime.archive, with_template(config_from(EvalConfig, vars(options)))
    template = get_template(config.template)
    check_model_name(archive, config.model)
    runtime.datasets.strict = True
    check_splits(runtime.datasets, config)
    problems = runtime.datasets.load(config.dataset, config.split, columns=config.columns)
    refuse_shown_problems(template, problems, f"{config.dataset} {config.split}")
    asked = problems.slice(0, config.limit or 1)
    terminal.note(f"loading the tokenizer of {config.model}")
    folder = known_folder(archive, config.model)
    if folder is None:
        folder = archive.folders.find(resolve_policy(archive, config.model, terminal.note))
    tokenizer = load_tokenizer(folder)
    questions = asked["prompt"].to_pylist()
    texts = [template.render(question, tokenizer) for question in questions]
    encoded = template.encode(questions, tokenizer)

    @cache
    def token(identity: int) -> TokenRow:
        with explaining_tokenizer(str(folder)):
            piece = str(tokenizer.decode([identity], skip_special_tokens=False))
        return TokenRow(id=identity, piece=piece)

    output = PromptOutput(
        template=template.id,
        digest=template.digest,
        form="chat" if template.chat else "plain",
        model=config.model,
        dataset=config.dataset,
        split=config.split,
        prompts=tuple(
            ShownPrompt(problem_id=identity, text=text, tokens=tuple(map(token, ids)))
            for identity, text, ids in zip(
                asked["problem_id"].to_pylist(), texts, encoded, strict=True
            )
        ),
    )
    print_prompts(terminal.out, output)
    return output
