"""A run that goes on with other code than before: refused by name, or accepted and told of wherever it is shown."""

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from claas.core.errors import InvalidInput
from claas.dashboard.pages import Addresses
from claas.dashboard.run_page import run_page
from claas.eval.recompute import __main__ as recompute
from claas.eval.run.folder import open_run
from claas.eval.run.sources import code_of
from claas.eval.runner import prepare, run_harness
from claas.results.code import NO_SOURCE, Code, differences
from claas.results.run_index import read_run
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.eval.scripted_run import talkative
from tests.eval.small_preferences import small_preferences

VERIFIER = """
from claas.eval.metrics.verifiers import VerifierResult
from mine_counting import count

class Short:
    def __call__(self, response):
        passed = count(response) >= {least} and response.isascii()
        return VerifierResult(float(passed), passed)
"""
COUNTING = "def count(text): return len(set(text.split()))\n"


class Mine:
    """A folder with a preference `calm`, whose verifier is a module of the user's and imports another one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stack = folder, talkative()
        self.write("mine_short", VERIFIER.format(least=2))
        self.write("mine_counting", COUNTING)
        path = small_preferences(folder, "calm") / "preference" / "calm.yaml"
        path.write_text(
            yaml.safe_dump(yaml.safe_load(path.read_text()) | {"verifier": {"_target_": "mine_short.Short"}})
        )

    def write(self, module: str, text: str) -> None:
        (self.folder / f"{module}.py").write_text(text)
        forget()
        importlib.invalidate_caches()

    def config(self, **settings: Any) -> EvalConfig:
        chosen: dict[str, Any] = {"preferences": ["calm"], "metrics": ["quick"], "num_steps": 2, "plots": False}
        chosen |= {"config_dir": str(self.folder), "output_dir": str(self.folder / "run")} | settings
        return EvalConfig(**chosen)

    def run(self, **settings: Any) -> RunResults:
        @asynccontextmanager
        async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Any, None]:
            yield self.stack

        return asyncio.run(run_harness(self.config(**settings), open_stack=open_stack))

    def code(self, **settings: Any) -> Code:
        config = self.config(**settings)
        return code_of(*prepare(config))

    def edit_manifest(self, **versions: str) -> None:
        path = self.folder / "run" / "config.json"
        manifest = json.loads(path.read_text())
        manifest["versions"] |= versions
        path.write_text(json.dumps(manifest))


def forget() -> None:
    for name in ("mine_short", "mine_counting"):
        sys.modules.pop(name, None)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mine]:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Mine(tmp_path)
    forget()


def test_the_sources_are_those_that_decide_the_numbers(mine: Mine) -> None:
    found = mine.code()
    assert found.sources is not None
    assert {"mine_short", "mine_counting", "claas.eval.metrics.compliance", "claas.core.text"} <= set(found.sources)
    assert {"claas.training", "claas.engines.local"} <= set(found.sources), "the engine is hosted here"
    assert not [
        name for name in found.sources if name.startswith(("claas.dashboard", "claas.wire", "claas.results.re"))
    ]
    assert {"claas", "python", "torch", "httpx", "emoji"} <= set(found.versions)
    elsewhere = mine.code(claas_url="http://127.0.0.1:1", base_model="x", metrics=["logprob"])
    assert elsewhere.sources is not None
    assert not {"claas.training", "claas.engines.local", "claas.eval.metrics.capability"} & set(elsewhere.sources)
    assert "torch" not in elsewhere.versions


@pytest.mark.parametrize(
    ("module", "text"),
    [("mine_short", VERIFIER.format(least=5)), ("mine_counting", COUNTING.replace("split()", "split(' ')"))],
)
def test_an_edited_verifier_is_refused_by_name(mine: Mine, module: str, text: str) -> None:
    mine.run()
    before = (mine.folder / "run" / "config.json").read_text()
    mine.write(module, text)
    with pytest.raises(InvalidInput, match=f"the source of {module} was edited.*accept_changes=true") as refusal:
        mine.run(num_steps=4)
    assert "\n" not in str(refusal.value)
    assert (mine.folder / "run" / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("versions", "said"),
    [({"claas": "0.0.1"}, "claas was 0.0.1, now"), ({"httpx": "0.1.2"}, "httpx was 0.1.2, now")],
)
def test_other_packages_are_refused_by_name(mine: Mine, versions: dict[str, str], said: str) -> None:
    mine.run()
    mine.edit_manifest(**versions)
    with pytest.raises(InvalidInput, match=said):
        mine.run(num_steps=4)


def test_what_is_accepted_is_on_record_with_its_step_and_told_of_everywhere(
    mine: Mine, capsys: pytest.CaptureFixture[str]
) -> None:
    mine.run()
    mine.write("mine_short", VERIFIER.format(least=5))
    mine.edit_manifest(httpx="0.1.2")
    said = "from step 2 on made with other code: httpx was 0.1.2, now "
    results = mine.run(num_steps=4, accept_changes=True)
    [note] = results.summary.preferences["calm"].notes
    assert note.startswith(said)
    assert note.endswith("; the source of mine_short was edited")
    [change] = json.loads((results.run_dir / "config.json").read_text())["changes"]
    assert change["from_step"] == {"calm": 2}
    assert (
        change["code"]["sources"]["mine_short"] != json.loads((results.run_dir / "config.json").read_text())["sources"]
    )
    assert said in run_page(read_run("run", results.run_dir), Addresses())
    assert recompute.main([str(results.run_dir)]) == 1, "the first steps were scored by another verifier"
    assert said in capsys.readouterr().out
    assert mine.run(num_steps=5).summary.preferences["calm"].notes == (note,), "what was accepted is not asked again"


def test_recomputing_with_other_code_says_so(mine: Mine, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = mine.run().run_dir
    mine.write("mine_short", VERIFIER.format(least=2) + "# a comment\n")
    assert recompute.main([str(run_dir)]) == 0
    assert (
        "recomputed with other code than it was made with: the source of mine_short was edited"
        in capsys.readouterr().out
    )
    (run_dir / "calm" / "metadata.json").unlink()
    assert recompute.main([str(run_dir)]) == 1
    assert "metadata.json" in capsys.readouterr().out


def test_a_finished_run_is_summarised_anew_whatever_the_code(mine: Mine) -> None:
    mine.run()
    mine.edit_manifest(claas="0.0.1")
    assert mine.run().new_steps == 0


def test_before_anything_is_measured_code_may_change(mine: Mine) -> None:
    with open_run(mine.config(), mine.code()):
        pass
    mine.write("mine_short", VERIFIER.format(least=3))
    results = mine.run()
    assert results.summary.preferences["calm"].notes == ()
    manifest = json.loads((results.run_dir / "config.json").read_text())
    assert manifest["sources"] == mine.code().sources


def test_an_earlier_run_without_sources_goes_on_with_what_is_known(mine: Mine) -> None:
    run_dir = mine.run().run_dir
    manifest = json.loads((run_dir / "config.json").read_text())
    del manifest["sources"], manifest["changes"], manifest["config"]["accept_changes"]
    (run_dir / "config.json").write_text(json.dumps(manifest))
    mine.write("mine_short", VERIFIER.format(least=3))
    (note,) = mine.run(num_steps=3).summary.preferences["calm"].notes
    assert note == "from step 2 on made with other code: sources may differ (those before are not on record)"


def test_only_a_patch_release_needs_no_consent() -> None:
    then = Code(
        versions={"numpy": "2.4.6", "claas": "1.0.0", "gone": "1"}, sources={"a": "1", "b": "2", "c": NO_SOURCE}
    )
    now = Code(versions={"numpy": "2.4.7", "claas": "1.0.1", "new": "1"}, sources={"a": "1", "d": "2", "c": NO_SOURCE})
    sources = ["the source of b is not used any more", "the source of d is new"]
    assert differences(then, now) == ["numpy was 2.4.6, now 2.4.7", "claas was 1.0.0, now 1.0.1", *sources]
    assert differences(then, now, but_patches=True) == ["claas was 1.0.0, now 1.0.1", *sources]
    other = Code(versions={"numpy": "2.5.0"})
    assert differences(then, other, but_patches=True) == ["numpy was 2.4.6, now 2.5.0"]


def test_what_has_no_source_is_recorded_as_such(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    config = mine.config()
    config, tracks, metrics = prepare(config)
    monkeypatch.setattr(sys.modules["mine_short"], "__file__", None)
    sources = code_of(config, tracks, metrics).sources
    assert sources is not None
    assert sources["mine_short"] == NO_SOURCE
