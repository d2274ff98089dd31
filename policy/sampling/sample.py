"""N completions for each of B prompts, as token ids: checks, random numbers, batches, decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from policy.model.load import Policy
from policy.model.precision import computing
from policy.model.slow_path_warning import warn_slow_path
from policy.sampling.completions import Completions
from policy.sampling.plain_decoding import decode_plainly
from schemas.config import SamplingSettings
from schemas.errors import InputError
from schemas.finish_reasons import LENGTH, STOP

SHARE_OF_MEMORY = 0.25
MOST_ROWS = 2048  # more would not be faster: the matrix products are large enough by then
Decode = Callable[[Sequence[Sequence[int]], Tensor, Completions], None]


@dataclass(frozen=True)
class Samples:
    """R = B·N completions; sample n of problem b is row b·N + n."""

    token_ids: list[list[int]]  # with the end token where there is one
    finish_reasons: list[str]  # `stop`: the model ended it; `length`: cut off
    logprobs: list[list[float]]  # nats, of each token under the distribution it was sampled from
    samples_per_problem: int
    rows_per_batch: int  # completions decoded together
    decoder: str  # `shared` or, for models that it cannot serve, `plain`


def sample(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int,
    settings: SamplingSettings,
    seed: int,
    max_rows: int | None = None,
    within: tuple[int, int] | None = None,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> Samples:
    """Sample `samples` completions of at most `settings.max_new_tokens` tokens for each prompt.

    Token t of row r is decided by one uniform number, U[r, t] of a float64 matrix that is made at
    the start from `seed` alone. Other rows and global random state have no influence. The same call
    on the same machine gives the same result byte for byte; another `max_rows` changes only how
    logits are rounded.

    `max_rows` bounds the completions decoded together; by default it is what fits in memory. Where
    the prompts are a part of more, `within` is the first of their rows among all, and the number of
    all: each row gets the uniform numbers that it has there. So many `processes` share the memory.
    `on_progress` is told how many completions are done. Raises InputError for no prompts, an empty
    one, one that leaves no room for `max_new_tokens` in the model's context, and `samples` < 1.
    """
    _check(policy, prompts, samples, settings, max_rows)
    rows = len(prompts) * samples
    first_row, all_rows = within or (0, rows)
    generator = torch.Generator().manual_seed(seed)
    shape = (all_rows, settings.max_new_tokens)
    uniforms = torch.rand(shape, generator=generator, dtype=torch.float64)
    uniforms = uniforms[first_row : first_row + rows].to(policy.device)
    done = 0

    def finished(count: int) -> None:
        nonlocal done
        done += count
        if on_progress and count:
            on_progress(done)

    token_ids: list[list[int]] = []
    logprobs: list[list[float]] = []
    with (
        computing(policy.model, keep_casts=True),
        _evaluating(policy.model),
        _decoder(policy, prompts, settings) as (decoder, decode),
    ):
        # the shared decoder keeps a prompt once for all its completions
        copies = samples if decoder == "shared" else 1
        kept = settings.max_new_tokens + max(map(len, prompts)) // copies
        together = min(rows, max_rows or rows_that_fit(policy, kept, processes))
        for first, last in batches(len(prompts), samples, together):
            completions = Completions(
                uniforms[first:last], policy.end_token_ids, settings, finished
            )
            problems = torch.arange(first, last, device=policy.device) // samples
            low, high = first // samples, (last - 1) // samples
            decode(prompts[low : high + 1], problems - low, completions)
            batch_ids, batch_logprobs = completions.listed()
            token_ids += batch_ids
            logprobs += batch_logprobs
    ends = set(policy.end_token_ids)
    reasons = [STOP if tokens[-1] in ends else LENGTH for tokens in token_ids]
    return Samples(token_ids, reasons, logprobs, samples, together, decoder)


@contextmanager
def _decoder(
    policy: Policy, prompts: Sequence[Sequence[int]], settings: SamplingSettings
) -> Iterator[tuple[str, Decode]]:
    """The fast decoder where it can serve the model, else the plain one, and its name."""
    from policy.attention.shared_prefix import shared_prefix_of
    from policy.attention.support import UnsupportedAttentionError, unsupported_reason
    from policy.sampling.shared_decoding import SharedDecoder

    model, new_tokens = policy.model, settings.max_new_tokens
    reason = unsupported_reason(model, max(map(len, prompts)) + new_tokens)
    with ExitStack() as stack:
        name = "plain"
        decode: Decode = partial(decode_plainly, policy)
        if reason is None:
            stack.enter_context(shared_prefix_of(model))
            try:
                name = "shared"
                decode = SharedDecoder(model, prompts, new_tokens, policy.device).decode
            except UnsupportedAttentionError as error:
                name, reason = "plain", str(error)
                stack.close()
        if reason is not None:
            warn_slow_path(model, reason)
        yield name, decode


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Sample without dropout, also from a model that is in training mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def rows_that_fit(policy: Policy, tokens_a_row: int, processes: int = 1) -> int:
    """Completions to decode together, at least 1, when each keeps this many tokens' keys.

    It depends on the machine's memory, not on what is free at the moment, so that the same run is
    always batched, and therefore rounded, in the same way. Two copies of a row's logits are counted
    too.
    """
    from policy.model.passes import memory_bytes

    config = policy.model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    numbers: int = 2 * config.num_hidden_layers * heads * width * tokens_a_row
    numbers += 2 * config.vocab_size
    share = int(memory_bytes(policy.model) * SHARE_OF_MEMORY)
    return max(1, min(MOST_ROWS, share // (numbers * policy.dtype.itemsize * processes)))


def batches(problems: int, samples: int, max_rows: int) -> Iterator[tuple[int, int]]:
    """Row ranges of at most `max_rows`, of whole problems wherever one problem fits."""
    if samples <= max_rows:
        stride = max_rows // samples * samples
        for first in range(0, problems * samples, stride):
            yield first, min(first + stride, problems * samples)
        return
    for start in range(0, problems * samples, samples):
        for first in range(start, start + samples, max_rows):
            yield first, min(first + max_rows, start + samples)


def _check(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    samples: int,
    settings: SamplingSettings,
    max_rows: int | None,
) -> None:
    if not prompts:
        raise InputError("no prompts, so nothing to sample", remedy="name a split with problems")
    if samples < 1:
        raise InputError(f"cannot sample {samples} completions", remedy="sample at least 1")
    if max_rows is not None and max_rows < 1:
        raise InputError(
            f"cannot decode {max_rows} completions at a time", remedy="take at least 1"
        )
    context = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"prompt {index} is empty", remedy="give it at least one token")
        if context and len(prompt) + settings.max_new_tokens > context:
            raise InputError(
                f"prompt {index} has {len(prompt)} tokens, which with {settings.max_new_tokens} "
                f"new ones exceeds the model's context of {context}",
                policy.name,
                "shorten the problem or lower max_new_tokens",
            )
