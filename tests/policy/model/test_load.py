"""What a model folder must hold, what is refused, and what text a completion is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policy.model.load import (
    Policy,
    check_folder,
    decode_completion,
    fingerprint,
    load_policy,
    load_tokenizer,
)
from schemas.errors import InputError


def change_json(file: Path, **changes: Any) -> None:
    """Set these keys; None removes one."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def assert_refused(folder: Path, *parts: str) -> None:
    """Loading is refused in one line that has these parts and says where."""
    with pytest.raises(InputError) as caught:
        load_policy(folder, name="model", device="cpu")
    line = str(caught.value)
    assert "\n" not in line
    for part in (*parts, str(folder)):
        assert part in line


def test_a_policy_is_in_evaluation_mode_in_float32_and_knows_its_origin(folder: Path) -> None:
    policy = load_policy(folder, name="mine", device="cpu")
    assert not policy.model.training
    assert {p.dtype for p in policy.model.parameters()} == {torch.float32}
    assert (policy.name, policy.folder, policy.dtype) == ("mine", folder, torch.float32)
    assert policy.device == torch.device("cpu")
    assert policy.digest == fingerprint(folder)


def test_weights_stored_in_half_precision_are_loaded_in_float32(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor.bfloat16() for name, tensor in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    change_json(folder / "config.json", dtype="bfloat16")
    assert load_policy(folder, name="half", device="cpu").dtype == torch.float32


def test_loading_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_policy(folder, name="model", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_end_tokens_are_the_generation_config_s_and_the_tokenizer_s(folder: Path) -> None:
    end = load_tokenizer(folder).eos_token_id
    assert load_policy(folder, name="model", device="cpu").end_token_ids == (end,)
    change_json(folder / "generation_config.json", eos_token_id=[7, 5])
    assert load_policy(folder, name="model", device="cpu").end_token_ids == (5, 7, end)


def test_a_model_without_an_end_token_is_refused(folder: Path) -> None:
    for file in ("config.json", "generation_config.json"):
        change_json(folder / file, eos_token_id=None)
    change_json(folder / "tokenizer_config.json", eos_token=None)
    assert_refused(folder, "no end token", "generation_config.json")


def test_the_fingerprint_follows_every_file_that_decides_what_comes_out(folder: Path) -> None:
    seen = {fingerprint(folder)}
    for name in ("chat_template.jinja", "tokenizer_config.json", "generation_config.json"):
        (folder / name).write_text((folder / name).read_text() + " ")
        seen.add(fingerprint(folder))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    seen.add(fingerprint(folder))
    (folder / "config.json").rename(folder / "added_tokens.json")
    seen.add(fingerprint(folder))
    assert len(seen) == 6


def test_the_fingerprint_leaves_out_what_does_not_decide(folder: Path) -> None:
    before = fingerprint(folder)
    (folder / "README.md").write_text("about")
    (folder / "optimizer.pt").write_bytes(b"moments")
    assert fingerprint(folder) == before


def test_a_model_in_several_files_is_loaded_and_fingerprinted_whole(
    folder: Path, tmp_path: Path
) -> None:
    whole = load_policy(folder, name="whole", device="cpu")
    sharded = tmp_path / "sharded"
    whole.model.save_pretrained(sharded, max_shard_size="100KB")
    whole.tokenizer.save_pretrained(sharded)
    shards = sorted(sharded.glob("*.safetensors"))
    assert len(shards) > 1
    again = load_policy(sharded, name="sharded", device="cpu")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
    shards[1].unlink()
    assert_refused(sharded, "weights are missing", shards[1].name)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing", "no such model folder")


def test_a_folder_without_a_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert_refused(folder, "no config.json")


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_a_config_that_is_no_json_object_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_bytes(content.encode("latin-1"))
    assert_refused(folder, "config.json", "JSON")


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert_refused(folder, "no weights", "model.safetensors")


def test_pickled_weights_are_refused_and_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert_refused(folder, "pickled", "safe_serialization")


def test_an_adapter_alone_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    assert_refused(folder, "adapter", "merge")


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["BertForMaskedLM"], "model_type": "bert"},
        {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"},
        {"is_encoder_decoder": True},
    ],
)
def test_a_model_that_is_not_decoder_only_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    change_json(folder / "config.json", **changes)
    assert_refused(folder, "not a decoder-only")


