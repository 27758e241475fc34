"""Loss on held-out text: the numbers by hand and by transformers, and the same ones in a run and from the command."""

import asyncio
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from claas.bench.loss.__main__ import LossConfig, main
from claas.bench.loss.documents import SHIPPED, Document, documents_of
from claas.bench.loss.metric import DocumentLoss, EvalLoss, Loss
from claas.core.errors import InvalidInput
from claas.core.settings import EMBEDDED, TrainingConfig
from claas.eval.runner import run_harness
from claas.eval.stacks.open_stack import open_stack
from claas.eval.stacks.stack import Reading, ServedBase
from claas.results.settings import EvalConfig
from claas.tiny import WEIGHTS_DIR
from tests.bench.held_out import conversations
from tests.eval.metrics.subjects import subject
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.fakes.stack import FakeStack

TEXT = SHIPPED.read_text(encoding="utf-8")
LONG = " ".join(json.loads(line)["text"] for line in TEXT.splitlines()[:2]) + " The café cost 5 €. 🐝🐝"


def test_the_shipped_text_is_drawn_from_the_embedded_models_corpus() -> None:
    assert conversations() == TEXT


def test_the_numbers_are_over_all_predicted_tokens_and_bytes() -> None:
    rows = [DocumentLoss.of("a", " bcd", [-1.0, -2.0]), DocumentLoss.of("b", "é", [-6.0]), DocumentLoss("c", error="x")]
    loss = Loss.over(rows)
    assert loss.loss == 3.0
    assert loss.perplexity == pytest.approx(math.exp(3.0))
    assert loss.bits_per_byte == pytest.approx(9.0 / math.log(2) / 6)


def test_perplexity_is_capped_and_the_loss_is_not() -> None:
    loss = Loss.over([DocumentLoss.of("a", "b", [-30.0])])
    assert (loss.loss, loss.perplexity) == (30.0, math.exp(20.0))


def test_where_every_document_was_lost_nothing_was_measured() -> None:
    assert Loss.over([DocumentLoss("a", error="x")]) == Loss(None, None, None)


def test_a_lost_document_is_counted_and_left_out() -> None:
    stack = FakeStack(lost={"d e"}, scores={"a b c": (-1.0, -3.0)})
    metric = EvalLoss((Document("one", "a b c"), Document("two", "d e")), window=8)
    measured = asyncio.run(metric.measure(subject(stack)))
    assert measured.values == {
        "eval_loss": {"loss": 2.0, "perplexity": math.exp(2.0), "bits_per_byte": 4 / math.log(2) / 4, "window": 8.0}
    }
    assert measured.counts["eval_loss"].model_dump() == {"planned": 2, "scored": 1, "errored": 1, "truncated": 0}
    read, lost = measured.rollouts
    assert (read.item, read.prompt, read.response, read.logprobs) == ("one", "a", " b c", [-1.0, -3.0])
    assert lost.error is not None


def test_it_is_due_at_baseline_and_after_every_so_many_updates() -> None:
    metric = EvalLoss((Document("one", "a b"),), interval=3)
    assert [step for step in (None, *range(7)) if metric.due(step, frozenset())] == [None, 2, 5]


def read(text: str, window: int, folder: Path) -> Reading:
    """What the embedded model says of a text."""

    async def run() -> Reading:
        async with open_stack(EvalConfig(base_model=EMBEDDED).resolved(), folder / "store") as stack:
            return await stack.read(ServedBase(name=EMBEDDED), text, window)

    return asyncio.run(run())


