"""Checkpoints of other kinds become Hugging Face folders that say the same, once, or not at all."""

import asyncio
import json
import pickle
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claas.bench.convert.__main__ import ConvertConfig, convert, main
from claas.bench.convert.folder import MARK, Conversion
from claas.core.errors import InvalidInput, StackError
from claas.core.settings import EMBEDDED
from claas.eval.stacks.open_stack import open_stack
from claas.eval.stacks.stack import ServedBase
from claas.results.records import AdapterVersion
from claas.results.settings import EvalConfig
from claas.tiny import WEIGHTS_DIR
from tests.bench.trained_store import train_calm
from tests.models.gguf_files import embedded_gguf

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
dcp: Any = pytest.importorskip("torch.distributed.checkpoint")

HEADS, HEAD_SIZE = 4, 8
Tensors = Mapping[str, Any]


def small_model(**settings: Any) -> Any:
    """A Llama of random weights with the embedded model's tokenizer."""
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=4096,
        hidden_size=HEADS * HEAD_SIZE,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
        **settings,
    )
    return transformers.LlamaForCausalLM(config).eval()


def config_of(model: Any, folder: Path) -> Path:
    """A folder with its config.json and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(WEIGHTS_DIR / name, folder)
    return folder


def save(state: Mapping[str, Any], folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(dict(state), checkpoint_id=folder, no_dist=True)
    return folder


def trained(tensors: Tensors, folder: Path) -> Path:
    """As a trainer saves it, with its optimiser and how far it got."""
    moments = {name: {"exp_avg": torch.ones(3)} for name in list(tensors)[:2]}
    return save({"app": {"model": dict(tensors), "optim": {"state": moments}}, "step": 7}, folder)


def to_folder(tmp_path: Path, source: Path | str, said: list[str] | None = None, **settings: Any) -> Path:
    settings = {"output": str(tmp_path / "out"), **settings}
    return convert(ConvertConfig(source=str(source), **settings), (said if said is not None else []).append)


def logits(model: Any, text: str = "The 7 quick-brown foxes said: don't.") -> Any:
    ids = transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR)(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return model(input_ids=ids).logits


def loaded(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def mark_of(folder: Path) -> Conversion:
    return Conversion.model_validate_json((folder / MARK).read_text())


def test_a_distributed_checkpoint_becomes_a_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    source = trained(model.state_dict(), tmp_path / "step_7")
    config, said = config_of(model, tmp_path / "config"), list[str]()
    folder = to_folder(tmp_path, source, said, config=str(config))
    assert torch.equal(logits(loaded(folder)), logits(model))
    assert mark_of(folder).max_difference == 0.0
    assert said[0].startswith(f"torch distributed checkpoint {source} in float32: of 200 tokens")
    assert (folder / "chat_template.jinja").is_file()
    monkeypatch.setattr("claas.bench.convert.weights.write_converted", None)
    assert to_folder(tmp_path, source, said, config=str(config)) == folder
    assert "is there already" in said[1]
    with pytest.raises(InvalidInput, match="was made from something else"):
        to_folder(tmp_path, source, config=str(config), dtype="bfloat16")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"is damaged \(model.safetensors changed since\)"):
        to_folder(tmp_path, source, config=str(config))


def test_without_an_output_the_folder_is_named_by_what_it_is_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config_of(small_model(), trained(small_model().state_dict(), tmp_path / "step_7"))
    assert main(["source=step_7"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("data/converted/step_7-")
    assert mark_of(tmp_path / line).dtype == "float32"
    assert main(["source=step_7", "dtype=bfloat16"]) == 0
    assert capsys.readouterr().out != f"{line}\n"


def test_rounding_is_measured_and_told_from_a_fault(tmp_path: Path) -> None:
    model, said = small_model(), list[str]()
    source = config_of(model, trained(model.state_dict(), tmp_path / "step_7"))
    folder = to_folder(tmp_path, source, said, dtype="bfloat16")
    mark = mark_of(folder)
    assert mark.max_difference <= 1e-4
    assert mark.rounding is not None
    assert 0.001 < mark.rounding < 2
    assert f"rounding to bfloat16 moved them by up to {mark.rounding:.1e}" in said[0]
    assert loaded(folder).config.dtype == torch.float32
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def as_own_names(tensors: Tensors) -> dict[str, Any]:
    """As trainers name them who write the architecture out, neighbours in a head rotated together."""

    def in_pairs(rows: Any) -> Any:
        return rows.view(-1, 2, HEAD_SIZE // 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)

    names = {
        "model.embed_tokens": "token_embedding.embedding",
        "lm_head": "output_head.proj",
        "model.": "",
        "self_attn": "attention",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "mlp_norm",
    }
    renamed: dict[str, Any] = {}
    for name, tensor in tensors.items():
        own = name
        for old, new in names.items():
            own = own.replace(old, new)
        renamed[f"_orig_mod.{own}"] = in_pairs(tensor) if ".q_proj" in own or ".k_proj" in own else tensor
    return renamed


def test_stages_of_a_pipeline_and_a_trainers_own_names_are_put_together(tmp_path: Path) -> None:
    model = small_model()
    own = as_own_names(model.state_dict())
    parts = [dict(list(own.items())[:10]), dict(list(own.items())[10:])]
    for number, part in enumerate(parts):
        save({"model": part}, tmp_path / "step_7" / f"pp{number}")
    config = str(config_of(model, tmp_path / "config"))
    with pytest.raises(InvalidInput, match="set rotary=halves where it does as transformers"):
        to_folder(tmp_path, tmp_path / "step_7", config=config)
    folder = to_folder(tmp_path, tmp_path / "step_7", config=config, rotary="pairs")
    assert torch.equal(logits(loaded(folder)), logits(model))
    shutil.rmtree(tmp_path / "step_7" / "pp1")
    with pytest.raises(InvalidInput, match=r"lacks \d+ tensors"):
        to_folder(tmp_path, tmp_path / "step_7", config=config, rotary="pairs", output=str(tmp_path / "other"))


def test_a_tied_head_may_be_left_out_and_must_not_differ(tmp_path: Path) -> None:
    tied = small_model(tie_word_embeddings=True)
    config = str(config_of(tied, tmp_path / "config"))
    tensors = {name: each for name, each in tied.state_dict().items() if name != "lm_head.weight"}
    folder = to_folder(tmp_path, save(tensors, tmp_path / "step_7"), config=config)
    assert torch.equal(logits(loaded(folder)), logits(tied))
    with pytest.raises(InvalidInput, match="ties the output head to the embeddings"):
        to_folder(tmp_path, save(small_model().state_dict(), tmp_path / "untied"), config=config, output="x")
    untied = str(config_of(small_model(), tmp_path / "untied-config"))
    with pytest.raises(
        InvalidInput, match=r"lm_head.weight; if its trainer ties that, set tie_word_embeddings to true"
    ):
        to_folder(tmp_path, tmp_path / "step_7", config=untied, output="x")


@pytest.mark.parametrize(
    "fails",
    [
        pytest.param(lambda stage: (_ for _ in ()).throw(KeyboardInterrupt()), id="killed"),
        pytest.param(lambda stage: (torch.full((199,), -1.0), []), id="another tokenizer"),
    ],
)
def test_what_is_interrupted_or_found_wrong_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[[Path], Any]
) -> None:
    source = config_of(small_model(), trained(small_model().state_dict(), tmp_path / "step_7"))
    with monkeypatch.context() as patch:
        patch.setattr("claas.bench.convert.weights._read_anew", fails)
        with pytest.raises((KeyboardInterrupt, InvalidInput)):
            to_folder(tmp_path, source)
    assert {path.name for path in tmp_path.iterdir()} == {"step_7", ".out.lock"}
    assert mark_of(to_folder(tmp_path, source)).max_difference == 0.0


def test_a_folder_that_says_something_else_is_refused_with_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claas.bench.convert import weights

    source = config_of(small_model(), trained(small_model().state_dict(), tmp_path / "step_7"))
    save_rightly = weights.save

    def save_wrongly(model: Any, tokenizer: Any, stage: Path) -> None:
        model.model.norm.weight.data *= 1.01
        save_rightly(model, tokenizer, stage)

    monkeypatch.setattr(weights, "save", save_wrongly)
    with pytest.raises(
        InvalidInput, match=r"is not converted: a log probability of the folder differs by [0-9.]+ nats"
    ):
        to_folder(tmp_path, source)
    assert not (tmp_path / "out").exists()


class Dangerous:
    def __reduce__(self) -> Any:
        return print, ("this pickle was run",)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_shard(folder: Path) -> None:
    shard = folder / "__0_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-2000])


def other_config(folder: Path) -> None:
    config_of(small_model(head_dim=16), folder)


def with_integers(folder: Path) -> None:
    shutil.rmtree(folder)
    save({"model": {"model.norm.weight": torch.ones(3, dtype=torch.int8)}}, folder)
    config_of(small_model(), folder)


def with_more(folder: Path) -> None:
    shutil.rmtree(folder)
    save({"model": {**small_model().state_dict(), "extra": torch.ones(2)}}, folder)
    config_of(small_model(), folder)


def dangerous(folder: Path) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(Dangerous()))


def no_config(folder: Path) -> None:
    for path in folder.glob("*.json"):
        path.unlink()


def encoder(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "vit"}')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("__0_0.distcp"), r"lacks 1 of 1 shards: __0_0.distcp"),
        (cut_shard, r"is damaged: __0_0.distcp end too early"),
        (other_config, r"is of another model than .*k_proj.weight is \(16, 32\) there, and \(32, 32\) by the config"),
        (with_integers, r"model.norm.weight is of int8; only float32, bfloat16, float16 are converted"),
        (with_more, r"has 1 tensors that are none of the model .* such as extra"),
        (dangerous, r"names builtins.print, which is no part of a checkpoint"),
        (no_config, r"has no config.json: set config to the folder or hub id"),
        (encoder, r"is the config of a vit, which is no causal language model"),
        (without(".metadata"), r"is no adapter in PEFT's format, torch distributed checkpoint, GGUF file"),
    ],
)
def test_what_is_no_whole_checkpoint_is_named(
    tmp_path: Path, damage: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = config_of(small_model(), trained(small_model().state_dict(), tmp_path / "step_7"))
    damage(source)
    with pytest.raises(InvalidInput, match=said) as refused:
        to_folder(tmp_path, source)
    assert "\n" not in str(refused.value)
    assert "this pickle was run" not in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_other_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = config_of(small_model(), trained(small_model().state_dict(), tmp_path / "step_7"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for settings, said in (
        ({"output": str(tmp_path / "mine")}, "exists, and is no converted folder; give another output"),
        ({"source": str(WEIGHTS_DIR)}, "is a Hugging Face folder already: use it as it is"),
        ({"source": str(tmp_path / "none")}, "source: there is no"),
        ({"source": "calm@3", "store_dir": str(tmp_path)}, "calm@3 is not in .*: set store_dir"),
        ({"config": "./none"}, "there is no folder './none'"),
    ):
        with pytest.raises(InvalidInput, match=said):
            to_folder(tmp_path, **{"source": source, **settings})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StackError, match=r"cannot write .*1 MB are needed, and 0 MB free; free or choose another"):
        to_folder(tmp_path, source)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("claas.bench.convert.sources.find_spec", lambda package: None)
    assert main([f"source={source}", f"output={tmp_path / 'out'}"]) == 2


TEXT = "The old keeper counted 27 gulls. What is rain? Rain is water that falls from the clouds."


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with version 1 of the adapter `calm`."""
    return train_calm(tmp_path_factory.mktemp("store"))