def test_a_model_that_needs_code_of_its_own_is_refused_and_the_code_not_run(
    folder: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    own = {"AutoConfig": "modeling_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    change_json(folder / "config.json", model_type="own", auto_map=own)
    assert_refused(folder, "cannot be loaded")
    assert not trace.exists()


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert_refused(folder, "no tokenizer")
    with pytest.raises(InputError, match="no tokenizer"):
        load_tokenizer(folder)


def test_a_broken_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    assert_refused(folder, "the tokenizer cannot be loaded")


def test_truncated_weights_are_refused(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert_refused(folder, "cannot be loaded")


def test_weights_that_would_be_left_random_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    without = {key: tensor for key, tensor in whole.items() if key != name}
    save_file(without, file, metadata={"format": "pt"})
    assert_refused(folder, "1 are missing", name)
    save_file(whole | {name: torch.ones(3, 3)}, file, metadata={"format": "pt"})
    assert_refused(folder, "1 have another shape", name)


def test_weights_that_the_model_has_no_place_for_do_no_harm(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"extra": torch.ones(3)}, file, metadata={"format": "pt"})
    load_policy(folder, name="model", device="cpu")


def test_a_context_that_is_no_number_is_refused(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", model_max_length="x")
    assert_refused(folder, "model_max_length is 'x', not a number", "tokenizer_config.json")


def test_a_multitude_of_end_tokens_is_refused(folder: Path) -> None:
    change_json(folder / "generation_config.json", eos_token_id=list(range(1001)))
    assert_refused(folder, "eos_token_id holds 1,001 tokens", "generation_config.json")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["<one more>"])
    tokenizer.save_pretrained(folder)
    assert_refused(folder, "265 tokens", "264")


def test_an_unusable_device_is_refused(folder: Path) -> None:
    for device in ("cuda:99", "abacus"):
        with pytest.raises(InputError, match="--device cpu"):
            load_policy(folder, name="model", device=device)


def test_checking_a_folder_does_not_open_its_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    check_folder(folder)


def test_checking_and_rendering_import_neither_torch_nor_transformers() -> None:
    modules = ", ".join(f"policy.model.{name}" for name in ("load", "template", "embedded", "tiny"))
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_a_model_imports_nothing_that_only_pictures_and_assistants_need(
    folder: Path,
) -> None:
    unused = "sklearn", "scipy.optimize", "scipy.stats", "pandas"
    code = (
        "import sys; from pathlib import Path; from policy.model.load import load_policy\n"
        "load_policy(Path(sys.argv[1]), name='model', device='cpu')\n"
        f"print([name for name in {unused} if name in sys.modules])\n"
        "from transformers.utils import is_scipy_available, is_sklearn_available\n"
        "import importlib.util as look\n"
        "there = [look.find_spec(name) is not None for name in ('scipy', 'sklearn')]\n"
        "print([is_scipy_available(), is_sklearn_available()] == there)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "True"]


class TestText:
    """The text of a completion is what the model emitted."""

    @pytest.fixture
    def policy(self, tiny_policy: Callable[[str], Policy]) -> Policy:
        return tiny_policy("llama")

    def text(self, policy: Policy, *pieces: str | int) -> str:
        """Decode pieces of text, control tokens by name and ids as they are."""
        ids: list[int] = []
        for piece in pieces:
            ids += [piece] if isinstance(piece, int) else policy.tokenizer(piece).input_ids
        return decode_completion(policy.tokenizer, ids, policy.end_token_ids)

    def test_the_end_token_that_closes_it_is_left_out(self, policy: Policy) -> None:
        assert self.text(policy, "Final: 42", "<|end|>") == "Final: 42"
        assert self.text(policy, "Final: 42") == "Final: 42"

    def test_only_one_end_token_is_left_out(self, policy: Policy) -> None:
        assert self.text(policy, "Final: 42", "<|end|><|end|>") == "Final: 42<|end|>"
        assert self.text(policy, "<|end|>Final: 42") == "<|end|>Final: 42"

    def test_control_tokens_are_seen(self, policy: Policy) -> None:
        shown = self.text(policy, "Final: 42", "<|user|>", "<|end|>")
        assert shown == "Final: 42<|user|>"

    def test_spaces_and_newlines_are_left_alone(self, policy: Policy) -> None:
        text = "  Final :  42 , it 's\t\n\n "
        assert self.text(policy, text, "<|end|>") == text

    def test_bytes_that_are_not_utf8_become_replacement_characters(self, policy: Policy) -> None:
        first_half = policy.tokenizer("é").input_ids[0]
        assert self.text(policy, "4", first_half, "2") == "4�2"

    def test_an_id_without_a_token_is_not_swallowed(self, policy: Policy) -> None:
        beyond = len(policy.tokenizer)
        assert self.text(policy, "Final: 4", beyond, "2", beyond + 7) == "Final: 4�2�"

    def test_nothing_emitted_is_the_empty_text(self, policy: Policy) -> None:
        assert self.text(policy) == ""
        assert self.text(policy, "<|end|>") == ""
