"""The matrix of a sequential run and its numbers, by hand and by law."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.results.keys import keys_of_schema_1
from claas.results.means import critical
from claas.results.records import AdapterVersion, Baseline, Counts, History, StepRecord, Transcript
from claas.results.transfer import Stage, Transfer, transfer_of
from claas.results.verdict import Verdict

Row = Sequence[Sequence[int]]
"""The scores by prompt, for each preference."""

NAMES = ("a", "b", "c")


def judged(metric: str, item: str, score: float) -> Transcript:
    return Transcript(
        metric=metric, item=item, prompt=item, response="r", verdict={"score": score, "passed": score > 0}
    )


def stages(rows: Sequence[Row], done: int | None = None) -> list[History]:
    """One update per stage; rows[0] is the base model's."""
    histories: list[History] = []
    names = NAMES[: len(rows) - 1]
    for place, name in enumerate(names):
        before = [judged("compliance", f"heldout/{i}", score) for i, score in enumerate(rows[0][place])]
        after = [
            judged("compliance", f"heldout/{i}", score)
            if other == name
            else judged("across", f"{other}/heldout/{i}", score)
            for other, scores in zip(names, rows[place + 1], strict=True)
            for i, score in enumerate(scores)
        ]
        common = {
            "preference": name, "timestamp": "t", "counts": {"sample": Counts(planned=4, scored=4, errored=0)},
            "timing_s": {}, "tokens": {},
        }  # fmt: skip
        baseline = Baseline(
            adapter=AdapterVersion(lora_id="x", version=0, digest="0"),
            eval={"heldout_compliance": sum(rows[0][place]) / len(rows[0][place])},
            rollouts=before,
            **common,
        )
        step = StepRecord(
            step=0, feedback_given="f", prompts=[], responses=[], rollout_ids=[], sdpo_metrics={},
            adapter=AdapterVersion(lora_id="x", version=place + 1, digest=str(place + 1)),
            eval={"heldout_compliance": sum(rows[place + 1][place]) / len(rows[place + 1][place])},
            rollouts=after, **common,
        )  # fmt: skip
        steps = (step,) if done is None or place < done else ()
        histories.append(History(name, 1, baseline, steps, keys=keys_of_schema_1()))
    return histories


def found(rows: Sequence[Row], threshold: float = -0.1, done: int | None = None) -> Transfer:
    return transfer_of(stages(rows, done), threshold, confidence=0.95, family=0)


def values(transfer: Transfer) -> dict[str, float | None]:
    return {name: number.value for name, number in transfer.numbers.items()}


THREE = (
    ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0)),
    ((1, 1, 1, 1), (0, 0, 1, 1), (0, 0, 0, 0)),
    ((1, 1, 1, 0), (1, 1, 1, 1), (1, 0, 0, 0)),
    ((1, 1, 0, 0), (1, 1, 1, 1), (1, 1, 1, 0)),
)


def test_the_numbers_of_three_stages_by_hand() -> None:
    transfer = found(THREE)
    shown = [[cell.value for cell in row] for row in transfer.matrix]
    assert shown == [[0, 0.25, 0], [1, 0.5, 0], [0.75, 1, 0.25], [0.5, 1, 0.75]]
    assert values(transfer) == {
        "acc": pytest.approx((0.5 + 1 + 0.75) / 3),
        "bwt": pytest.approx(((0.5 - 1) + (1 - 1)) / 2),
        "fwt": pytest.approx(((0.5 - 0.25) + (0.25 - 0)) / 2),
        "forgetting": pytest.approx(((1 - 0.5) + (1 - 1)) / 2),
        "intransigence": None,
        "lca": pytest.approx(((0 + 1) / 2 + (0.5 + 1) / 2 + (0.25 + 0.75) / 2) / 3),
    }
    assert transfer.numbers["bwt"].n == 8
    assert [(stage.first_update, stage.last_update) for stage in transfer.stages] == [(0, 1), (1, 2), (2, 3)]


def test_the_interval_of_backward_transfer_by_hand() -> None:
    """Differences -1, -1, 0, 0 and four times 0, two halves added to each: variances 2.667/6 and 1/6 over 6."""
    transfer = found(THREE)
    ci = transfer.numbers["bwt"].ci
    assert ci is not None
    first, second = (2 + 1 - 6 * (2 / 6) ** 2) / 6 / 6, 1 / 6 / 6
    error = (first + second) ** 0.5 / 2
    degrees = (first + second) ** 2 / (first**2 / 5 + second**2 / 5)
    assert degrees == pytest.approx(8.0, abs=0.8)
    centre = (-2 / 6 + 0) / 2
    half = critical(math.floor(degrees), 0.95) * error
    assert ci == (pytest.approx(centre - half), pytest.approx(centre + half))


