"""A tiny random decoder with its own tokenizer, made in about a second from nothing but a seed.

It is for trying things out and for tests: it knows a little of the answer's format, no arithmetic.

Its samples should look like those of a real model, with answers in the valid format, wrong ones and
cut-off ones, so that all code behind them runs. Therefore the output weights hold a chain over the
last token (`Final`, `:`, space, digits, end) on top of random layers, which blur it.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.model.load import quiet_transformers
from schemas.errors import InputError

if TYPE_CHECKING:
    from torch import Generator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ARCHITECTURES = ("llama", "qwen3", "mistral", "gemma2")
SLIDING_WINDOW = 24  # tokens; mistral and gemma2 have one, shorter than most few-shot prompts
CONTEXT_TOKENS = 512
END, ASSISTANT = "<|end|>", "<|assistant|>"
CONTROL_TOKENS = (END, "<|system|>", "<|user|>", ASSISTANT)
MERGES = [("F", "i"), ("Fi", "n"), ("Fin", "a"), ("Fina", "l")]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
DIGITS = tuple("0123456789")
SPACE = "Ġ"  # how byte-level vocabularies write a space
# each token's likely successors, with their shares of the probability
CHAIN = {
    ASSISTANT: {"Final": 1.0},
    "Final": {":": 1.0},
    ":": {SPACE: 1.0},
    SPACE: {"-": 0.1, **dict.fromkeys(DIGITS, 0.09)},
    "-": dict.fromkeys(DIGITS, 0.1),
    **{digit: {END: 0.6, **dict.fromkeys(DIGITS, 0.04)} for digit in DIGITS},
}
CHAIN_STRENGTH = 9.0  # logits that a token's successors gain together, before layers blur it
EMBEDDING_SCALE = 3.0  # root mean square of an embedding; that of what layers add is about 1


def make_tiny_model(folder: Path, *, seed: int = 0, architecture: str = "llama") -> Path:
    """Write a model of 2 layers and some 60 thousand weights to `folder`, and return the folder.

    The same seed and architecture give the same files. `llama` and `qwen3` attend to everything
    before, `mistral` to the last `SLIDING_WINDOW` tokens, `gemma2` to those in every other layer
    and with soft-capped logits. Raises InputError for another architecture or an existing folder.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"no tiny architecture {architecture}", remedy=f"use one of {', '.join(ARCHITECTURES)}"
        )
    if folder.exists():
        raise InputError("this folder exists already", str(folder), "name a new one")
    tokenizer = byte_tokenizer()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with quiet_transformers():
            _random_model(tokenizer, seed, architecture).save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, one for the word `Final`, and the four control tokens of its chat."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        *("".join(merge) for merge in MERGES),
    ]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_TOKENS,
    )


def _random_model(
    tokenizer: PreTrainedTokenizerFast, seed: int, architecture: str
) -> PreTrainedModel:
    import torch
    import transformers as untyped

    transformers: Any = untyped
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": CONTEXT_TOKENS,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    own = {
        "mistral": {"sliding_window": SLIDING_WINDOW},
        "gemma2": {"sliding_window": SLIDING_WINDOW, "query_pre_attn_scalar": 16},
    }
    config = transformers.AutoConfig.for_model(architecture, **sizes, **own.get(architecture, {}))
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.float32
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
        _add_chain(model, tokenizer, generator)
    model.generation_config = transformers.GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    return model


def _add_chain(model: Any, tokenizer: PreTrainedTokenizerFast, generator: Generator) -> None:
    """Give each token a direction as its embedding, and its successors output weights along it."""
    import torch
    from torch.nn import functional as F

    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    width = embedding.shape[1]
    directions = F.normalize(torch.randn(embedding.shape, generator=generator), dim=-1)
    ids = tokenizer.get_vocab()
    links = [ids[token] for token in CHAIN]
    directions[links] = torch.linalg.qr(directions[links].T).Q.T
    embedding.copy_(directions * EMBEDDING_SCALE * width**0.5)
    for link, successors in zip(links, CHAIN.values(), strict=True):
        for successor, share in successors.items():
            gain = (CHAIN_STRENGTH + math.log(share)) / width**0.5
            head[ids[successor]] += directions[link] * gain
