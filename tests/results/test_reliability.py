"""How far a judge can be trusted: by hand, and one that does not look is found out."""

from collections.abc import Sequence

import pytest

from claas.results.judging import ORDERS, JudgeCall, JudgedItem, Order, Winner
from claas.results.reliability import Reliability, human_agreement, reliability

Said = tuple[Winner | None, Winner | None]


def calls(said: Sequence[Said]) -> list[JudgeCall]:
    """The replies to each item, when `a` stood first and when `b` did."""
    return [
        call(str(i), order, verdict) for i, both in enumerate(said) for order, verdict in zip(ORDERS, both, strict=True)
    ]


def call(item: str, order: Order, verdict: Winner | None) -> JudgeCall:
    return JudgeCall(
        item=item, order=order, seed=0, asked=item + order, raw="", verdict=verdict, model="", prompt_tokens=None,
        completion_tokens=None,
    )  # fmt: skip


def outcomes(said: Sequence[Said]) -> list[JudgedItem]:
    return [JudgedItem.of(str(i), both, 1, 2) for i, both in enumerate(said)]


def trust(said: Sequence[Said], again: Sequence[Said] | None = None, labels: Sequence[Winner] = ()) -> Reliability:
    people = {"": {str(i): label for i, label in enumerate(labels)}} if labels else None
    return reliability(outcomes(said), calls(said), None if again is None else outcomes(again), people)


HONEST: list[Said] = [("a", "a"), ("b", "b")] * 20


def test_a_judge_that_says_the_same_whatever_stands_first_is_trusted() -> None:
    found = trust(HONEST, HONEST, ["a", "b"] * 20)
    assert (found.readable, found.position_consistency, found.first_position_share) == (1.0, 1.0, 0.5)
    assert (found.self_disagreement, found.repeated) == (0.0, 40)
    assert found.human is not None
    assert (found.human.cohen_kappa, found.human.krippendorff_alpha) == (1.0, 1.0)
    assert found.warnings == []


def test_a_judge_that_always_says_a_agrees_with_itself_and_is_flagged() -> None:
    blind: list[Said] = [("a", "b")] * 40
    found = trust(blind, blind, ["a", "b"] * 20)
    assert (found.self_disagreement, found.position_consistency, found.first_position_share) == (0.0, 0.0, 1.0)
    assert found.human is not None
    assert found.human.cohen_kappa == 0.0
    assert "prefers whatever stands first, always" in found.warnings[0]
    assert "that it agrees with itself is then no merit" in found.warnings[0]
    assert "hardly beyond chance (kappa 0.00 over 40 labels)" in found.warnings[1]


def test_of_a_few_items_it_is_not_said_that_it_always_does() -> None:
    assert trust([("a", "b")] * 4).is_blind  # Wilson's interval of 4 in 4 leaves out one half, that of 3 in 3 does not
    assert not trust([("a", "b")] * 3).is_blind


def test_a_judge_that_leans_to_one_place_is_flagged_with_its_share_and_interval() -> None:
    found = trust([("a", "b")] * 20 + HONEST[:20])
    assert (found.position_consistency, found.first_position_share) == (0.5, 0.75)
    assert found.first_position_ci == pytest.approx((0.598, 0.858), abs=1e-3)  # Wilson's, of 30 in 40
    assert len(found.warnings) == 2
    assert "50 % of the items changes with their order" in found.warnings[0]
    assert "75 % of its preferences (0.60 to 0.86)" in found.warnings[1]


def test_ties_say_nothing_of_places_and_unreadable_replies_nothing_at_all() -> None:
    found = trust([("tie", "tie"), ("a", "tie"), (None, "b"), (None, None)])
    assert (found.n, found.readable) == (2, 5 / 8)
    assert found.first_position_share == 1.0  # one preference, and it was for the first
    assert found.position_consistency == 0.5
    assert not found.is_blind


def test_disagreement_is_of_the_items_that_were_decided_both_times() -> None:
    again: list[Said] = [("b", "b"), ("b", "b"), (None, "a"), ("b", "b"), *HONEST[4:]]
    found = trust(HONEST, again)
    assert (found.self_disagreement, found.repeated) == (1 / 39, 39)
    assert found.warnings == []
    assert "decides 100 % of 40 items otherwise" in trust(HONEST, [("tie", "tie")] * 40).warnings[0]


def test_nothing_that_was_not_measured_is_a_number() -> None:
    found = trust([])
    assert found == Reliability(
        n=0, readable=None, position_consistency=None, first_position_share=None, first_position_ci=None, warnings=[]
    )


def test_kappa_and_alpha_are_those_by_hand() -> None:
    # Judge: a on 0-4, b on 5-9. People: a on 0-3 and 5, b on 4 and 6-9. They agree on 8 of 10, by chance on half.
    said: list[Said] = [("a", "a")] * 5 + [("b", "b")] * 5
    labels: list[Winner] = ["a", "a", "a", "a", "b", "a", "b", "b", "b", "b"]
    found = human_agreement(outcomes(said), {"": {str(i): label for i, label in enumerate(labels)}})
    assert (found.n, found.people, found.agreement) == (10, 1, 0.8)
    assert found.cohen_kappa == pytest.approx((0.8 - 0.5) / 0.5)
    # Ten labels of each kind: 1 - (4 disagreeing values of 20) / (2 * 10 * 10 / (20 * 19))
    assert found.krippendorff_alpha == pytest.approx(1 - 0.2 * (20 * 19) / 200)


def test_several_people_count_label_by_label_and_few_labels_are_called_few() -> None:
    labels: dict[str, dict[str, Winner]] = {"ann": {"0": "a", "1": "b"}, "bo": {"0": "a", "x": "b"}}
    found = human_agreement(outcomes(HONEST[:2]), labels)
    assert (found.n, found.people, found.agreement) == (3, 2, 1.0)
    warned = reliability(outcomes(HONEST[:2]), calls(HONEST[:2]), labels=labels).warnings
    assert warned == ["3 labels of people are too few to say whether it agrees with them: 30 at least"]


def test_of_one_label_only_there_is_no_kappa() -> None:
    found = human_agreement(outcomes([("a", "a")] * 3), {"": {"0": "a", "1": "a"}})
    assert (found.n, found.agreement, found.cohen_kappa, found.krippendorff_alpha) == (2, 1.0, None, None)


def test_identical_answers_are_no_evidence_about_the_judge() -> None:
    same = JudgedItem(item="same", winner="tie", identical=True, length_a=1, length_b=1)
    found = reliability([same, *outcomes(HONEST)], calls(HONEST))
    assert (found.n, found.position_consistency) == (40, 1.0)