def test_what_is_not_measured_is_null_and_decides_nothing() -> None:
    transfer = found(THREE, done=2)
    assert [[cell.value for cell in row] for row in transfer.matrix][3] == [None, None, None]
    assert transfer.ruling.verdict is Verdict.INCONCLUSIVE
    assert values(transfer)["bwt"] is None
    assert values(transfer)["forgetting"] is None
    assert values(transfer)["fwt"] is not None, "the third stage has nothing to do with it"


def test_forgetting_all_fails_and_keeping_all_passes() -> None:
    n = 64
    nothing, everything = (0,) * n, (1,) * n
    lost = found(((nothing, nothing), (everything, nothing), (nothing, everything)))
    assert (values(lost)["bwt"], lost.ruling.verdict) == (-1.0, Verdict.FAIL)
    kept = found(((nothing, nothing), (everything, nothing), (everything, everything)))
    assert (values(kept)["bwt"], kept.ruling.verdict) == (0.0, Verdict.PASS)
    assert kept.ruling.ci is not None
    assert kept.ruling.ci[0] < 0 < kept.ruling.ci[1], "64 that stayed do not prove that all would"


def test_intransigence_is_what_an_adapter_of_its_own_has_more() -> None:
    """Alone a comes to one of four less than in its stage; b and c to what they had."""
    histories = stages(THREE)
    again = stages((THREE[0], ((1, 1, 1, 0), *THREE[1][1:]), (THREE[2][0], (1, 1, 1, 1), THREE[2][2]), THREE[3]))
    transfer = transfer_of(histories, -0.1, 0.95, 0, {each.preference: each for each in again})
    number = transfer.numbers["intransigence"]
    assert number.value == pytest.approx(((0.75 - 1) + 0 + 0) / 3)
    assert number.ci is not None
    assert number.ci[0] < number.value < number.ci[1]
    assert (number.n, number.note) == (12, None)
    assert found(THREE).numbers["intransigence"].note == "needs controls=[isolated]"


@pytest.mark.parametrize("base", [0, 1])
def test_what_was_never_learned_is_not_said_to_be_kept(base: int) -> None:
    """Nor what the base model had: 64 prompts that never change lose nothing, and show nothing."""
    same, nothing, everything = (base,) * 64, (0,) * 64, (1,) * 64
    found_of = found(((same, nothing), (same, nothing), (same, everything)))
    assert (values(found_of)["bwt"], found_of.ruling.verdict) == (0.0, Verdict.INCONCLUSIVE)
    assert found_of.ruling.note == "nothing to lose: a not shown to be learned by more than may be lost"


def test_every_preference_before_the_last_has_to_be_learned() -> None:
    nothing, everything = (0,) * 64, (1,) * 64
    rows = (
        (nothing, nothing, nothing),
        (everything, nothing, nothing),
        (everything, nothing, nothing),
        (everything, nothing, everything),
    )
    assert found(rows).ruling.note == "nothing to lose: b not shown to be learned by more than may be lost"


Scores = st.lists(st.integers(0, 1), min_size=3, max_size=3)


@given(st.lists(Scores, min_size=2, max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_matrix_that_never_changes_transfers_nothing(row: list[list[int]]) -> None:
    transfer = found([row] * (len(row) + 1))
    numbers = values(transfer)
    assert (numbers["bwt"], numbers["fwt"], numbers["forgetting"]) == (0.0, 0.0, 0.0)


@given(st.data(), st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_its_value_and_forgetting_is_never_less_than_what_backward_transfer_lost(
    data: st.DataObject, stages: int
) -> None:
    rows = [[data.draw(Scores) for _ in range(stages)] for _ in range(stages + 1)]
    transfer = found(rows)
    for number in transfer.numbers.values():
        if number.ci is not None and number.value is not None:
            assert number.ci[0] <= number.value <= number.ci[1]
    numbers = values(transfer)
    assert numbers["forgetting"] is not None
    assert numbers["bwt"] is not None
    assert numbers["forgetting"] >= -numbers["bwt"] - 1e-12


def test_a_stage_of_what_was_one_criterion_is_read() -> None:
    stage = {"preference": "a", "first_update": 0, "last_update": 2, "done": True}
    read = Stage.model_validate(stage | {"capability": 0.9, "capability_change": -0.1})
    assert read == Stage.model_validate(stage | {"retained": {"capability_retention": -0.1}})
