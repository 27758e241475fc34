"""Adapters in PEFT's format: over the wire as PEFT computes them, imported once, each with its own tokenizer."""

import asyncio
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.bench.catalogue import chosen
from claas.bench.settings import BenchConfig
from claas.core.errors import InvalidInput
from claas.eval.stacks.http_client import HttpClient, Retries
from claas.eval.stacks.open_stack import open_stack
from claas.results.benchmarks import BenchmarkFiles, BenchmarkRun
from claas.results.settings import EvalConfig
from claas.tiny import WEIGHTS_DIR

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.bench

HUB = Path(__file__).parents[1] / "benchmarks" / "hub"


@pytest.fixture(scope="module")
def base() -> Any:
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR, dtype="float32").eval()


@pytest.fixture(scope="module")
def mine(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of another shape than the engine's own."""
    pytest.importorskip("peft")
    from tests.engines.peft_adapters import trained

    return trained(base, tmp_path_factory.mktemp("adapters") / "mine", r=3, lora_alpha=7, use_rslora=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def run(store: Path, folder: Path, *tasks: str, said: list[str] | None = None, **settings: Any) -> list[BenchmarkRun]:
    """The rows of a run without a chat template; `said` gets what is told."""
    from claas.bench.run import run_bench

    chat = {"apply_chat_template": False}
    places = {"store_dir": str(store), "output_dir": str(folder), "datasets_dir": str(HUB)}
    config = BenchConfig(tasks=list(tasks), **{**chat, **places, **settings})
    asked = chosen(None, tasks, limit=config.limit, num_fewshot=config.num_fewshot)
    asyncio.run(run_bench(config, asked, (said if said is not None else []).append))
    return BenchmarkFiles(folder).read_runs().runs


def choices(folder: Path, name: str, task: str = "hellaswag") -> list[tuple[list[Any], list[Any]]]:
    """What was asked, and the log probability and greediness of each choice."""
    items = BenchmarkFiles(folder).read_samples(name, task)
    return [(item.arguments, [resp[0] for resp in item.resps]) for item in items]


def test_a_folder_has_the_numbers_of_peft_and_is_imported_once(
    store: Path, tmp_path: Path, base: Any, mine: Path
) -> None:
    import torch
    import transformers
    from peft import PeftModel

    (row,) = run(store, tmp_path, "hellaswag", adapters=[str(mine)], include_base=False)
    assert row.adapter is not None
    assert row.adapter.startswith("mine-")
    assert row.adapter.endswith("@0")
    model = PeftModel.from_pretrained(copy.deepcopy(base), str(mine)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR)
    for arguments, told in choices(tmp_path, row.name):
        for (context, continuation), (logprob, _) in zip(arguments, told, strict=True):
            ids, start = tokenizer.encode(context + continuation), len(tokenizer.encode(context))
            with torch.inference_mode():
                logprobs = model(torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
            theirs = float(logprobs.gather(-1, torch.tensor(ids[start:])[:, None]).sum())
            assert logprob == pytest.approx(theirs, abs=1e-4)
    moved = shutil.copytree(mine, tmp_path / "elsewhere" / "mine")
    rows = run(store, tmp_path, "hellaswag", adapters=[str(moved)], include_base=False)
    assert rows == [row]  # the same content, so nothing was asked or made anew
    assert [path.name for path in (store / "adapters").iterdir() if path.is_dir()] == [row.adapter.removesuffix("@0")]


def test_hf_gives_what_the_wire_gives(store: Path, tmp_path: Path, mine: Path) -> None:
    tasks, few = ("hellaswag", "gsm8k"), {"limit": 2, "gen_kwargs": {"max_gen_toks": 48}}
    wire = {row.adapter: row for row in run(store, tmp_path, *tasks, adapters=[str(mine)], **few)}
    (version,) = wire.keys() - {None}
    here = {"backend": "hf", "dtype": "float32", "device": "cpu"}
    run(store, tmp_path, *tasks, adapters=[str(mine)], **few, **here)
    rows = run(store, tmp_path, *tasks, adapters=[str(version)], include_base=False, **few, **here)[2:]
    assert [(row.adapter, row.backend) for row in rows] == [(None, "hf"), (version, "hf"), (version, "hf")]
    assert {row.name for row in rows} == {"claas-tiny-hf", f"{version}-hf"}
    for row in rows:
        ours, theirs = (choices(tmp_path, each.name) for each in (wire[row.adapter], row))
        assert [asked for asked, _ in ours] == [asked for asked, _ in theirs]
        for (_, told), (_, other) in zip(ours, theirs, strict=True):
            assert [logprob for logprob, _ in told] == pytest.approx([logprob for logprob, _ in other], abs=1e-4)
            assert [greedy for _, greedy in told] == [greedy for _, greedy in other]
        assert choices(tmp_path, wire[row.adapter].name, "gsm8k") == choices(tmp_path, row.name, "gsm8k")
        assert row.metrics == wire[row.adapter].metrics
    for settings in ({}, here):
        with pytest.raises(InvalidInput, match=f"two of the adapters are {version}: name it once"):
            run(store, tmp_path, *tasks, adapters=[str(mine), str(version)], **few, **settings)


def test_mlx_gives_what_hf_gives_where_it_is_installed(store: Path, tmp_path: Path, base: Any) -> None:
    import transformers

    pytest.importorskip("mlx_lm")
    single = tmp_path / "single"
    base.save_pretrained(single)
    transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR).save_pretrained(single)
    given = {"base_model": str(single), "limit": 2}
    tasks = ("hellaswag", "gsm8k")
    (mlx,) = run(store, tmp_path / "mlx", *tasks, backend="mlx", **given)
    (hf,) = run(store, tmp_path / "hf", *tasks, backend="hf", dtype="float32", **given)
    theirs, ours = (choices(tmp_path / row.backend, row.name) for row in (mlx, hf))
    for (_, told), (_, other) in zip(theirs, ours, strict=True):
        assert [logprob for logprob, _ in told] == pytest.approx([logprob for logprob, _ in other], abs=1e-3)
    assert choices(tmp_path / "mlx", mlx.name, "gsm8k") == choices(tmp_path / "hf", hf.name, "gsm8k")


def test_another_adapter_under_the_same_name_is_another(store: Path, tmp_path: Path, base: Any, mine: Path) -> None:
    other = shutil.copytree(mine, tmp_path / "mine")
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 2}))
    rows = run(store, tmp_path, "hellaswag", adapters=[str(mine), str(other)], include_base=False)
    assert len({row.adapter for row in rows}) == 2
    assert choices(tmp_path, rows[0].name) != choices(tmp_path, rows[1].name)


