"""Whether a model can be prompted and can end a completion, from its small files only.

Loading the weights checks the same again; this check comes before any heavy work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from policy.model.load import end_token_ids, load_tokenizer, quiet_transformers
from policy.model.template import get_template
from schemas.own_template import OwnTemplate


def check_can_answer(folder: Path, template: str | OwnTemplate) -> None:
    """Raise InputError for a model without a usable chat template or without an end token."""
    tokenizer = load_tokenizer(folder)
    get_template(template).render("What is 1 + 1?", tokenizer)
    config = _generation_config(folder)
    if config is not None:
        end_token_ids(config, tokenizer, folder)


def _generation_config(folder: Path) -> Any:
    """As transformers makes it when it loads the model; None where loading will fail."""
    from transformers import AutoConfig, GenerationConfig

    with quiet_transformers():
        try:
            if (folder / "generation_config.json").is_file():
                return GenerationConfig.from_pretrained(folder, local_files_only=True)
            return GenerationConfig.from_model_config(
                AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            )
        except Exception:  # loading the model gives the reason in full
            return None
