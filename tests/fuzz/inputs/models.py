"""Nearly right models: names, headers of weights, small files of a folder, chat templates."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.inputs.text import ANY_TEXT, ODD_JSON, damaged, one_in, record

PARTS = (
    "default", "models:", "runs:", "/", "//", "..", ".", "~", "~nobody-here", "a", "owner/name",
    "@", "champion", "candidate", "1", "0", "-1", "9" * 400, "x" * 5000, "\0", "\n", "\udcff",
    "é", "\u202e", "%2e%2e", "?", "#", "'", '"', ";", " ", "\\", "file://", "http://localhost/",
    "s3://b/", "--", "${HOME}", "/dev/null", "/dev/zero", "/proc/self", "threeloops",
    "models:/threeloops@champion", "models:/a/1",
)  # fmt: skip
SIZE = st.sampled_from(
    (
        "0",
        "1",
        "-1",
        "2",
        "64",
        "264",
        "1000000",
        "99999999999999999999",
        "1.5",
        "true",
        "null",
        '"64"',
        "[64, 64]",
        "[]",
        "{}",
    )
)
# types of numbers with their bytes, and shapes with how many numbers they hold
TYPES = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1}
SHAPES = {"[2, 2]": 4, "[4]": 4, "[2]": 2, "[1, 1, 1, 1]": 1, "[]": 1, "[0]": 0}
COUNTS = ("0", "1", "2", "8", "16", "-1", "1.5", "null", '"1"', "4294967296", "9" * 30, "true")
TENSORS = ("a.0.weight", "a.1.weight", "b.weight")
SIZED = (
    "num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "eos_token_id", "rms_norm_eps",
    "rope_parameters", "tie_word_embeddings", "text_config", "quantization_config",
    "torch_dtype", "dtype", "model_type", "architectures", "auto_map", "is_encoder_decoder",
    "layer_types", "transformers_weights", "sliding_window", "hidden_act", "attention_bias",
    "bos_token_id", "id2label",
)  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "head_dim": 16,
    "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 264,
    "num_key_value_heads": 2, "eos_token_id": 260, "max_position_embeddings": 512,
}  # fmt: skip
TOKENIZER_CONFIG = {
    "backend": "tokenizers", "eos_token": "<|end|>", "tokenizer_class": "TokenizersBackend",
}  # fmt: skip
PIECES = (
    "{{ messages }}", "{{ messages[0]['content'] }}", "{% for m in messages %}", "{% endfor %}",
    "{{ m }}", "{% if a %}", "{% else %}", "{% endif %}", "{{ raise_exception('no') }}",
    "{{ 'a' * 10**9 }}", "{{ range(10**9) }}", "{% include 'x' %}", "{% import 'x' as y %}",
    "{{ ''.__class__.__mro__ }}", "{{ 1/0 }}", "{{ messages|tojson }}", "{{ 9**9**9 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% generation %}", "{% endgeneration %}",
    "{% set x = namespace(a=1) %}", "{% set x.a = 2 %}", "{{ x }}", "{{ strftime_now('%Y') }}",
    "{{ strftime_now(5) }}", "{% break %}", "{{ '%s'|format(messages) }}",
    "{{ '%1000000000d' % 5 }}", "{{ '{:1000000000}'.format(5) }}", "{# ", " #}", "{{", "}}",
    "{%", "%}", "\0", "{{ lipsum(n=100000) }}", "{{ cycler }}", "{{ self }}", "{{ caller() }}",
    "{{ eos_token }}", "é\u202e", "{% raw %}", "{{ dict(a=1)|xmlattr }}",
    "{{ messages|map('upper')|list }}", "{{ 'a'|center(10**9) }}",
    "{{ ('a' * 10**6)|wordwrap(1) }}", "{% filter upper %}", "{% endfilter %}", "{{ loop }}",
    "-", "\n",
)  # fmt: skip


def model_name() -> SearchStrategy[bytes]:
    texts = st.lists(st.sampled_from(PARTS) | ANY_TEXT, max_size=4).map("".join)
    # half a surrogate pair becomes bytes that are no text
    return texts.map(lambda text: text.encode("utf-8", "surrogatepass"))


@st.composite
def weights(draw: DrawFn) -> bytes:
    """A header, its length and bytes of numbers that are most often as many as it says."""
    tensors: dict[str, SearchStrategy[str]] = {}
    odd, size = st.sampled_from(COUNTS), 0
    sizes = st.lists(odd, max_size=3).map(lambda found: f"[{', '.join(found)}]")
    for name in draw(st.lists(st.sampled_from(TENSORS), max_size=3, unique=True)):
        kind, shape = draw(st.sampled_from(sorted(TYPES))), draw(st.sampled_from(sorted(SHAPES)))
        end = size + TYPES[kind] * SHAPES[shape]
        right = {"dtype": f'"{kind}"', "shape": shape, "data_offsets": f"[{size}, {end}]"}
        if draw(one_in(4)):
            part = draw(st.sampled_from(sorted(right)))
            right[part] = draw(sizes if part != "dtype" else st.sampled_from(('"F4"', '"X"', "5")))
        tensors[name] = record({part: st.just(text) for part, text in right.items()})
        size = end
    if draw(st.integers(0, 2)) == 0:
        tensors["__metadata__"] = record({"format": st.just('"pt"')})
    header = draw(record(tensors)).encode("utf-8", "surrogatepass")
    length = len(header) + draw(st.sampled_from((0, 0, 0, 0, 1, -1, 2**40, 2**63)))
    content = max(length, 0).to_bytes(8, "little") + header + bytes(size)
    return draw(damaged(content)) if draw(one_in(6)) else content


def template() -> SearchStrategy[bytes]:
    pieces = st.lists(st.sampled_from(PIECES) | ANY_TEXT, max_size=6).map("".join)
    return pieces.map(lambda text: text.encode("utf-8", "replace"))


@st.composite
def _settings(draw: DrawFn, base: Mapping[str, object], names: tuple[str, ...]) -> str:
    """A JSON object in which one or two settings are odd."""
    pairs = {name: json.dumps(value) for name, value in base.items()}
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(names))
        fate = draw(st.integers(0, 9))
        if fate == 0:
            pairs.pop(name, None)
        else:
            pairs[name] = draw(SIZE if fate < 6 else ODD_JSON)
    return "{" + ", ".join(f'"{name}": {value}' for name, value in pairs.items()) + "}"


SHARDS = (
    '"model.safetensors"', '"../x.safetensors"', '"a.bin"', '""', '"/etc/passwd"', '"."',
    '"a/../model.safetensors"', '"a\\u0000.safetensors"', '"\\ud800.safetensors"',
)  # fmt: skip
TEMPLATES = ('"{{ messages }}"', '[{"name": "default", "template": "x"}]', "5", '{"a": "b"}', "[]")
TOKENIZERS = (
    "{}", "", "[" * 99999, '{"version": "1.0"}', '{"model": null, "added_tokens": [{}]}',
)  # fmt: skip
SMALL = {
    "config.json": _settings(CONFIG, SIZED),
    "generation_config.json": _settings(
        {"eos_token_id": 260},
        ("eos_token_id", "temperature", "top_k", "max_length", "cache_implementation"),
    ),
    "tokenizer_config.json": _settings(
        TOKENIZER_CONFIG,
        ("eos_token", "tokenizer_class", "chat_template", "bos_token", "model_max_length",
         "added_tokens_decoder", "fast_tokenizer_files", "auto_map", "extra_special_tokens",
         "additional_special_tokens", "padding_side"),
    ),
    "special_tokens_map.json": _settings(
        {"eos_token": "<|end|>"}, ("eos_token", "pad_token", "additional_special_tokens")
    ),
    "added_tokens.json": record({"<|x|>": SIZE}),
    "chat_template.json": record({"chat_template": st.sampled_from(TEMPLATES)}),
    "model.safetensors.index.json": record(
        {"weight_map": record({"a.weight": st.sampled_from(SHARDS)})}
    ),
    "adapter_config.json": st.just("{}"),
    "tokenizer.json": st.sampled_from(TOKENIZERS),
}  # fmt: skip
# files that a folder may be without
WEIGHTS = "model.safetensors"
GONE = (WEIGHTS, "tokenizer.json", "generation_config.json", "chat_template.jinja")


@st.composite
def model_folder(draw: DrawFn) -> bytes:
    """Names and texts of the files that are changed in the tiny model."""
    files: dict[str, str | None] = {}
    names = st.lists(st.sampled_from(sorted(SMALL)), min_size=1, max_size=2, unique=True)
    for name in draw(names):
        files[name] = draw(SMALL[name]).encode("utf-8", "replace").decode("latin-1")
    if "model.safetensors.index.json" in files:
        files[WEIGHTS] = None  # which would be taken in place of the index
    if draw(st.integers(0, 9)) == 0:
        files[draw(st.sampled_from(GONE))] = None
    if draw(st.integers(0, 9)) == 0:
        files[WEIGHTS] = draw(weights()).decode("latin-1")
    return json.dumps(files).encode()
