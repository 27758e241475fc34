"""lm-eval asks its machine once, and waits for nobody who does not answer."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claas.bench import surroundings

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.bench


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that refuses to be asked."""
    for module, name, value in (
        ("huggingface_hub.constants", "ENDPOINT", "http://127.0.0.1:9"),
        ("huggingface_hub.constants", "HF_HUB_OFFLINE", False),
        ("datasets.config", "HF_HUB_OFFLINE", False),
    ):
        monkeypatch.setattr(f"{module}.{name}", value)
    surroundings.hub_answers.cache_clear()
    yield
    surroundings.hub_answers.cache_clear()


@pytest.mark.usefixtures("unreachable")
def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as hub

    assert not surroundings.hub_answers()
    assert hub.is_offline_mode()
    monkeypatch.setattr("huggingface_hub.get_session", None)
    assert not surroundings.hub_answers()


@pytest.mark.usefixtures("unreachable")
def test_checks_that_fetch_what_is_missing_are_imported_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    asked: list[Any] = []
    monkeypatch.setattr("nltk.download", asked.append)
    monkeypatch.delitem(sys.modules, "lm_eval.tasks.ifeval.instructions_util", raising=False)
    surroundings.import_checks(["gsm8k"])
    assert "lm_eval.tasks.ifeval.instructions_util" not in sys.modules
    surroundings.import_checks(["ifeval"])
    assert "lm_eval.tasks.ifeval.instructions_util" in sys.modules
    assert (asked, capfd.readouterr()) == ([], ("", ""))
    assert nltk.download == asked.append


def test_a_thread_that_has_read_a_data_set_leaves_the_others_their_lock() -> None:
    from datasets.utils import tqdm
    from tqdm.contrib.concurrent import ensure_lock

    surroundings.share_progress_lock()
    with ensure_lock(tqdm) as lock:
        pass
    assert tqdm.get_lock() is lock


def test_the_machine_is_described_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    import lm_eval.evaluator as evaluator

    times: list[None] = []

    def described(results: dict[str, Any]) -> None:
        times.append(None)
        results["pretty_env_info"] = "a machine"

    monkeypatch.setattr("lm_eval.loggers.utils.add_env_info", described)
    monkeypatch.chdir(Path("/"))
    for name in ("add_env_info", "get_git_commit_hash"):
        monkeypatch.setattr(evaluator, name, getattr(evaluator, name))
    surroundings.describe_machine_once.cache_clear()
    surroundings.describe_machine_once()
    for _ in range(3):
        results: dict[str, Any] = {}
        evaluator.add_env_info(results)
        assert results == {"pretty_env_info": "a machine"}
    assert (len(times), evaluator.get_git_commit_hash()) == (1, None)
    assert capfd.readouterr().err == ""
    surroundings.describe_machine_once.cache_clear()
