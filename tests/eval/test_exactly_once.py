"""A run that is killed anywhere and started again ends as one that never was."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import InvalidInput, StackError
from claas.results.ledger import Receipt
from tests.eval.record_files import change, put_sampling_into_ledger, read
from tests.eval.scripted_run import Halting, outcome, run, run_until_halted, settings, talkative
from tests.fakes.stack import adapter, next_version


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, int]:
    """The outcome of a run that nothing disturbs, and how many calls it makes."""
    folder, stack = tmp_path_factory.mktemp("unbroken") / "run", Halting(talkative())
    asyncio.run(run(stack, settings(folder, num_steps=2)))
    return outcome(folder), stack.calls


@pytest.mark.parametrize("late", [False, True], ids=["before the stack acts", "after it has acted"])
def test_killed_at_any_call_it_resumes_to_the_same_records(
    tmp_path: Path, unbroken: tuple[dict, int], late: bool
) -> None:
    expected, calls = unbroken
    for halt_at in range(1, calls + 1):
        config, stack = settings(tmp_path / str(halt_at) / "run", num_steps=2), talkative()
        assert asyncio.run(run_until_halted(Halting(stack, halt_at=halt_at, late=late), config))
        asyncio.run(run(Halting(stack), config))
        assert outcome(tmp_path / str(halt_at) / "run") == expected, f"killed at call {halt_at}"
        assert [asked.kind for asked in stack.asked].count("feedback") == 2


def test_killed_again_and_again_it_still_gets_there(tmp_path: Path, unbroken: tuple[dict, int]) -> None:
    config, stack, times = settings(tmp_path / "run", num_steps=2), talkative(), 0
    while asyncio.run(run_until_halted(Halting(stack, halt_at=20, late=times % 2 == 0), config)):
        times += 1
    assert times > 1
    assert outcome(tmp_path / "run") == unbroken[0]


@pytest.mark.parametrize("halt_at", [9, 15, 17, 25, 31])
@pytest.mark.parametrize("file", ["ledger.jsonl", "steps.jsonl"])
def test_a_line_torn_by_the_crash_is_written_again(
    tmp_path: Path, unbroken: tuple[dict, int], file: str, halt_at: int
) -> None:
    config, stack = settings(tmp_path / "run", num_steps=2), talkative()
    asyncio.run(run_until_halted(Halting(stack, halt_at=halt_at), config))
    _tear_last_line(tmp_path / "run" / "kuro" / file)
    asyncio.run(run(Halting(stack), config))
    assert outcome(tmp_path / "run") == unbroken[0]


def _tear_last_line(path: Path) -> None:
    if path.exists():
        path.write_bytes(path.read_bytes()[:-7])


def test_an_update_without_receipt_is_sent_again_as_it_was(tmp_path: Path) -> None:
    stack, config = talkative(), settings(tmp_path / "run")
    stack.broken = StackError("no memory")
    with pytest.raises(StackError, match="no memory"):
        asyncio.run(run(Halting(stack), config))
    sampled = [asked for asked in stack.asked if asked.temperature == 0.7]
    asyncio.run(run(Halting(stack), config))
    again = [asked for asked in stack.asked if asked.temperature == 0.7]
    assert again[:2] == sampled
    assert len(again) == 6, "the batch of the failed update was not sampled a second time"


def test_a_failed_update_lets_the_measurement_under_way_finish(tmp_path: Path) -> None:
    class FailsSecond(Halting):
        async def give_feedback(self, *args, **kwargs) -> Receipt:
            if kwargs.get("key", args[-1]).endswith("/1"):
                raise StackError("the second update failed")
            return await super().give_feedback(*args, **kwargs)

    door = FailsSecond(talkative(), delay_s=0.02)
    with pytest.raises(StackError, match="the second update failed"):
        asyncio.run(run(door, settings(tmp_path / "run")))
    assert [step["step"] for step in outcome(tmp_path / "run")["steps"]] == [0]


def test_a_stack_that_was_trained_by_somebody_else_is_refused(tmp_path: Path) -> None:
    stack, config = talkative(), settings(tmp_path / "run")
    asyncio.run(run_until_halted(Halting(stack, halt_at=27), config))
    lora_id = "eval/kuro-run"
    stack.adapters[lora_id] = next_version(next_version(stack.adapters[lora_id]))
    with pytest.raises(StackError, match="outside this run"):
        asyncio.run(run(Halting(stack), config))


def test_a_stack_that_lost_the_adapter_is_refused(tmp_path: Path) -> None:
    stack, config = talkative(), settings(tmp_path / "run")
    asyncio.run(run_until_halted(Halting(stack, halt_at=27), config))
    with pytest.raises(StackError, match="continue on the stack that the run was started on"):
        asyncio.run(run(Halting(talkative()), config))


def test_a_replaced_adapter_of_the_same_version_is_refused(tmp_path: Path) -> None:
    stack, config = talkative(), settings(tmp_path / "run")
    asyncio.run(run_until_halted(Halting(stack, halt_at=16), config))
    stack.adapters["eval/kuro-run"] = adapter("eval/other", 0)
    with pytest.raises(StackError, match="replaced outside this run"):
        asyncio.run(run(Halting(stack), config))


@pytest.mark.parametrize("halt_at", [16, 22, 27])
def test_a_run_of_an_earlier_version_with_the_sampled_answers_in_its_ledger_goes_on(
    tmp_path: Path, unbroken: tuple[dict, int], halt_at: int
) -> None:
    config, stack, records = settings(tmp_path / "run", num_steps=2), talkative(), tmp_path / "run" / "kuro"
    asyncio.run(run_until_halted(Halting(stack, halt_at=halt_at), config))
    put_sampling_into_ledger(records)
    asyncio.run(run(Halting(stack), config))
    assert "sampling" in read(records / "ledger.jsonl")[0]
    ended = outcome(tmp_path / "run")
    ended["ledger"] = [{key: value for key, value in entry.items() if key != "sampling"} for entry in ended["ledger"]]
    assert ended == unbroken[0]


def test_sampled_answers_wait_outside_the_ledger_until_the_next_step_is_on_record(tmp_path: Path) -> None:
    stack, sampled = talkative(), tmp_path / "run" / "kuro" / "sampled"
    asyncio.run(run(Halting(stack), settings(tmp_path / "run", num_steps=3)))
    assert [path.name for path in sampled.iterdir()] == ["2.json"]
    assert "sampling" not in (tmp_path / "run" / "kuro" / "ledger.jsonl").read_text()
    shutil.rmtree(sampled)
    asyncio.run(run(Halting(stack), settings(tmp_path / "run", num_steps=3)))
    asyncio.run(run(Halting(stack), settings(tmp_path / "run", num_steps=4)))
    assert len(outcome(tmp_path / "run")["steps"]) == 4


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "step 0 is not in steps.jsonl, and what was sampled for it not in sampled/"),
        (lambda sampled: (sampled / "0.json").write_text("{}"), r"0\.json cannot be read: step: Field required"),
        (lambda sampled: change(sampled / "0.json", 0, _lose_first_answer), "does not hold the answers that .*ledger"),
    ],
    ids=["gone", "no record", "others"],
)
def test_what_was_sampled_for_an_update_under_way_is_needed(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    stack, config = talkative(), settings(tmp_path / "run")
    asyncio.run(run_until_halted(Halting(stack, halt_at=16), config))
    damage(tmp_path / "run" / "kuro" / "sampled")
    with pytest.raises(InvalidInput, match=said):
        asyncio.run(run(Halting(stack), config))
    assert stack.adapters["eval/kuro-run"].version == 0, "nothing was trained"


def _lose_first_answer(batch: dict[str, Any]) -> None:
    batch["transcripts"][0].update(error="timed out", response=None)


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    stack, config = talkative(), settings(tmp_path / "run")
    asyncio.run(run_until_halted(Halting(stack, halt_at=27), config))
    ledger = tmp_path / "run" / "kuro" / "ledger.jsonl"
    ledger.write_text(ledger.read_text() * 2)
    with pytest.raises(InvalidInput, match=r"ledger\.jsonl is damaged at line"):
        asyncio.run(run(Halting(stack), config))
