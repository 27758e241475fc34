"""A model in memory of a GGUF file or of tensors, each of which must have its place; and the same as a folder."""

import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging as transformers_logging

from claas.core.errors import BREAKDOWNS, ClaasError, InvalidInput, MissingExtra, StackError
from claas.core.files import require_room, writing
from claas.core.text import one_line

_models: Any = transformers.AutoModelForCausalLM
_configs: Any = transformers.AutoConfig
_tokenizers: Any = transformers.AutoTokenizer


def of_gguf(path: Path, base: Path | None = None) -> tuple[Any, Any]:
    """The model in float32, and the tokenizer; `base` is a folder that has config and tokenizer in place of the file.

    The model is one like any other: the one that transformers unpacks counts as compressed, and is neither cast nor
    saved.
    """
    if find_spec("gguf") is None:
        raise MissingExtra("gguf", "gguf")
    own: dict[str, Any] = {"gguf_file": path.name}
    with naming(path):
        known = {} if base is None else {"config": _configs.from_pretrained(base)}
        unpacked, told = _models.from_pretrained(
            path.parent,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **own,
            **known,
        )
        _require_all(path, base or path, told)
        place, settings = (path.parent, own) if base is None else (base, {})
        tokenizer = _tokenizers.from_pretrained(place, **settings)
        config = unpacked.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        return assembled(path, base or path, config, unpacked.state_dict()), tokenizer


def assembled(path: Path, configured_in: Path, config: Any, tensors: Mapping[str, Tensor]) -> Any:
    """A model of the config's class with the tensors of `path`, each of which must have its place."""
    kind: Any = _models._model_mapping[type(config)]
    model, told = kind.from_pretrained(
        None,
        config=config,
        state_dict=dict(tensors),
        dtype=common_dtype(list(tensors.values())),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # which are told, too
    )
    _require_all(path, configured_in, told)
    return model


def _require_all(path: Path, configured_in: Path, told: Any) -> None:
    """Every tensor of the model was there, in its shape, and no other."""
    config = f"the config in {configured_in}"
    if odd := sorted(told["mismatched_keys"]):
        name, found, wanted = odd[0]
        raise InvalidInput(
            f"{config} is of another model than {path}: {name} is {tuple(found)} there, and {tuple(wanted)} by "
            "the config; set config to its own"
        )
    if missing := sorted(told["missing_keys"]):
        tied = "; if its trainer ties that, set tie_word_embeddings to true in config.json"
        raise InvalidInput(
            f"{path} lacks {len(missing)} tensors of the model that {config} is of, such as {missing[0]}"
            + (tied if missing == ["lm_head.weight"] else "")
        )
    if more := sorted(told["unexpected_keys"]):
        raise InvalidInput(
            f"{path} has {len(more)} tensors that are none of the model that {config} is of, such as {more[0]}"
        )


def common_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """The narrowest that holds all of them as they are."""
    common = tensors[0].dtype
    for tensor in tensors:
        common = torch.promote_types(common, tensor.dtype)
    return common


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write both to `folder`, as transformers does; `StackError` where there is no room."""
    with writing(folder):
        try:
            require_room(folder, sum(each.numel() * each.element_size() for each in model.parameters()))
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except SafetensorError as error:
            raise StackError(f"cannot write {folder}: {one_line(error)}") from error


@contextmanager
def naming(path: Path) -> Generator[None, None, None]:
    """What transformers says of files that are no model, in one line that names them."""
    try:
        yield
    except ClaasError:
        raise
    except (*BREAKDOWNS, SafetensorError, struct.error) as error:
        raise InvalidInput(f"{path} cannot be loaded as a causal language model: {one_line(error)}") from error


@contextmanager
def quiet() -> Generator[None, None, None]:
    """What transformers reports while it loads is checked here, and said in one line."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
