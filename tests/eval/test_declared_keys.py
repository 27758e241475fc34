"""What a metric of one's own declares of its numbers, when there is something wrong with it."""

import sys
from pathlib import Path

import pytest

from claas.core.errors import InvalidInput
from claas.eval.config.catalog import declared_keys, known_criteria, load_metrics, resolve_criteria
from claas.eval.metrics.metric import Measurement, Subject
from claas.results.keys import Criterion, Items, Key

_METRICS = """
from claas.results.keys import Key

class Metric:
    made = 0
    def __init__(self): type(self).made += 1
    def due(self, step, checkpoints): return True
    async def measure(self, subject): ...

class NotKeys(Metric):
    keys = [{"key": "polite", "title": "Polite"}]

class Broken(Metric):
    @property
    def keys(self): raise RuntimeError("boom")

def dotted():
    return Key(key="a.b.c", title="Too deep")
"""


def mine(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, target: str) -> Path:
    """A folder whose metrics.yaml has `mine`, a metric from a module of that name."""
    (folder / f"{module}.py").write_text(_METRICS)
    (folder / "metrics.yaml").write_text(f"metrics: {{mine: {{_target_: {module}.{target}}}}}\n")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def judged_key(criterion: str, key: str = "polite") -> Key:
    rule = Criterion(name=criterion, relation=">=", threshold=0.5, estimator="share", meaning="m", formula="f")
    return Key(key=key, title="Polite", items=Items(metric="polite"), criterion=rule)


class Declares:
    """A metric that measures nothing and declares `keys`."""

    def __init__(self, *keys: Key) -> None:
        self.keys = keys

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        return False

    async def measure(self, subject: Subject) -> Measurement:
        raise AssertionError


def test_what_is_no_key_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mine(tmp_path, monkeypatch, "metrics_not_keys", "NotKeys")
    with pytest.raises(InvalidInput, match=r"NotKeys\.keys must be a tuple of claas\.results\.keys\.Key"):
        declared_keys(load_metrics(["mine"], folder))


def test_a_key_that_is_wrong_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mine(tmp_path, monkeypatch, "metrics_dotted", "dotted")
    with pytest.raises(InvalidInput) as mistake:
        load_metrics(["mine"], folder)
    assert "cannot make metrics_dotted.dotted: Key key: String should match pattern" in str(mistake.value)
    assert str(mistake.value).endswith("got 'a.b.c'")


def test_a_metric_that_nobody_asked_for_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mine(tmp_path, monkeypatch, "metrics_broken", "Broken")
    assert "heldout_compliance" in known_criteria(folder)
    assert resolve_criteria({}, load_metrics(["quick"], folder), folder)["margin_gain"] == 2.0


def test_a_metric_that_was_asked_for_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mine(tmp_path, monkeypatch, "metrics_once", "Metric")
    metrics = load_metrics(["mine"], folder)
    resolve_criteria({}, metrics, folder)
    assert vars(type(metrics["mine"]))["made"] == 1


def test_one_name_means_one_thing() -> None:
    with pytest.raises(InvalidInput, match="two metrics declare 'polite'"):
        declared_keys({"one": Declares(judged_key("one")), "two": Declares(judged_key("two"))})
    with pytest.raises(InvalidInput, match=r"two metrics declare 'criteria\.one'"):
        declared_keys({"one": Declares(judged_key("one"), judged_key("one", "kind"))})


def test_no_criterion_is_called_as_the_confidence() -> None:
    with pytest.raises(InvalidInput, match=r"no criterion can be called 'confidence'"):
        declared_keys({"one": Declares(judged_key("confidence"))})


@pytest.mark.parametrize("raised", [RuntimeError("boom"), AttributeError("no"), KeyError("gone"), ImportError("x")])
def test_keys_that_cannot_be_had_are_one_clear_line(raised: Exception) -> None:
    class Raises(Declares):
        @property
        def keys(self) -> tuple[Key, ...]:
            raise raised

        @keys.setter
        def keys(self, keys: tuple[Key, ...]) -> None: ...

    with pytest.raises(InvalidInput, match=rf"Raises\.keys cannot be read: {type(raised).__name__}"):
        declared_keys({"mine": Raises()})


def test_a_format_that_is_none_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ValueError, match="form"):
        Key(key="polite", title="Polite", heading="polite", form="bad{")
