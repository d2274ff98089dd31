"""Which models the fast paths can serve, and the error for a model that they cannot.

A fast path replaces the attention of a model through transformers' attention interface. That is
right only for plain softmax attention over keys and values.
"""

from __future__ import annotations

import inspect

from transformers import PreTrainedModel

# what models tell an attention function about themselves, and what does not change the result
HARMLESS = {
    "cache_position",
    "is_causal",
    "output_attentions",
    "position_ids",
    "sliding_window",  # each attention function compares it with its own lengths
    "use_cache",
}
# rotations that depend on the longest sequence of a pass: stored keys would become wrong
LENGTH_DEPENDENT_ROTATIONS = {"dynamic", "longrope"}


class UnsupportedAttentionError(Exception):
    """A fast path cannot compute what this model's attention asks for; the message says what.

    The plain path can serve such a model.
    """


def unsupported_reason(model: PreTrainedModel, total_tokens: int) -> str | None:
    """Why no fast path can serve this model, as far as its configuration says; None if one may.

    `total_tokens` is the length of the longest prompt with its completion. What only the layers
    know is found in the first pass, which raises UnsupportedAttentionError.
    """
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return "its attention cannot be exchanged"
    if getattr(model, "_is_stateful", False):
        return "it keeps a state besides keys and values"
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return "it computes the logits of every token"
    kinds = set(getattr(config, "layer_types", None) or ())
    if odd := sorted(kinds - {"full_attention", "sliding_attention"}):
        return f"it has layers of the kind {', '.join(odd)}"
    window = getattr(config, "sliding_window", None)
    if window and window < total_tokens:
        return f"it attends to the last {window} tokens only"
    rope = getattr(config, "rope_parameters", None) or {}
    # one set of parameters, or one for each kind of layer
    parts = [part for part in (rope, *rope.values()) if isinstance(part, dict)]
    rotations = {str(part.get("rope_type")) for part in parts}
    if odd := sorted(rotations & LENGTH_DEPENDENT_ROTATIONS):
        return f"its rotation {odd[0]} depends on the longest sequence"
    return None