def by_transformers(text: str, window: int) -> list[float]:
    """The same by the model's own code, each token predicted once and from as much of what is before it as fits."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR, dtype=torch.float32).eval()
    ids = transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR)(text)["input_ids"]
    logprobs = list[float]()
    while (known := len(logprobs) + 1) < len(ids):
        end = min(known + window - 1, len(ids))
        part = torch.tensor(ids[max(0, end - window) : end])
        with torch.no_grad():
            scores = torch.log_softmax(model(part[None]).logits[0, :-1].double(), dim=-1)
        of_part = scores.gather(1, part[1:, None])[:, 0].tolist()
        logprobs += of_part[len(of_part) - (end - known) :]
    return logprobs


@pytest.mark.parametrize("window", [1024, 96, 33])
def test_every_token_has_the_log_probability_that_transformers_gives_it(tmp_path: Path, window: int) -> None:
    expected = by_transformers(LONG, window)
    got = read(LONG, window, tmp_path)
    assert list(got.logprobs) == pytest.approx(expected, abs=1e-4)
    assert LONG.startswith(got.given)
    assert len(got.tokens) == len(expected) > 300
    assert read(LONG, window, tmp_path) == got


def test_a_text_of_one_token_is_refused_by_the_documents_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"text": "The sea is deep."}\n{"text": "a"}\n')
    assert main([f"data={path}", f"store_dir={tmp_path / 'store'}"]) == 2
    assert "notes.jsonl:2: the text is a single token" in capsys.readouterr().err
    assert main([f"data={path}", "limit=1", "window=4096", f"store_dir={tmp_path / 'store'}"]) == 2
    assert "window=4096 is beyond the 2048 tokens" in capsys.readouterr().err


def test_the_command_finds_what_the_metric_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    mine = small_preferences(tmp_path / "mine", "calm")
    metric = "{_target_: claas.bench.loss.metric.EvalLoss.from_file, documents: 4, interval: 2, window: 100}"
    (mine / "metrics.yaml").write_text(f"metrics: {{eval_loss: {metric}}}\n")
    config = EvalConfig(
        preferences=["calm"],
        metrics=["eval_loss"],
        num_steps=2,
        batch_size=1,
        max_tokens=8,
        training=TrainingConfig(steps_per_batch=1),
        plots=False,
        output_dir=str(tmp_path / "run"),
        config_dir=str(mine),
    )
    run = asyncio.run(run_harness(config))
    require_recomputable(run.run_dir)
    history = run.preferences["calm"]
    assert history.baseline is not None
    assert "eval_loss" not in history.steps[0].eval
    store = f"store_dir={run.run_dir / 'stack'}"
    adapters = [history.baseline.adapter, history.steps[1].adapter]
    names = ",".join(adapter.model for adapter in adapters)
    assert main([store, f"adapters=[{names}]", "limit=4", "window=100"]) == 0
    *lines, told = capsys.readouterr().out.splitlines()
    found = json.loads(told)
    base, first, second = found["models"]
    assert (found["window"], [model["step"] for model in found["models"]]) == (100, [0, 0, 2])
    assert [model["digest"] for model in (first, second)] == [adapter.digest for adapter in adapters]
    for model, record in ((base, history.baseline), (first, history.baseline), (second, history.steps[1])):
        recorded = cast(dict[str, float], record.eval["eval_loss"])
        for name in ("loss", "perplexity", "bits_per_byte"):
            assert model[f"eval/{name}"] == pytest.approx(recorded[name], rel=1e-6)
    assert second["eval/loss"] != first["eval/loss"]
    assert lines[2].startswith(
        f"[step 2] eval/loss={second['eval/loss']:.4f} | eval/perplexity={second['eval/perplexity']:.4f} | "
    )


def written(folder: Path, name: str, rows: Sequence[Any]) -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_file_of_rows_has_a_document_in_each(tmp_path: Path) -> None:
    path = written(tmp_path, "notes.jsonl", [{"text": "one"}, {"text": "two", "id": 2}])
    assert documents_of(path) == (Document("notes.jsonl:1", "one"), Document("notes.jsonl:2", "two"))
    assert documents_of(path, limit=1) == (Document("notes.jsonl:1", "one"),)
    pages = tmp_path / "notes.parquet"
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({"page": ["one", "two"]}), pages)
    assert documents_of(pages, "page") == (Document("notes.parquet:1", "one"), Document("notes.parquet:2", "two"))


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one\n\ntwo\n")
    assert documents_of(tmp_path / "notes.txt") == (Document("notes.txt", "one\n\ntwo\n"),)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.jsonl", '{"text": "one"}\n{"text": ', "notes.jsonl:2 is not JSON"),
        ("notes.jsonl", '{"text": "one"}\n{"text": " \\n"}', "notes.jsonl:2 is an empty text"),
        ("notes.jsonl", '{"page": "one", "id": 1}', "no text in a field 'text'; its fields: page, id"),
        ("notes.jsonl", '{"text": 7}', "no text in a field 'text'"),
        ("notes.jsonl", "[1]", "no text in a field 'text'; its fields: none"),
        ("notes.jsonl", "\n\n", "has no documents"),
        ("notes.txt", "", "notes.txt is an empty text"),
        (
            "notes.txt",
            "a" * (2**20 + 1),
            "notes.txt has 1048577 bytes, and an API takes 1048576 at most; split it",
        ),
        ("notes.parquet", "PAR1", "notes.parquet cannot be read"),
        ("notes.csv", "text", "ends with .txt, .md, .jsonl, .parquet"),
        ("notes.txt", None, "notes.txt cannot be read"),
    ],
)
def test_what_is_no_document_is_named(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=said):
        documents_of(tmp_path / name)


def test_a_data_set_is_read_by_its_name_and_rows_without_text_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    written(tmp_path, "validation.jsonl", [{"text": "one"}, {"text": ""}, {"text": "two"}])
    config = LossConfig(hf_dataset_name=str(tmp_path), limit=2)
    assert [each.text for each in config.documents(config.limit)] == ["one", "two"]


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(Any, sys.modules), "datasets", None)
    with pytest.raises(InvalidInput, match="needs the package datasets: pip install datasets"):
        LossConfig(hf_dataset_name="wikitext").documents()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adapters": ["eval-calm"]}, "must name versions"),
        ({"include_base": False}, "leaves no model"),
        ({"adapters": ["a@1", "a@1"]}, "distinct"),
        ({"data": "a.txt", "hf_dataset_name": "wikitext"}, "not both"),
        ({"window": 1}, "window"),
        ({"limit": 0}, "limit"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        LossConfig(**settings)
