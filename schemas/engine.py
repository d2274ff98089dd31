"""Which engine turned prompts into completions: evidence, which refuses no comparison by itself."""

from __future__ import annotations

from typing import Literal

from schemas.frozen import Frozen

NOT_KNOWN = "not known"
EngineKind = Literal["in_process", "openai_server"]
Gives = Literal["tokens", "text"]
COMPARED = ("name", "version", "dtype")  # what `compare --same-engine` asks to be equal


class EngineRecord(Frozen):
    """One engine, as far as it can be known. Where a server answers is never said.

    - `name`, `version`: the program that computed, such as vllm 0.32.0.
    - `dtype`: what it computed in.
    - `model_digest`: the fingerprint of the model's files (`policy.model.load`).
    - `answers_as`: what a server calls the model in its answers.
    - `prompts`: how the model was asked, by token ids or by text.
    - `tokenizer`: the digest of the tokenizer that rendered them here; empty without one.
    - `gives`: `tokens` with ids and log-probabilities, or `text` alone.
    """

    kind: EngineKind
    name: str
    version: str = NOT_KNOWN
    dtype: str = NOT_KNOWN
    model_digest: str = NOT_KNOWN
    answers_as: str = ""
    prompts: Gives = "tokens"
    tokenizer: str = ""
    gives: Gives = "tokens"

    @property
    def words(self) -> str:
        """The engine in one line, as it stands beside a rate."""
        name = f"engine {NOT_KNOWN}" if self.name == NOT_KNOWN else self.name
        version = f", version {NOT_KNOWN}" if self.version == NOT_KNOWN else f" {self.version}"
        dtype = f"dtype {NOT_KNOWN}" if self.dtype == NOT_KNOWN else self.dtype
        known = self.model_digest
        digest = known if known == NOT_KNOWN else known[:12]
        return f"{name}{version}, {dtype}, model digest {digest}"


def differing_engines(first: EngineRecord | None, second: EngineRecord | None) -> tuple[str, ...]:
    """The parts in which two engines are not known to be the same; all where one is not known."""
    if first is None or second is None:
        return COMPARED
    pairs = {part: (getattr(first, part), getattr(second, part)) for part in COMPARED}
    return tuple(part for part, (a, b) in pairs.items() if a != b or a == NOT_KNOWN)