def read(model: str | Path, folder: Path, adapter: AdapterVersion | None = None) -> list[float]:
    """What a hosted engine says of the text."""

    async def run() -> list[float]:
        async with open_stack(EvalConfig(base_model=str(model)).resolved(), folder) as stack:
            return list((await stack.read(adapter or ServedBase(name=str(model)), TEXT, 512)).logprobs)

    return asyncio.run(run())


def test_a_merged_adapter_says_what_the_adapter_says(tmp_path: Path, store: Path) -> None:
    folder = to_folder(tmp_path, "calm@1", store_dir=str(store))
    assert mark_of(folder).max_difference < 1e-4
    assert mark_of(folder).dtype == "float32"
    adapted = read(EMBEDDED, store, AdapterVersion(lora_id="calm", version=1, digest=""))
    assert read(folder, tmp_path / "other-store") == pytest.approx(adapted, abs=1e-4)
    assert max(abs(one - other) for one, other in zip(adapted, read(EMBEDDED, store), strict=True)) > 0.01
    peft = shutil.copytree(store / "adapters" / "calm" / "000001", tmp_path / "peft")
    assert mark_of(to_folder(tmp_path, peft, output=str(tmp_path / "again"))).digest == mark_of(folder).digest
    base = config_of(small_model(), tmp_path / "base")
    small_model().save_pretrained(base)
    with pytest.raises(InvalidInput, match="does not fit its base model"):
        to_folder(tmp_path, peft, config=str(base), output=str(tmp_path / "third"))


def test_a_gguf_file_becomes_a_folder(tmp_path: Path) -> None:
    folder = to_folder(tmp_path, embedded_gguf(tmp_path / "tiny.gguf"), config=EMBEDDED)
    assert torch.equal(logits(loaded(folder)), logits(loaded(WEIGHTS_DIR)))
    with pytest.raises(InvalidInput, match=r"is of another model than .*\(128,\) by the config; set config to its own"):
        to_folder(tmp_path, tmp_path / "tiny.gguf", output=str(tmp_path / "other"))
    with pytest.raises(InvalidInput, match="GGUF model with architecture rwkv7 is not supported"):
        to_folder(tmp_path, embedded_gguf(tmp_path / "odd.gguf", "rwkv7"), output=str(tmp_path / "other"))
    (tmp_path / "none.gguf").write_bytes(b"GGUF")
    with pytest.raises(InvalidInput, match=r"none.gguf cannot be loaded as a causal language model"):
        to_folder(tmp_path, tmp_path / "none.gguf", output=str(tmp_path / "other"))
