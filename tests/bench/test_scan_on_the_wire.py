"""Scans of the embedded model: versions of an adapter, and checkpoints of a folder, over the real API in process."""

import shutil
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from claas.bench.scan.__main__ import run_scan
from claas.bench.scan.settings import ScanConfig
from claas.core.errors import InvalidInput, NotFound, StackError
from claas.core.settings import EMBEDDED
from claas.eval.stacks.http_stack import HttpStack
from claas.results.benchmarks import BenchmarkFiles
from claas.results.records import AdapterVersion
from claas.results.scan import Scan
from claas.tiny import WEIGHTS_DIR
from tests.bench.trained_store import train_calm

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.bench

T = TypeVar("T")

HUB = Path(__file__).parents[1] / "benchmarks" / "hub"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with versions 1 to 3 of the adapter `calm`."""
    return train_calm(tmp_path_factory.mktemp("store"), updates=3)


def scan(store: Path, folder: Path, **settings: Any) -> Scan:
    given = {"adapter": "calm", "tasks": ["hellaswag"], "loss": True, "most_documents": 3, **settings}
    return run_scan(ScanConfig(store_dir=str(store), output_dir=str(folder), datasets_dir=str(HUB), **given))


def test_every_version_is_scanned_and_a_scan_that_is_killed_asks_nothing_twice(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from claas.bench.wire_lm import WireModel

    asked: list[str] = []
    dies_at = [10**9]
    score, read = WireModel.score, HttpStack.read

    async def counted_score(self: WireModel, prompt: Any, continuations: Any) -> Any:
        return await counted(f"{self.weights.model} {prompt} {continuations}", score(self, prompt, continuations))

    async def counted_read(self: HttpStack, adapter: AdapterVersion, text: str, window: int) -> Any:
        return await counted(f"{adapter.model} {text}", read(self, adapter, text, window))

    async def counted(question: str, answered: Coroutine[Any, Any, T]) -> T:
        if len(asked) >= dies_at[0]:
            answered.close()
            raise StackError("the API is gone")
        answer = await answered
        asked.append(question)
        return answer

    monkeypatch.setattr(WireModel, "score", counted_score)
    monkeypatch.setattr(HttpStack, "read", counted_read)
    monkeypatch.setattr("claas.bench.wire_lm._MOST_WAITING", 1)  # one after the other
    whole = scan(store, tmp_path / "whole", parallel_models=1)
    undisturbed = sorted(asked)
    assert [each.name for each in whole.checkpoints] == ["claas-tiny", "calm@1", "calm@2", "calm@3"]
    assert [each.step for each in whole.checkpoints] == [0, 1, 2, 3]
    assert len({each.digest for each in whole.checkpoints}) == 4
    assert len({each.scores["eval_loss"].value for each in whole.checkpoints}) == 4
    assert whole.fixture
    assert whole.selection is not None
    assert whole.selection.candidates == 4
    asked.clear()
    for stops in (len(undisturbed) // 3, len(undisturbed) // 2, len(undisturbed) - 5):  # the last among documents
        dies_at[0] = stops
        with pytest.raises(StackError, match="the API is gone"):
            scan(store, tmp_path / "killed", parallel_models=1)
        assert len(asked) >= stops
    dies_at[0] = 10**9
    resumed = scan(store, tmp_path / "killed", parallel_models=1)
    assert sorted(asked) == undisturbed
    assert resumed.model_copy(update={"created": ""}) == whole.model_copy(update={"created": ""})
    capsys.readouterr()
    assert scan(store, tmp_path / "killed").checkpoints == whole.checkpoints
    assert sorted(asked) == undisturbed
    told = capsys.readouterr()
    assert "calm@2 is complete already" in told.err
    assert "best by hellaswag/acc_norm of 4: " in told.out
    assert len(BenchmarkFiles(tmp_path / "killed").read_runs().runs) == 4


def test_versions_can_be_chosen_and_the_loss_needs_no_tasks(store: Path, tmp_path: Path) -> None:
    found = scan(store, tmp_path, every=2, tasks=[], include_base=False)
    assert [each.name for each in found.checkpoints] == ["calm@2", "calm@3"]
    assert [measure.name for measure in found.measures] == ["eval_loss"]
    assert (found.selection and found.selection.rule, found.suite) == ("eval_loss", None)
    assert [each.name for each in scan(store, tmp_path, versions=[3, 1], tasks=[]).checkpoints[1:]] == [
        "calm@1",
        "calm@3",
    ]
    with pytest.raises(InvalidInput, match="calm has no version 9; its newest is 3"):
        scan(store, tmp_path, versions=[9])
    with pytest.raises(NotFound, match="has no adapter 'clam'; it has calm"):
        scan(store, tmp_path, adapter="clam")


def test_whole_models_and_adapters_of_a_folder_are_scanned(store: Path, tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    transformers: Any = pytest.importorskip("transformers")
    folder = tmp_path / "checkpoints"
    model = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR)
    shutil.copytree(WEIGHTS_DIR, folder / "step_10")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.distributed.checkpoint.save({"model": model.state_dict()}, checkpoint_id=folder / "step_20", no_dist=True)
    shutil.copytree(store / "adapters" / "calm" / "000002", folder / "lora-30")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        settings: dict[str, Any] = {"adapter": None, "checkpoints": "checkpoints", "config": EMBEDDED, "tasks": []}
        found = scan(tmp_path / "store", tmp_path / "out", **settings)
        assert [path.name[:8] for path in Path("data/converted").iterdir() if path.is_dir()] == ["step_20-"]
        with pytest.raises(InvalidInput, match="is a model of its own, which an API here has to load"):
            scan(tmp_path / "store", tmp_path / "out", claas_url="http://127.0.0.1:9", **settings)
    assert [each.name for each in found.checkpoints] == ["step_10", "step_20", "lora-30"]
    same, converted, adapter = (each.scores["eval_loss"].value for each in found.checkpoints)
    assert converted == pytest.approx(same, abs=1e-6)
    versions = scan(store, tmp_path / "versions", versions=[2], tasks=[])
    assert adapter == pytest.approx(versions.checkpoints[1].scores["eval_loss"].value, abs=1e-6)
    assert found.selection is not None
    assert found.selection.best == "step_10"
