"""What runs differ in besides their numbers."""

from claas.core.settings import TrainingConfig
from claas.dashboard.distinctions import (
    Distinction,
    distinctions,
    measured_otherwise,
    recorded_in_some,
    seeds_of_one_configuration,
)
from tests.dashboard.compared_runs import manifest, metadata


def test_runs_of_one_configuration_differ_in_nothing_though_their_folders_do() -> None:
    assert distinctions([manifest("a"), manifest("b")]) == []


def test_every_setting_that_differs_is_named_as_on_the_command_line_with_each_runs_value() -> None:
    other = manifest(seed=2, training=TrainingConfig(alpha=0.25, learning_rate=0.1), checkpoints=[0])
    rate = str(manifest().config["training"]["learning_rate"])
    assert distinctions([manifest(seed=1), other, manifest(seed=1)]) == [
        Distinction("checkpoints", ("[0, 1, 2, 4, 5]", "[0]", "[0, 1, 2, 4, 5]"), True),
        Distinction("seed", ("1", "2", "1"), True),
        Distinction("training.learning_rate", (rate, "0.1", rate), True),
        Distinction("training.alpha", ("0.5", "0.25", "0.5"), True),
    ]


def test_what_changes_no_measurement_comes_last_and_says_so() -> None:
    criteria = {**manifest().config["criteria"], "margin_gain": 3.0}
    found = distinctions([manifest(seed=1, plots=True), manifest(seed=2, criteria=criteria, plots=False)])
    assert [(each.name, each.matters) for each in found] == [
        ("seed", True),
        ("plots", False),
        ("criteria.margin_gain", False),
    ]


def test_packages_and_the_commit_are_compared_too() -> None:
    other = manifest().model_copy(update={"versions": {"claas": "1.1", "peft": "0.1"}, "git_commit": None})
    assert distinctions([manifest(), other]) == [
        Distinction("git commit", ("c0ffee", "null"), True),
        Distinction("package claas", ("1.0", "1.1"), True),
    ]
    assert recorded_in_some([manifest(), other]) == [
        Distinction("package torch", ("2.0", None), True),
        Distinction("package peft", (None, "0.1"), True),
    ], "one run says nothing of them, which is no difference"


def test_a_truth_is_not_taken_for_a_number() -> None:
    runs = [manifest(fail_on_error=True), manifest(fail_on_error=1.0)]
    assert [each.name for each in distinctions(runs)] == ["fail_on_error"]


def test_three_runs_that_differ_in_seed_alone_belong_together() -> None:
    runs = [manifest(seed=1), manifest(seed=2, batch_size=1), manifest(seed=2, plots=False), manifest(seed=3)]
    assert seeds_of_one_configuration(runs) == [(0, 2, 3)]
    assert seeds_of_one_configuration(runs[:3]) == []


def test_a_seed_that_was_run_twice_counts_once() -> None:
    assert seeds_of_one_configuration([manifest(seed=1), manifest(seed=1), manifest(seed=2)]) == []


def test_another_package_is_another_configuration() -> None:
    other = manifest(seed=3).model_copy(update={"versions": {"claas": "1.1"}})
    assert seeds_of_one_configuration([manifest(seed=1), manifest(seed=2), other]) == []


def test_another_preference_or_other_metrics_are_another_measurement() -> None:
    assert measured_otherwise(metadata(), metadata()) == []
    (said,) = measured_otherwise(metadata(), metadata(digest="other"))
    assert said == "not the same measurement: the preference's feedback, prompts, pairs or verifier differ"
    assert len(measured_otherwise(metadata(), metadata(digest="other", metrics="other"))) == 2


def test_without_a_digest_nobody_can_tell() -> None:
    (said,) = measured_otherwise(metadata(), metadata(metrics=None))
    assert said.startswith("perhaps not the same measurement: no digest on record says whether the metrics")
