"""A source as a model in memory, the same as a folder, and whether both say the same of a text."""

import gc
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]  # os.PathLike
from torch import Tensor

from claas.bench.adapters import ADAPTER_WEIGHTS
from claas.bench.convert.distributed import dtype_name, read_tensors, renamed
from claas.bench.convert.folder import MARK, Conversion, sizes_of
from claas.bench.convert.sources import Kind, Source
from claas.core.errors import BREAKDOWNS, InvalidInput
from claas.core.files import write_atomically
from claas.core.text import one_line
from claas.models.weights import assembled, common_dtype, naming, of_gguf, quiet, save
from claas.results.records import utc_now

TEXT = """\
On 3 March 1847, at a quarter past nine, the keeper counted 27 gulls and wrote: "Wind west, sea calm." Why do they come
back? Perhaps because — as the old people of Ålesund say — a bird remembers where it was fed. 潮が満ちる。 Привет, мир!
<|im_start|>user
Sum the squares of 1, 2 and 3; answer with a number.<|im_end|>
def squares(n: int) -> list[int]:
    return [i ** 2 for i in range(1, n + 1)]  # sum(squares(3)) == 14
"""
"""Read by the source and by the folder made of it: prose, dates, other scripts, a chat's turn, code."""

BOUND = 1e-4
"""Nats by which a token's log probability may differ, in 32 bits, where no number was rounded."""

_models: Any = transformers.AutoModelForCausalLM
_configs: Any = transformers.AutoConfig
_tokenizers: Any = transformers.AutoTokenizer
_peft: Any = peft


def write_converted(source: Source, stage: Path, dtype: str | None, rotary: str | None, digest: str) -> Conversion:
    """Write model and tokenizer to `stage`, load them anew, compare, and leave the mark; the mark.

    `InvalidInput` where the source is no model, or where the folder does not say what the source says.
    """
    with quiet():
        model, tokenizer = _loaded(source, rotary)
        own = common_dtype(list(model.parameters()))
        chosen: torch.dtype = own if dtype is None else getattr(torch, dtype)
        ids = _ids(tokenizer)
        logprobs = [_logprobs(model, ids)]
        if source.kind is Kind.ADAPTER:
            model = _merged(source, model)
            logprobs.append(_logprobs(model, ids))
        moved = _largest(logprobs)
        _cast(model, chosen)
        rounded = _logprobs(model, ids)
        _cast(model, chosen)
        save(model, tokenizer, stage)
        del model
        gc.collect()  # its memory is needed now
        anew, same_ids = _read_anew(stage)
    if same_ids != ids:
        raise InvalidInput(f"{source.path}: the tokenizer cuts a text in other tokens once it is saved")
    difference = max(moved, _largest([rounded, anew]))
    if not difference <= BOUND:
        raise InvalidInput(
            f"{source.path} is not converted: a log probability of the folder differs by {difference:.2g} nats, and "
            f"{BOUND:g} would be rounding"
        )
    mark = Conversion(
        source=str(source.path),
        kind=source.kind.value,
        digest=digest,
        base=None if source.base is None else str(source.base),
        dtype=dtype_name(chosen),
        tokens=len(rounded),
        max_difference=difference,
        rounding=None if torch.promote_types(own, chosen) == chosen else _largest([logprobs[-1], rounded]),
        files=sizes_of(stage),
        packages={name: version(name) for name in ("torch", "transformers", "peft")},
        created=utc_now(),
    )
    write_atomically(stage / MARK, mark.model_dump_json(indent=1) + "\n")
    return mark


def _loaded(source: Source, rotary: str | None) -> tuple[Any, Any]:
    """The model, of an adapter with its base and not merged, and the tokenizer."""
    if source.kind is Kind.DCP:
        assert source.base is not None, "source_of has seen to it"
        with naming(source.base):
            return _of_tensors(source, source.base, rotary), _tokenizers.from_pretrained(source.base)
    if source.kind is Kind.ADAPTER:
        assert source.base is not None, "source_of has seen to it"
        with naming(source.base):
            base = _models.from_pretrained(source.base, dtype=torch.float32, use_safetensors=True)
            tokenizer = _tokenizers.from_pretrained(source.base)
        return _with_adapter(source.path, base), tokenizer
    return of_gguf(source.path, source.base)


def _of_tensors(source: Source, base: Path, rotary: str | None) -> Any:
    config = _configs.from_pretrained(base, trust_remote_code=False)
    if type(config) not in _models._model_mapping:
        raise InvalidInput(f"{base} is the config of a {config.model_type}, which is no causal language model")
    text = config.get_text_config()
    model = assembled(source.path, base, config, renamed(read_tensors(source.path), text, rotary))
    if text.tie_word_embeddings and model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        raise InvalidInput(
            f"{base} ties the output head to the embeddings (tie_word_embeddings), and {source.path} has different ones"
        )
    return model


def _with_adapter(path: Path, base: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is checked here
            model: Any = _peft.PeftModel.from_pretrained(base, str(path))
    except (*BREAKDOWNS, SafetensorError) as error:
        raise InvalidInput(f"{path} does not fit its base model: {one_line(error)}") from error
    wanted = _peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    if odd := sorted(load_file(path / ADAPTER_WEIGHTS).keys() ^ wanted.keys()):
        raise InvalidInput(
            f"{path} does not fit its base model: {len(odd)} tensors are in one of them only, such as {odd[0]}; was it "
            "trained on another?"
        )
    return model.eval()


def _merged(source: Source, model: Any) -> Any:
    try:
        return model.merge_and_unload(safe_merge=True)
    except (AttributeError, ValueError, NotImplementedError) as error:
        raise InvalidInput(f"{source.path} cannot be merged into its base model: {one_line(error)}") from error


def _largest(logprobs: list[Tensor]) -> float:
    """The largest difference between two measurements; 0 of one."""
    return float((logprobs[-1] - logprobs[0]).abs().max())


def _cast(model: Any, dtype: torch.dtype) -> None:
    """Round the weights, and not what is computed from the config, such as the frequencies of rotations."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _ids(tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer(TEXT)["input_ids"]
    return ids


@torch.inference_mode()
def _logprobs(model: Any, ids: list[int]) -> Tensor:
    """Of every token but the first after those before it, in nats, computed in 32 bits."""
    _cast(model, torch.float32)
    logits: Tensor = model.eval()(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    return logits.double().log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]


def _read_anew(stage: Path) -> tuple[Tensor, list[int]]:
    with naming(stage):
        model = _models.from_pretrained(stage, dtype=torch.float32, use_safetensors=True)
        ids = _ids(_tokenizers.from_pretrained(stage))
        return _logprobs(model, ids), ids
