"""Checks, and the settings that use them."""

import math
from dataclasses import fields
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.checks import adapter_id, in_range, is_finite, name_and_version, served_name, versioned_name
from claas.core.errors import InvalidInput
from claas.core.settings import EMBEDDED, TrainingConfig, default_base_model, default_learning_rate


@given(st.text(max_size=30))
def test_an_accepted_adapter_id_cannot_leave_its_folder(value: str) -> None:
    try:
        adapter_id(value)
    except InvalidInput:
        return
    assert not value.startswith(("/", "."))
    assert not value.endswith("/")
    assert all(part and not part.startswith(".") and "\\" not in part for part in value.split("/"))


@pytest.mark.parametrize(
    "value", ["../x", "a/../b", "/etc/passwd", "", ".hidden", "a//b", "a/", "a\0b", "a\n", "ä", "a" * 201]
)
def test_ids_that_could_leave_the_store_are_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="invalid adapter id"):
        adapter_id(value)


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**309, math.inf, math.nan, True, "1"])
def test_what_no_float_holds_is_not_finite(value: object) -> None:
    assert not is_finite(value)
    with pytest.raises(InvalidInput, match="teacher_top_k"):
        TrainingConfig(teacher_top_k=cast(int, value))


def test_a_served_name_keeps_what_a_model_name_may_hold() -> None:
    assert served_name("eval/concise-2.1_x") == "eval-concise-2.1_x"


def test_a_version_is_named_after_the_name_its_adapter_is_served_under() -> None:
    assert versioned_name("eval/concise", 7) == "eval-concise@7"


@pytest.mark.parametrize("name", ["eval-concise", "@7", "eval-concise@", "eval-concise@x", "eval-concise@-1"])
def test_a_name_without_a_version_has_no_parts(name: str) -> None:
    assert name_and_version(name) is None
    assert name_and_version(versioned_name("eval/concise", 7)) == ("eval-concise", 7)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_a_value_out_of_range_is_named(value: float) -> None:
    with pytest.raises(InvalidInput, match=r"alpha must be >= 0 and <= 1, got"):
        in_range("alpha", value, 0.0, 1.0)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("objective", "dpo"),
        ("learning_rate", 0.0),
        ("alpha", 1.5),
        ("is_clip", 0.5),
        ("max_grad_norm", -1.0),
        ("kl_reg_weight", 2.0),
        ("teacher_top_k", 9),
        ("steps_per_batch", 33),
        ("feedback_repetitions", 0),
    ],
)
def test_every_training_setting_has_a_range(field: str, bad: float) -> None:
    with pytest.raises(InvalidInput, match=f"training.{field} must be|unknown training.{field}"):
        TrainingConfig(**{field: bad})


def test_no_training_setting_is_without_a_range_test() -> None:
    marks = test_every_training_setting_has_a_range.pytestmark  # type: ignore[attr-defined]  # set by the decorator
    assert {field.name for field in fields(TrainingConfig)} == {case[0] for case in marks[0].args[1]}


def test_a_large_model_never_gets_the_small_ones_learning_rate() -> None:
    assert default_learning_rate(EMBEDDED) == 8e-4
    assert default_learning_rate(default_base_model("tinker")) == 3e-5
    assert default_learning_rate("/some/path") == 3e-5


def test_an_unknown_mode_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"unknown mode 'cloud'; known: local, modal, tinker, vllm"):
        default_base_model("cloud")
