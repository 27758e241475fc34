"""Whatever is sent, every endpoint answers as its schema says, and never with an error of its own."""

from pathlib import Path

import httpx
import pytest

from claas.api.config import ApiConfig
from claas.api.modes import open_engine
from claas.engines.base import Engine
from tests.eval.live_api import live_api
from tests.fakes.engine import FakeEngine


@pytest.mark.slow
def test_no_request_made_from_the_schema_breaks_the_api(tmp_path: Path, engine: FakeEngine) -> None:
    from tests.api.fuzzing import fuzz  # which imports schemathesis

    with live_api(tmp_path, engine) as url:
        statuses = fuzz(url, examples=10)
    assert statuses[200] > 50
    assert {400, 404, 422} <= set(statuses)
    assert engine.sampled
    assert engine.trained
    assert_stored_whole(tmp_path, engine)


@pytest.mark.faults
def test_no_request_made_from_the_schema_breaks_the_real_engine(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.api.fuzzing import fuzz

    engine = open_engine(ApiConfig(store_dir=str(tmp_path / "store")))
    with live_api(tmp_path, engine) as url:
        statuses = fuzz(url, examples=150)
    assert statuses[200] > 300
    assert_stored_whole(tmp_path, open_engine(ApiConfig(store_dir=str(tmp_path / "store"))))


def assert_stored_whole(folder: Path, engine: Engine) -> None:
    """What was written is read again by the next start, every line and file of it."""
    with live_api(folder, engine) as url:
        assert httpx.get(f"{url}/v1/health").status_code == 200
    assert (folder / "store" / "rollouts.jsonl").exists()
    assert not list((folder / "store").rglob("*.bad"))
