"""lm-eval's own models in place of an API: hf, vllm and mlx, which load the base model in this process."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from claas.bench.adapters import TEXT_FILES, PeftFolder, fetched, is_adapter_folder, peft_folder, place_of, stored
from claas.bench.model import Model, NamedTokenizer, Tell, adapter_tokenizer, base_tokenizer, warn_of_cpu
from claas.bench.settings import HF, MLX, VLLM, BenchConfig
from claas.core.errors import BREAKDOWNS, InvalidInput
from claas.core.files import sha256_of
from claas.core.text import one_line


@dataclass(frozen=True)
class _Backend:
    """What lm-eval calls a backend, and what it takes. `module` registers it where lm-eval does not know it itself."""

    called: str
    packages: tuple[str, ...]
    install: str
    module: str = "lm_eval.models"


_BACKENDS = {
    HF: _Backend("hf", ("torch", "transformers", "accelerate", "peft"), "'lm-eval[hf]==0.4.13' peft"),
    VLLM: _Backend("vllm", ("vllm",), "'lm-eval[vllm]==0.4.13'"),
    MLX: _Backend("mlxlm", ("mlx_lm",), "mlx-lm", "mlx_lm.evaluate"),
}

_WEIGHT_FILES = ("*.safetensors", "*.bin")
_RANKS_OF_VLLM = (8, 16, 32, 64, 128, 256, 320, 512)
_HF_BATCH = 16


def models_here(config: BenchConfig, tell: Tell) -> list[Model]:
    """The base model and the adapters of `config`, none of which is loaded yet. `InvalidInput` on what cannot be."""
    _require_installed(config.backend)
    named = base_tokenizer(config.read_with)
    folder = Path(place_of(config.model))
    if not folder.is_dir():
        folder = fetched(config.model, (*TEXT_FILES, *_WEIGHT_FILES))
    if config.backend == HF and _device(config) == "cpu":
        warn_of_cpu(config.model, tell)
    digest = _digest(folder)
    models = [_model(config, folder, digest, None, named)] * config.include_base
    for name in config.adapters:
        adapter = adapter_named(config, name)
        if (doubt := adapter.doubt(config.model, None)) is not None:
            tell(doubt)
        own = adapter_tokenizer(adapter, named) if config.tokenizer is None else named
        models.append(_model(config, folder, digest, adapter, own))
    return models


def adapter_named(config: BenchConfig, name: str) -> PeftFolder:
    """An adapter's files: a folder, a hub id, or a version that is kept in `store_dir`."""
    is_version = not is_adapter_folder(name) and ("@" in name or "/" not in name)
    return stored(name, Path(config.store_dir)) if is_version else peft_folder(name)


def model_arguments(
    config: BenchConfig, base: str, adapter: PeftFolder | None = None, tokenizer: str | None = None
) -> tuple[str, dict[str, Any]]:
    """What lm-eval calls the backend, and what it is given: the folder of the base model, and of an adapter."""
    called = _BACKENDS[config.backend].called
    if config.backend == MLX:
        return called, {"path_or_hf_repo": base}
    arguments: dict[str, Any] = {
        "pretrained": base,
        "tokenizer": tokenizer,
        "dtype": config.dtype,
        "trust_remote_code": False,
        "max_length": config.window,
    }
    if config.backend == HF:
        arguments |= {"batch_size": config.batch_size or _HF_BATCH, "device": config.device}
        arguments |= {"peft": None if adapter is None else str(adapter.folder)}
    else:
        arguments |= {"batch_size": config.batch_size or "auto"}
        if adapter is not None:
            arguments |= {"lora_local_path": str(adapter.folder), "max_lora_rank": _room_for(adapter)}
    return called, {name: value for name, value in arguments.items() if value is not None}


def _room_for(adapter: PeftFolder) -> int:
    """The smallest rank that vLLM can be told to hold, and the adapter fits."""
    rank = adapter.config.get("r")
    room = next((each for each in _RANKS_OF_VLLM if isinstance(rank, int) and each >= rank), None)
    if room is None:
        raise InvalidInput(f"{adapter.name} has the rank {rank!r}, and vLLM holds up to {_RANKS_OF_VLLM[-1]}")
    return room


def _model(
    config: BenchConfig, folder: Path, base_digest: str, adapter: PeftFolder | None, named: NamedTokenizer
) -> Model:
    called, arguments = model_arguments(config, str(folder), adapter, named.place)
    digest = base_digest if adapter is None else hashlib.sha256(f"{base_digest} {adapter.digest}".encode()).hexdigest()
    name = config.model if adapter is None else adapter.version
    return Model(
        name=name,
        adapter=None if adapter is None else name,
        digest=digest,
        named=named,
        mark=(config.backend, config.dtype, config.device, config.batch_size, config.window),
        lm=partial(_loaded, config, called, arguments, adapter),
    )


def _loaded(config: BenchConfig, called: str, arguments: Mapping[str, Any], adapter: PeftFolder | None) -> Any:
    """lm-eval's model; `InvalidInput` where it cannot be loaded, or takes less of the adapter than there is."""
    backend = _BACKENDS[config.backend]
    if config.backend == HF:
        import_module("transformers").utils.logging.disable_progress_bar()
        arguments = {**arguments, "device": _device(config)}
    what = config.model if adapter is None else f"{adapter.name} on {config.model}"
    try:
        import_module(backend.module)
        lm = import_module("lm_eval.api.registry").get_model(called).create_from_arg_obj(arguments)
    except BREAKDOWNS as error:
        trained_on = None if adapter is None else adapter.config.get("base_model_name_or_path")
        of = f" (it was trained on {trained_on!r})" if trained_on else ""
        raise InvalidInput(f"backend={config.backend} cannot load {what}{of}: {one_line(error)}") from error
    if config.backend == HF and adapter is not None:
        _require_whole(lm.model, adapter, config.model)
    return lm


def _device(config: BenchConfig) -> str:
    """Where `backend=hf` runs."""
    return config.device or ("cuda" if import_module("torch").cuda.is_available() else "cpu")


def _require_whole(model: Any, adapter: PeftFolder, base_model: str) -> None:
    """Require that PEFT has taken every tensor of the file: of layers that it does not find it only warns."""
    with import_module("safetensors").safe_open(str(adapter.weights), "pt") as file:
        wanted = {name for name in file.keys() if _is_matrix(name)}  # noqa: SIM118 (it is no mapping)
    made = {name.replace(".default.", ".") for name, _ in model.named_parameters() if _is_matrix(name)}
    if odd := sorted(wanted ^ made):
        raise InvalidInput(
            f"{adapter.name} is refused: trained on {adapter.config.get('base_model_name_or_path')!r}, this base is "
            f"{base_model!r}: {odd[0]} is on one side only"
        )


def _is_matrix(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def _require_installed(name: str) -> None:
    backend = _BACKENDS[name]
    missing = [package for package in backend.packages if find_spec(package) is None]
    if missing:
        raise InvalidInput(f"backend={name} needs {missing[0]}: pip install {backend.install}")


def _digest(folder: Path) -> str:
    """Of the weights of a base model, by the names and contents of their files."""
    files = sorted(path for pattern in _WEIGHT_FILES for path in folder.glob(pattern))
    if not files:
        raise InvalidInput(f"{folder} holds no weights")
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
