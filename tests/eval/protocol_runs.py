"""Runs of protocols and arms against the scripted stack, each recomputed at its end."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from claas.eval.config.catalog import load_preference
from claas.eval.run.reporter import Reporter
from claas.eval.runner import OpenStack, run_harness
from claas.results.settings import EvalConfig, ProtocolConfig
from claas.results.summary import RunResults
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.fakes.stack import FakeStack

SHIPPED = [load_preference(name) for name in ("concise", "no_emoji", "identity")]


def config(folder: Path, kind: str, **changes: Any) -> EvalConfig:
    mine = small_preferences(folder / "mine", "calm", "warm", "brief")
    for path in (mine / "preference").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        content["opposite"] = {
            "feedback_string": f"No longer {path.stem}, please",
            "verifier": {"_target_": "claas.eval.metrics.verifiers.EmojiVerifier"},
        }
        path.write_text(yaml.safe_dump(content))
    chosen: dict[str, Any] = {
        "preferences": ["calm", "warm", "brief"],
        "metrics": ["quick"],
        "num_steps": 2,
        "batch_size": 2,
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(mine),
        "protocol": ProtocolConfig(kind=kind),
    }
    return EvalConfig(**{**chosen, **changes})


def scripted() -> FakeStack:
    """A stack whose answers depend on the weights, the prompt and the seed."""
    return FakeStack(say=lambda adapter, prompt, seed: f"{adapter.model} {prompt} {seed}", shift=0.1)


def on(stack: Any) -> OpenStack:
    @asynccontextmanager
    async def opened(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Any, None]:
        yield stack

    return opened


def ran(asked: EvalConfig, stack: Any = None, reporter: Reporter | None = None) -> RunResults:
    results = asyncio.run(run_harness(asked, reporter, open_stack=on(stack or scripted())))
    assert not results.failures
    require_recomputable(results.run_dir)
    return results


def on_record(folder: Path) -> Mapping[str, Any]:
    """Every record of every track, less times."""
    timed = ("timestamp", "timing_s", "sample_s", "update_s", "stack_ms")
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*/*.json*")):
        if path.name in ("baseline.json", "steps.jsonl", "ledger.jsonl"):
            lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
            records = [json.loads(line) for line in lines]
            found[f"{path.parent.name}/{path.name}"] = [
                {key: value for key, value in record.items() if key not in timed} for record in records
            ]
    return found
