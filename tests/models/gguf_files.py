"""Small models as GGUF files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from claas.tiny import WEIGHTS_DIR


def embedded_gguf(path: Path, architecture: str = "qwen3") -> Path:
    """The embedded model without its tokenizer, and with heads of another size than files of its kind can tell."""
    models: Any = transformers.AutoModelForCausalLM
    return _written(path, models.from_pretrained(WEIGHTS_DIR, dtype=torch.float32), architecture, whole=False)


def random_model() -> Any:
    """A model of the kind Qwen 2 with the vocabulary of the embedded one."""
    config = transformers.Qwen2Config(
        vocab_size=4096,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return transformers.Qwen2ForCausalLM(config).eval()


def whole_gguf(path: Path) -> Path:
    """`random_model` with the tokenizer of the embedded one."""
    return _written(path, random_model(), "qwen2", whole=True)


def _written(path: Path, model: Any, architecture: str, *, whole: bool) -> Path:
    gguf: Any = pytest.importorskip("gguf")
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if whole:
        _add_tokenizer(writer, gguf.TokenType)
    kind = gguf.MODEL_ARCH.QWEN2 if config.model_type == "qwen2" else gguf.MODEL_ARCH.QWEN3
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: Any, kinds: Any) -> None:
    tokenizer = json.loads((WEIGHTS_DIR / "tokenizer.json").read_bytes())
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.CONTROL if token in special else kinds.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_chat_template((WEIGHTS_DIR / "chat_template.jinja").read_text())
