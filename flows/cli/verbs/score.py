"""One text judged, and one question asked: nothing is recorded."""

from __future__ import annotations

import re
from argparse import Namespace
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from artifacts.text.codes import code_words
from flows.cli.garbage import search_as_usual
from flows.cli.options import config_from
from flows.cli.render.verdicts import print_answers, print_score
from flows.cli.terminal import Terminal
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.outputs import AskedAnswer, AskOutput, ScoreOutput, VerdictShown
from schemas.problems import CANONICAL_INTEGER
from scorers.registry import get_scorer
from scorers.scorer import Scorer

if TYPE_CHECKING:
    from artifacts.tracking.archive import Archive


def score_text(options: Namespace, terminal: Terminal) -> ScoreOutput:
    """The verdict of a scorer on one text, with the words of its code and its rule."""
    _check_expected(options.expected)
    config = config_from(EvalConfig, vars(options))
    scorer = get_scorer(config.scorer)
    output = ScoreOutput(
        text=options.text,
        expected_answer=options.expected,
        finish_reason=options.finish_reason,
        scorer=scorer.id,
        verdict=_verdicts(scorer, [options.text], [options.finish_reason], options.expected)[0],
        rule=scorer.spec,
    )
    print_score(terminal.out, output)
    return output


def ask(archive: Archive, options: Namespace, terminal: Terminal) -> AskOutput:
    """A question of one's own, answered by a policy; with `expected`, each answer is judged."""
    from artifacts.registry.resolve import check_model_name, resolve_policy
    from flows.preflight import with_answer_tokens, with_template
    from policy.model.template import get_template

    config = with_answer_tokens(with_template(config_from(EvalConfig, vars(options))))
    template = get_template(config.template)
    scorer = get_scorer(config.scorer)
    if options.expected is not None:
        _check_expected(options.expected)
    check_model_name(archive, config.model)
    reference = resolve_policy(archive, config.model, terminal.note)
    terminal.note(f"loading {config.model}")
    from policy.limited.tokenizer_trial import explaining_tokenizer
    from policy.model.load import decode_completion, load_policy
    from policy.sampling.sample import sample

    folder = archive.folders.find(reference)
    policy = load_policy(
        folder,
        name=reference.name,
        device=config.device,
        precision=config.precision,
        digest=reference.digest,
    )
    tokenizer = policy.tokenizer
    prompts = template.encode([options.question], tokenizer)
    search_as_usual()
    samples = sample(
        policy, prompts, samples=config.samples, settings=config.sampling, seed=config.seed
    )
    texts = [decode_completion(tokenizer, ids, policy.end_token_ids) for ids in samples.token_ids]
    judged: list[VerdictShown | None] = [None] * len(texts)
    if options.expected is not None:
        judged = [*_verdicts(scorer, texts, samples.finish_reasons, options.expected)]

    @cache
    def piece(token: int) -> str:
        with explaining_tokenizer(str(folder)):
            return str(tokenizer.decode([token], skip_special_tokens=False))

    output = AskOutput(
        question=options.question,
        expected_answer=options.expected,
        model=reference.name,
        template=template.said,
        scorer=scorer.id,
        prompt_tokens=len(prompts[0]),
        answers=tuple(
            AskedAnswer(
                text=text,
                finish_reason=reason,
                tokens=tuple(map(piece, ids)),
                logprob=sum(logprobs),
                verdict=verdict,
            )
            for text, reason, ids, logprobs, verdict in zip(
                texts,
                samples.finish_reasons,
                samples.token_ids,
                samples.logprobs,
                judged,
                strict=True,
            )
        ),
    )
    print_answers(terminal.out, output)
    return output


def _check_expected(answer: str) -> None:
    if not re.fullmatch(CANONICAL_INTEGER, answer):
        raise InputError(
            "is not a plain decimal integer", f"--expected {answer}", "give digits, as 12, -7 or 0"
        )


def _verdicts(
    scorer: Scorer, texts: list[str], reasons: list[str], expected: str
) -> list[VerdictShown]:
    rows = scorer.score(
        pa.array(texts, pa.string()),
        pa.array(reasons, pa.string()),
        pa.array([expected] * len(texts), pa.string()),
    ).to_pylist()
    words = code_words(scorer.id)
    return [VerdictShown(**row, words=words.get(row["code"])) for row in rows]