def test_a_hub_id_is_read_from_the_hub_or_its_cache(
    store: Path, tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository, commit = tmp_path / "cache" / "models--somebody--gentle", "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(mine, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (row,) = run(store, tmp_path, "hellaswag", adapters=["somebody/gentle"], include_base=False, limit=1)
    assert row.adapter is not None
    assert row.adapter.startswith("gentle-")
    with pytest.raises(
        InvalidInput, match="'somebody/else' is neither a folder nor in the hub's cache here"
    ) as refused:
        run(store, tmp_path, "hellaswag", adapters=["somebody/else"])
    assert "\n" not in str(refused.value)


def test_an_adapter_of_the_apis_own_comes_before_a_hub_id(store: Path, tmp_path: Path) -> None:
    async def make() -> None:
        async with open_stack(EvalConfig(base_model="claas-tiny"), store) as stack:
            await stack.init_adapter("team/calm", seed=1)

    asyncio.run(make())
    (row,) = run(store, tmp_path, "hellaswag", adapters=["team/calm"], include_base=False, limit=1)
    assert row.adapter == "team-calm@0"


def test_an_adapter_may_be_larger_than_other_bodies(store: Path, tmp_path: Path, base: Any) -> None:
    from tests.engines.peft_adapters import trained

    large = trained(base, tmp_path / "large", r=64, target_modules="all-linear")
    assert (large / "adapter_model.safetensors").stat().st_size > 4 * 2**20
    (row,) = run(store, tmp_path, "hellaswag", adapters=[str(large)], include_base=False, limit=1)
    assert row.adapter is not None


def test_what_is_no_adapter_of_this_base_model_is_refused_in_one_line(store: Path, tmp_path: Path, mine: Path) -> None:
    def changed(name: str, **config: Any) -> str:
        folder = shutil.copytree(mine, tmp_path / name)
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return str(folder)

    (tmp_path / "empty").mkdir()
    pickled = shutil.copytree(mine, tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    record = {"base_model": "claas-tiny", "base_digest": "other"}
    ours = changed("ours")
    (Path(ours) / "version.json").write_text(json.dumps(record))
    for adapter, said in {
        str(tmp_path / "nowhere"): "adapters: the folder '.*nowhere' not found",
        str(tmp_path / "empty"): "it has no adapter_config.json",
        str(pickled): "adapter_model.bin is not read, as it could run code",
        changed("wide", r=8, base_model_name_or_path="big/one"): "trained on 'big/one', this base is 'claas-tiny': ",
        changed("dora", use_dora=True): "only a plain LoRA .* use_dora=True",
        ours: "it was trained on other weights of 'claas-tiny'",
    }.items():
        with pytest.raises(InvalidInput, match=said) as refused:
            run(store, tmp_path / "results", "hellaswag", adapters=[adapter])
        assert "\n" not in str(refused.value)
    said: list[str] = []
    same = changed("renamed", base_model_name_or_path="somebody/their-copy")
    run(store, tmp_path / "results", "hellaswag", adapters=[same], include_base=False, limit=1, said=said)
    assert any("was trained on 'somebody/their-copy', and this base is 'claas-tiny'" in line for line in said)


def test_hf_refuses_an_adapter_of_another_base_model_which_peft_only_warns_of(
    store: Path, tmp_path: Path, mine: Path
) -> None:
    from safetensors.torch import load_file, save_file

    more = shutil.copytree(mine, tmp_path / "more")
    tensors = load_file(more / "adapter_model.safetensors")
    layers = {name.replace("layers.0.", "layers.99."): each.clone() for name, each in tensors.items()}
    save_file({**tensors, **layers}, more / "adapter_model.safetensors")
    wide = shutil.copytree(mine, tmp_path / "wide")
    config = json.loads((wide / "adapter_config.json").read_text()) | {"r": 8, "base_model_name_or_path": "big/one"}
    (wide / "adapter_config.json").write_text(json.dumps(config))
    for folder, said in (
        (more, r"more is refused: trained on .*, this base is 'claas-tiny': .*layers\.99\..* is on one side only"),
        (wide, r"cannot load .*wide on claas-tiny \(it was trained on 'big/one'\): .*size mismatch"),
    ):
        with pytest.raises(InvalidInput, match=said) as refused:
            run(store, tmp_path / "results", "hellaswag", adapters=[str(folder)], include_base=False, backend="hf")
        assert "\n" not in str(refused.value)


def test_what_has_no_chat_template_is_not_asked_as_in_a_chat(store: Path, tmp_path: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "plain")
    settings = {"tokenizer": str(tmp_path / "plain"), "apply_chat_template": None}
    for asked in ({"apply_chat_template": True}, {"fewshot_as_multiturn": True}):
        with pytest.raises(
            InvalidInput, match=r"claas-tiny cannot be asked as in a chat: .*plain has no chat template"
        ):
            run(store, tmp_path / "results", "hellaswag", **{**settings, **asked})


def test_an_adapter_is_read_with_the_tokenizer_that_it_brings(store: Path, tmp_path: Path, mine: Path) -> None:
    import transformers

    own = shutil.copytree(mine, tmp_path / "own")
    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR)
    tokenizer.chat_template = "{% for each in messages %}Q: {{ each['content'] }}\nA:{% endfor %}"
    tokenizer.save_pretrained(own)
    plain = shutil.copytree(mine, tmp_path / "plain")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(plain)
    adapters = [str(own), str(plain)]
    folder = tmp_path / "results"
    rows = run(store, folder, "hellaswag", adapters=adapters, apply_chat_template=None, limit=1)
    assert {row.adapter and row.adapter.partition("-")[0]: row.tokenizer for row in rows} == {
        None: "claas-tiny",
        "own": str(own),
        "plain": "claas-tiny",
    }
    asked = {row.name: choices(folder, row.name)[0][0][0][0] for row in rows}
    assert [row.name for row in rows if asked[row.name].startswith("Q: ")] == [
        row.name for row in rows if row.tokenizer == str(own)
    ]
    (other,) = run(
        store,
        tmp_path / "set",
        "hellaswag",
        adapters=[str(own)],
        include_base=False,
        tokenizer=str(WEIGHTS_DIR),
        apply_chat_template=None,
        limit=1,
    )
    assert other.tokenizer == str(WEIGHTS_DIR)
    (same,) = (row for row in rows if row.tokenizer == str(own))
    assert (other.digest, other.name) == (same.digest, same.name)
    assert other.fingerprint != same.fingerprint


def test_an_answer_ends_at_the_end_token_of_the_adapters_own_tokenizer() -> None:
    from claas.bench.wire_lm import WireLM, WireModel
    from claas.results.records import AdapterVersion
    from claas.wire.completions import CompletionChoice, CompletionLogprobs, CompletionResponse

    weights = AdapterVersion(lora_id="own", version=0, digest="d")

    class Tokenizer:
        eos_token, eos_token_id, bos_token = "<end>", 9, None

        def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
            return [1]

    class Client:
        async def post(self, path: str, body: Any, into: type[CompletionResponse]) -> CompletionResponse:
            assert body.logprobs == 0
            logprobs = CompletionLogprobs(
                tokens=["yes", "<end>", " and", " no"],
                token_logprobs=[-1.0] * 4,
                top_logprobs=[None] * 4,
                text_offset=[0, 3, 3, 7],
            )
            choice = CompletionChoice(index=0, text="yes and no", finish_reason="length", logprobs=logprobs)
            return CompletionResponse(
                id="", created=0, model="own@0", choices=[choice], system_fingerprint="d", usage=None
            )

    class Request:
        args = ("Is it?", {"until": []})

    async def answered() -> list[str]:
        client: Any = Client()
        tokenizer: Any = Tokenizer()
        served = WireModel(client, weights, 64, tokenizer, asyncio.get_running_loop(), reads_once=True, ends_apart=True)
        return await asyncio.to_thread(WireLM(served).generate_until, [Request()])

    assert asyncio.run(answered()) == ["yes"]


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "http://there imports no adapters; or name a version"), (413, "raise max_body_bytes; or name a version")],
)
def test_an_api_that_takes_no_adapter_is_said_with_what_to_do(mine: Path, status: int, said: str) -> None:
    from claas.bench.models import models_at

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/lora/import":
            message = "the body is too large; raise max_body_bytes"
            error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
            return httpx.Response(status, json={"error": error, "detail": message})
        return httpx.Response(200, json=completion(logprobs=None))

    with pytest.raises(InvalidInput, match=said):
        asked(answer, models_at, BenchConfig(adapters=[str(mine)], include_base=False, window=64))


def test_an_endpoint_without_log_probabilities_is_said_in_one_line() -> None:
    from claas.bench.models import models_at

    with pytest.raises(InvalidInput, match="http://there gives no log probabilities of claas-tiny, so nothing") as said:
        asked(lambda request: httpx.Response(200, json=completion(logprobs=None)), models_at, BenchConfig(window=64))
    assert "\n" not in str(said.value)


def completion(logprobs: dict[str, Any] | None) -> dict[str, Any]:
    choice = {"index": 0, "text": "a", "finish_reason": "stop", "logprobs": logprobs}
    return {"id": "c", "created": 0, "model": "claas-tiny", "choices": [choice], "system_fingerprint": "d"}


def asked(answer: Any, models_at: Any, config: BenchConfig) -> None:
    async def ask() -> None:
        retries = Retries(for_s=0.0)
        transport = httpx.MockTransport(answer)
        client = HttpClient("http://there", max_concurrency=4, seed=0, transport=transport, retries=retries)
        try:
            await models_at(client, config)
        finally:
            await client.close()

    asyncio.run(ask())
