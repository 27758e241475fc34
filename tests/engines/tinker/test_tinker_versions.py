"""Versions on record survive a crash at any write, and no checkpoint is ever forgotten."""

from pathlib import Path

import pytest

from claas.core.errors import Conflict, NotFound, StackError
from claas.engines.tinker.versions import TinkerStore, TinkerVersion


def record(version: int = 0, lora_id: str = "eval/concise") -> TinkerVersion:
    return TinkerVersion(
        lora_id=lora_id,
        version=version,
        state_path=f"tinker://run/weights/{lora_id}-{version}",
        sampler_path=f"tinker://run/sampler_weights/{lora_id}-{version}",
        base_model="claas-tiny",
        rank=8,
        key=None if version == 0 else f"key-{version}",
        metrics={"total_loss": 0.5},
        timing_ms={"save": 1.0},
        created="2026-11-21T00:00:00+00:00",
    )


def test_what_was_committed_is_found_again(tmp_path: Path) -> None:
    store = TinkerStore(tmp_path)
    store.commit(record(0))
    store.commit(record(1))
    store.commit(record(0, "other"))
    for each in (store, TinkerStore(tmp_path)):
        assert each.adapters() == ["eval/concise", "other"]
        assert each.versions("eval/concise") == [record(0), record(1)]
        assert each.get("eval/concise") == record(1)
        assert each.get("eval/concise", 0) == record(0)


def test_unknown_ones_are_named(tmp_path: Path) -> None:
    store = TinkerStore(tmp_path)
    with pytest.raises(NotFound, match="no adapter 'eval/concise'"):
        store.get("eval/concise")
    store.commit(record(0))
    with pytest.raises(NotFound, match="no version 3; its newest is 0"):
        store.get("eval/concise", 3)
    with pytest.raises(Conflict, match="exists already"):
        store.require_new("eval/concise")
    with pytest.raises(Conflict, match="would be served as"):
        store.require_new("eval-concise")


def test_a_crash_before_the_record_leaves_its_checkpoints_to_be_deleted(tmp_path: Path) -> None:
    store = TinkerStore(tmp_path)
    store.commit(record(0))
    store.unneeded(record(1).paths)
    reopened = TinkerStore(tmp_path)
    assert reopened.get("eval/concise") == record(0)
    assert reopened.all_unneeded() == list(record(1).paths)


def test_a_crash_after_the_record_deletes_nothing(tmp_path: Path) -> None:
    store = TinkerStore(tmp_path)
    store.unneeded(record(0).paths)
    listed = (tmp_path / "unneeded.json").read_text()
    store.commit(record(0))
    (tmp_path / "unneeded.json").write_text(listed)  # the crash came before the list was rewritten
    assert TinkerStore(tmp_path).all_unneeded() == []


def test_a_crash_while_a_record_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    store = TinkerStore(tmp_path)
    store.commit(record(0))
    (tmp_path / "eval-concise" / ".000001.json.tmp").write_text('{"schema_ver')
    assert TinkerStore(tmp_path).versions("eval/concise") == [record(0)]


def test_a_version_given_up_keeps_its_receipt(tmp_path: Path) -> None:
    store = TinkerStore(tmp_path)
    store.commit(record(0))
    store.commit(record(1))
    store.give_up(record(0))
    reopened = TinkerStore(tmp_path)
    assert [one.kept for one in reopened.versions("eval/concise")] == [False, True]
    assert reopened.all_unneeded() == list(record(0).paths)
    with pytest.raises(NotFound, match="keep_versions"):
        reopened.get("eval/concise", 0)


def test_a_deleted_adapter_is_gone_and_its_checkpoints_are_listed(tmp_path: Path) -> None:
    store = TinkerStore(tmp_path)
    store.commit(record(0))
    store.commit(record(1))
    assert store.delete("eval/concise") is True
    assert store.delete("eval/concise") is False
    reopened = TinkerStore(tmp_path)
    assert reopened.adapters() == []
    assert reopened.all_unneeded() == [*record(0).paths, *record(1).paths]


@pytest.mark.parametrize("content", ["", "{", '{"lora_id": "x"}', "[]"])
def test_a_damaged_record_is_named_when_it_is_asked_for(tmp_path: Path, content: str) -> None:
    store = TinkerStore(tmp_path)
    store.commit(record(0))
    path = tmp_path / "eval-concise" / "000000.json"
    path.write_text(content)
    again = TinkerStore(tmp_path)
    assert again.adapters() == []
    with pytest.raises(StackError, match=str(path)):
        again.get("eval/concise")


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_a_damaged_list_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    path = tmp_path / "unneeded.json"
    path.write_text(content)
    assert TinkerStore(tmp_path).all_unneeded() == []
    assert (tmp_path / "unneeded.json.bad").read_text() == content
    assert f"moved to {path}.bad" in caplog.text


def test_two_versions_never_have_one_digest() -> None:
    assert record(0).weights.digest != record(1).weights.digest != record(1, "other").weights.digest
