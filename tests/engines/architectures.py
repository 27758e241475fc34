"""Small random models of many architectures, with the tokenizer of the embedded model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig

from claas.tiny import WEIGHTS_DIR

VOCABULARY = 4096
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
USUAL = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": VOCABULARY}
NO_GROUPS = {**SIZES, "max_position_embeddings": 256, "vocab_size": VOCABULARY}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": VOCABULARY}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
DEEPSEEK = {**USUAL, **LATENT, "num_key_value_heads": 4, "moe_intermediate_size": 32, "n_routed_experts": 4,
            "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}  # fmt: skip
SPECIAL = {"pad_token_id": None, "bos_token_id": 0, "eos_token_id": 2}


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


def _of(kind: str, sizes: dict[str, Any], **more: Any) -> Callable[[], PreTrainedConfig]:
    return lambda: getattr(transformers, f"{kind}Config")(**{**sizes, **SPECIAL, **more})


VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
          "image_size": 28, "patch_size": 14}  # fmt: skip
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 24}

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": _of("Llama", USUAL),
    "llama-tied": _of("Llama", USUAL, tie_word_embeddings=True),
    "llama-biases": _of("Llama", USUAL, attention_bias=True, mlp_bias=True),
    "llama-llama3-rope": _of("Llama", USUAL, **_rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
    "llama-yarn": _of("Llama", USUAL, **_rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    "llama-dynamic": _of("Llama", USUAL, **_rope("dynamic", factor=2.0)),
    "llama-linear": _of("Llama", USUAL, **_rope("linear", factor=2.0)),
    "mistral": _of("Mistral", USUAL, sliding_window=None),
    "mistral-sliding": _of("Mistral", USUAL, sliding_window=24),
    "ministral": _of("Ministral", USUAL, head_dim=8, **MIXED),
    "ministral3": _of("Ministral3", USUAL, head_dim=8, **_rope(
        "yarn", factor=4.0, original_max_position_embeddings=64, llama_4_scaling_beta=0.5)),
    "qwen2": _of("Qwen2", USUAL),
    "qwen2-sliding": _of("Qwen2", USUAL, use_sliding_window=True, sliding_window=24, max_window_layers=0),
    "qwen2-mixed": _of("Qwen2", USUAL, use_sliding_window=True, sliding_window=24, max_window_layers=1),
    "qwen3": _of("Qwen3", USUAL, head_dim=16),
    "qwen3-bias": _of("Qwen3", USUAL, head_dim=8, attention_bias=True),
    "qwen3-yarn": _of("Qwen3", USUAL, head_dim=8, **_rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    "qwen3-gelu": _of("Qwen3", USUAL, head_dim=8, hidden_act="gelu"),
    "gemma": _of("Gemma", USUAL, head_dim=8),
    "gemma2": _of("Gemma2", USUAL, head_dim=8, sliding_window=24),
    "gemma3": _of("Gemma3Text", USUAL, head_dim=8, sliding_window=24, layer_types=MIXED["layer_types"]),
    "gpt2": _of("GPT2", GPT),
    "gpt2-odd": _of("GPT2", GPT, n_positions=250),
    "gpt-bigcode": _of("GPTBigCode", GPT),
    "gptj": _of("GPTJ", GPT, rotary_dim=4),
    "codegen": _of("CodeGen", GPT, rotary_dim=4),
    "gpt-neox": _of("GPTNeoX", NO_GROUPS),
    "phi": _of("Phi", USUAL),
    "phi3": _of("Phi3", USUAL, sliding_window=None),
    "phi3-sliding": _of("Phi3", USUAL, sliding_window=24),
    "opt": _of("OPT", NO_GROUPS, ffn_dim=64, word_embed_proj_dim=32),
    "opt-projected": _of("OPT", NO_GROUPS, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False),
    "falcon": _of("Falcon", NO_GROUPS, alibi=False, new_decoder_architecture=False),
    "stablelm": _of("StableLm", USUAL),
    "olmo": _of("Olmo", USUAL),
    "olmo2": _of("Olmo2", USUAL),
    "olmo3": _of("Olmo3", USUAL, sliding_window=24),
    "cohere": _of("Cohere", USUAL),
    "cohere2": _of("Cohere2", USUAL, sliding_window=24),
    "granite": _of("Granite", USUAL),
    "smollm3": _of("SmolLM3", USUAL),
    "starcoder2": _of("Starcoder2", USUAL, sliding_window=24),
    "exaone4": _of("Exaone4", USUAL, sliding_window=24, sliding_window_pattern=2),
    "glm": _of("Glm", USUAL, head_dim=8),
    "glm4": _of("Glm4", USUAL, head_dim=8),
    "xglm": _of("XGLM", {}, d_model=32, ffn_dim=64, num_layers=2, attention_heads=4, max_position_embeddings=256,
                vocab_size=VOCABULARY),
    "biogpt": _of("BioGpt", NO_GROUPS),
    "helium": _of("Helium", USUAL, head_dim=8),
    "nemotron": _of("Nemotron", USUAL),
    "persimmon": _of("Persimmon", USUAL),
    "arcee": _of("Arcee", USUAL),
    "ernie4.5": _of("Ernie4_5", USUAL, head_dim=8),
    "hunyuan": _of("HunYuanDenseV1", USUAL, head_dim=8),
    "seed-oss": _of("SeedOss", USUAL, head_dim=8),
    "apertus": _of("Apertus", USUAL),
    "diffllama": _of("DiffLlama", USUAL),
    "doge": _of("Doge", USUAL),
    "gpt-oss": _of("GptOss", USUAL, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=24),
    "mixtral": _of("Mixtral", USUAL, num_local_experts=4, sliding_window=None),
    "qwen2-moe": _of("Qwen2Moe", USUAL, **EXPERTS, shared_expert_intermediate_size=32),
    "qwen3-moe": _of("Qwen3Moe", USUAL, **EXPERTS, head_dim=8),
    "olmoe": _of("Olmoe", USUAL, num_experts=4, num_experts_per_tok=2),
    "granitemoe": _of("GraniteMoe", USUAL, num_local_experts=4, num_experts_per_tok=2),
    # models with dense and sparse layers
    "qwen3-moe-dense-first": _of("Qwen3Moe", USUAL, **EXPERTS, head_dim=8, mlp_only_layers=[0]),
    "deepseek-v2": _of("DeepseekV2", DEEPSEEK),
    "deepseek-v3": _of("DeepseekV3", DEEPSEEK),
    "glm4-moe": _of("Glm4Moe", USUAL, head_dim=8, moe_intermediate_size=32, n_routed_experts=4, num_experts_per_tok=2,
                    first_k_dense_replace=1, n_shared_experts=1),
    "dots1": _of("Dots1", USUAL, head_dim=8, moe_intermediate_size=32, n_routed_experts=4, num_experts_per_tok=2,
                 first_k_dense_replace=1, n_shared_experts=1, n_group=1, topk_group=1),
    "ernie4.5-moe": _of("Ernie4_5_Moe", USUAL, moe_num_experts=4, moe_k=2, moe_intermediate_size=32,
                        moe_layer_start_index=1),
    # beyond their original length or local window
    "phi3-longrope": _of("Phi3", USUAL, sliding_window=None, original_max_position_embeddings=128, rope_parameters={
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0],
        "original_max_position_embeddings": 128}),
    "gpt-neo": _of("GPTNeo", {}, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, window_size=128,
                   attention_types=[[["global", "local"], 1]], max_position_embeddings=256, vocab_size=VOCABULARY),
    # models that also see
    "gemma3-vision": _of("Gemma3", {}, text_config={**USUAL, **SPECIAL, "head_dim": 8, **MIXED}, vision_config=VISION,
                         mm_tokens_per_image=4),
    "mistral3": _of("Mistral3", {},
                    text_config={**USUAL, **SPECIAL, "head_dim": 8, "model_type": "mistral", "sliding_window": None},
                    vision_config={**VISION, "model_type": "pixtral", "head_dim": 8}),
    "qwen2.5-vl": _of("Qwen2_5_VL", {},
                      text_config={**USUAL, **SPECIAL, **_rope("default", mrope_section=[1, 1, 2])},
                      vision_config={"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2,
                                     "out_hidden_size": 32}),
    "gemma3n": _of("Gemma3nText", USUAL, head_dim=8, num_hidden_layers=4, num_kv_shared_layers=0, sliding_window=24,
                   layer_types=["sliding_attention"] * 3 + ["full_attention"], hidden_size_per_layer_input=8,
                   vocab_size_per_layer_input=VOCABULARY, laurel_rank=8, activation_sparsity_pattern=[0.0] * 4),
    "falcon-alibi": _of("Falcon", NO_GROUPS, alibi=True, multi_query=False),
    "rwkv": _of("Rwkv", {}, hidden_size=32, num_hidden_layers=2, context_length=256, vocab_size=VOCABULARY),
    "phimoe": _of("Phimoe", USUAL, num_local_experts=4, sliding_window=None),
    "roberta": _of("Roberta", {**NO_GROUPS, "max_position_embeddings": 258}, is_decoder=True, pad_token_id=1),
    "ctrl": _of("CTRL", {}, n_embd=32, n_layer=2, n_head=4, n_positions=256, dff=64, vocab_size=VOCABULARY),
    "openai-gpt": _of("OpenAIGPT", GPT),
    "bigbird": _of("BigBird", NO_GROUPS, is_decoder=True, attention_type="original_full"),
    "bloom": _of("Bloom", {}, hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY),
}  # fmt: skip


SEEING = ("gemma3-vision", "mistral3", "qwen2.5-vl")
REFUSED = ("falcon-alibi", "rwkv", "roberta", "openai-gpt", "bigbird", "bloom")
SERVED = tuple(name for name in CONFIGS if name not in REFUSED)


def save(name: str, directory: Path) -> Path:
    """Write a random model of a kind and its tokenizer, as they would be downloaded."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    known: Any = transformers
    model = (known.AutoModelForImageTextToText if name in SEEING else known.AutoModelForCausalLM).from_config(
        CONFIGS[name]()
    )
    model.generation_config.eos_token_id = 2
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)  # far from uniform, so that a wrong mask shows
    model.save_pretrained(directory / name)
    known.AutoTokenizer.from_pretrained(str(WEIGHTS_DIR)).save_pretrained(directory / name)
    return directory / name
