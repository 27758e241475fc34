"""Runs over their seeds: estimates by hand, what is refused, what is compared, and what is written."""

import json
import math
import random
from pathlib import Path
from statistics import stdev

import pytest

from claas.core.errors import InvalidInput
from claas.core.settings import TrainingConfig
from claas.dashboard.report import aggregate_page
from claas.eval.aggregate import main
from claas.results import summary
from claas.results.aggregate import Aggregate
from claas.results.aggregate_figure import aggregate_plots
from claas.results.aggregating import aggregate
from claas.results.effects import ArmEffect, Contrast
from claas.results.keys import Criterion, Estimator, Items, Key
from claas.results.over_seeds import SeedItems, difference_over_seeds, estimate_over_seeds
from claas.results.records import SAMPLED, Counts, History, StepRecord, Transcript
from claas.results.run_files import RunFiles
from claas.results.seed_runs import read_seed_run, settings_of
from claas.results.transfer import Transfer, TransferNumber
from claas.results.verdict import NOTHING_TO_FORGET, Verdict
from tests.dashboard.written_runs import EXAMPLE, Few, write_run
from tests.documents import document
from tests.results.synthetic_runs import make_history


class Seeded(Few):
    """Held-out prompts that are learned sooner by some seeds than by others."""

    heldouts = 8

    def _compliance(self, t: float) -> list[Transcript]:
        noise = random.Random(self.seed)
        return [
            Transcript(
                metric="compliance",
                item=f"{kind}/{index}",
                prompt=f"prompt {index}",
                response="r",
                verdict={"score": float(passed), "passed": passed},
            )
            for kind, n in (("heldout", self.heldouts), ("probe", 4))
            for index in range(n)
            for passed in [noise.random() < 1.4 * t]
        ]


def history(seed: int, steps: int = 6, done: int | None = None) -> History:
    made = make_history(Seeded(seed), steps=steps, done=done)
    four = {SAMPLED: Counts(planned=4, scored=4, errored=0)}
    steps_made = tuple(step.model_copy(update={"counts": step.counts | four}) for step in made.steps)
    return History("concise", steps, made.baseline, steps_made)


def write_seeds(folder: Path, *seeds: int, **config: object) -> list[Path]:
    for seed in seeds:
        write_run(folder / f"seed-{seed}", {"concise": history(seed)}, seed=seed, **config)
    return [folder / f"seed-{seed}" for seed in seeds]


def made_of(folders: list[Path], by: str | None = None) -> Aggregate:
    return aggregate(*settings_of([read_seed_run(folder) for folder in folders], by))


def key(estimator: Estimator, value: str = "verdict.words") -> Key:
    above = estimator != "shift"
    criterion = Criterion(
        name="it", relation=">" if above else "<", threshold=0.0, estimator=estimator, meaning="m", formula="f"
    )
    return Key(key="it", title="It", items=Items(metric="m", value=value), criterion=criterion)


SEEDS = [
    SeedItems({"a": 3.0, "b": 1.0}, {"a": 2.0, "b": 2.0}),
    SeedItems({"a": 5.0, "b": 4.0}, {"a": 1.0, "b": 3.0}),
]


@pytest.mark.parametrize(
    ("estimator", "value", "by_seed"),
    [
        ("mean", 13 / 4, [2.0, 4.5]),
        ("gain", 5 / 4, [0.0, 2.5]),
        ("shift", 5 / 4, [0.0, 2.5]),
        ("ratio", 13 / 8, [1.0, 9 / 4]),
    ],
)
def test_estimates_by_hand(estimator: Estimator, value: float, by_seed: list[float]) -> None:
    estimate = estimate_over_seeds(key(estimator), SEEDS)
    assert estimate.table is not None
    assert estimate.table.mean == pytest.approx(value)
    assert estimate.by_seed == pytest.approx(by_seed)
    interval = estimate.interval(0.95)
    assert interval is not None
    assert interval.low < value < interval.high


def test_shifts_of_seeds_that_went_opposite_ways_do_not_cancel() -> None:
    seeds = [
        SeedItems({"a": 1.0, "b": 3.0}, {"a": 0.0, "b": 0.0}),
        SeedItems({"a": -1.0, "b": -3.0}, {"a": 0.0, "b": 0.0}),
    ]
    estimate = estimate_over_seeds(key("shift"), seeds)
    assert estimate.by_seed == [2.0, 2.0]
    assert estimate.table is not None
    assert estimate.table.mean == 2.0


def test_retention_is_of_what_passed_and_a_lost_item_may_have_been_either() -> None:
    before = {f"i{n}": 1.0 for n in range(10)} | {"never known": None}
    whole = [SeedItems({f"i{n}": float(n != seed) for n in range(10)}, before) for seed in range(3)]
    lost = [SeedItems({**seed.after, "i9": None}, before) for seed in whole]
    known, open_ended = (estimate_over_seeds(key("retention", "score"), seeds) for seeds in (whole, lost))
    assert known.by_seed == pytest.approx([0.9] * 3)
    assert open_ended.lost == 3
    sure, unsure = known.interval(0.95), open_ended.interval(0.95)
    assert sure is not None
    assert unsure is not None
    assert unsure.low < sure.low
    assert unsure.high >= sure.high


def test_a_difference_is_paired_by_seed_and_item() -> None:
    one, other = SEEDS
    shifted = [SeedItems({item: value + 1 for item, value in each.after.items()}, {}) for each in (one, other)]
    by_seed, table = difference_over_seeds(key("mean"), list(zip((one, other), shifted, strict=True)))
    assert by_seed == [1.0, 1.0]
    assert table is not None
    assert (table.mean, table.variance) == (1.0, 0.0)  # however much seeds and items differ


def test_seeds_of_one_configuration(tmp_path: Path) -> None:
    made = made_of(write_seeds(tmp_path, 1, 2, 3))
    (setting,) = made.settings
    concise = setting.preferences["concise"]
    heldout = concise.criteria["heldout_compliance"]
    assert (made.by, made.differences, heldout.seeds, heldout.items) == (None, {}, 3, 8)
    assert list(heldout.by_seed) == ["1", "2", "3"]
    curve = concise.curves["heldout_compliance"]
    assert curve.updates == list(range(7))
    assert curve.by_seed["2"] == list(history(2).curve("heldout_compliance").values())
    assert concise.to_criterion is not None
    assert set(concise.to_criterion.by_seed.values()) <= {None, *range(0, 25, 4)}
    assert made.notes == ["3 seeds are a picture: 5 are the least for an interval worth having"]


def test_the_order_of_the_runs_changes_nothing(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path, 1, 2, 3)
    assert made_of(folders) == made_of(folders[::-1])


def test_one_seed_is_said_to_be_too_few_and_drawn_all_the_same(tmp_path: Path) -> None:
    made = made_of(write_seeds(tmp_path, 7))
    assert "one seed says nothing of others" in made.notes[0]
    heldout = made.settings[0].preferences["concise"].criteria["heldout_compliance"]
    assert (heldout.ci, heldout.verdict) == (None, "inconclusive")
    assert aggregate_plots(made).keys() == {"concise"}


def test_two_values_of_one_setting_are_compared(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path / "low", 1, 2, training=TrainingConfig(learning_rate=1e-3))
    folders += write_seeds(tmp_path / "high", 1, 2, 3, training=TrainingConfig(learning_rate=1e-2))
    made = made_of(folders)
    assert made == made_of(folders, "training.learning_rate") == made_of([*folders[2:], *folders[:2]])
    assert (made.by, [setting.value for setting in made.settings]) == ("training.learning_rate", [1e-3, 1e-2])
    difference = made.differences["concise"]["heldout_compliance"]
    assert difference.by_seed == {"1": 0.0, "2": 0.0}  # the third has no counterpart
    assert difference.ci is not None
    assert difference.ci[0] < 0 < difference.ci[1]
    page = aggregate_page(made, {"concise": b"png"})
    assert "training.learning_rate" in page


def test_other_configurations_are_refused_with_their_difference(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path / "a", 1) + write_seeds(tmp_path / "b", 2, temperature=0.5, batch_size=2)
    with pytest.raises(InvalidInput, match=r"batch_size is 4 in .*seed-1, 2 in .*seed-2; temperature is 0\.7 in"):
        made_of(folders)
    with pytest.raises(InvalidInput, match=r"batch_size is 4 in"):
        made_of(folders, "temperature")
    three = folders[:1] + write_seeds(tmp_path / "c", 3, batch_size=8) + write_seeds(tmp_path / "d", 4, batch_size=2)
    with pytest.raises(InvalidInput, match=r"batch_size is 4 in .*, 8 in .*, 2 in"):
        made_of(three)
    with pytest.raises(InvalidInput, match="--by seed: all runs have the same; they differ in their seed alone"):
        made_of(write_seeds(tmp_path / "e", 1, 2), "seed")


def test_items_that_a_limit_drew_by_the_seed_are_no_setting(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path, 1, 2, limit={"heldout": 4})
    metadata = folders[1] / "concise" / "metadata.json"
    drawn = json.loads(metadata.read_text()) | {"preference_digest": "of other prompts"}
    metadata.write_text(json.dumps(drawn))
    with pytest.raises(InvalidInput, match="limit drew other items for every seed"):
        made_of(folders)


def test_settings_that_change_no_measurement_may_differ(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path / "a", 1) + write_seeds(tmp_path / "b", 2, max_concurrency=1, lora_id_prefix="other")
    assert len(made_of(folders).settings[0].runs) == 2


def test_of_two_runs_with_one_seed_the_first_counts(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path / "a", 1, 2) + write_seeds(tmp_path / "b", 2)
    assert [run.folder for run in made_of(folders).settings[0].runs] == [str(folder) for folder in folders[:2]]


def test_a_run_that_is_not_complete_is_in_no_criterion(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path, 1, 2)
    write_run(tmp_path / "seed-3", {"concise": history(3, done=2)}, seed=3)
    made = made_of([*folders, tmp_path / "seed-3"])
    concise = made.settings[0].preferences["concise"]
    assert list(concise.criteria["heldout_compliance"].by_seed) == ["1", "2"]
    assert concise.to_criterion is not None
    assert list(concise.to_criterion.by_seed) == ["1", "2", "3"]
    assert any("seed 3" in note and "running: 2 of 6 steps" in note for note in made.notes)


def test_what_a_summary_says_of_controls_and_transfer_is_taken_over_seeds(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path, 1, 2, 3)
    for folder, beyond, bwt in zip(folders, (0.1, 0.2, 0.6), (-0.3, None, -0.1), strict=True):
        contrast = Contrast(value=beyond, ci=None, p=None, n=8, formula="f")
        found = summary.read(folder)
        ruling = found.preferences["concise"].criteria["heldout_compliance"]
        number = TransferNumber(value=bwt, formula="f", source="s")
        transfer = Transfer(preferences=[], stages=[], matrix=[], numbers={"bwt": number}, ruling=ruling)
        arms = {"concise": {"irrelevant": ArmEffect(control_gain=0.0, compliance=contrast)}}
        summary.write(folder, found.model_copy(update={"transfer": transfer, "arms": arms}))
    (setting,) = made_of(folders).settings
    irrelevant = setting.preferences["concise"].beyond_controls["irrelevant"]
    assert irrelevant.value == pytest.approx(0.3)
    half = 4.302652730 * stdev((0.1, 0.2, 0.6)) / math.sqrt(3)  # Student's t with two degrees of freedom
    assert irrelevant.ci == pytest.approx((0.3 - half, 0.3 + half))
    assert setting.transfer["bwt"].by_seed == {"1": -0.3, "3": -0.1}


def test_steps_are_read_without_their_transcripts_but_where_they_are_needed() -> None:
    read = read_seed_run(EXAMPLE).histories["concise"]
    whole = RunFiles(EXAMPLE).preference("concise").read_steps()
    assert [_less(step) for step in read.steps] == [_less(step) for step in whole]
    assert [bool(step.rollouts) for step in read.steps] == [False, False, True]
    assert read.steps[-1] == whole[-1]


def _less(step: StepRecord) -> StepRecord:
    return step.model_copy(update={"rollouts": [], "canary": None})


def test_a_line_that_was_written_otherwise_is_read_whole(tmp_path: Path) -> None:
    (folder,) = write_seeds(tmp_path, 1)
    expected = read_seed_run(folder).histories["concise"].steps
    path = folder / "concise" / "steps.jsonl"
    path.write_text("".join(f"{json.dumps(json.loads(line))}\n" for line in path.read_text().splitlines()))
    assert [_less(step) for step in read_seed_run(folder).histories["concise"].steps] == [*map(_less, expected)]


def test_the_command_writes_numbers_page_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_seeds(tmp_path, 1, 2, 3, 4, 5)
    assert main([str(tmp_path), "--json"]) == 0
    printed = capsys.readouterr()
    said = printed.err
    assert "concise: 5 seeds" in said
    assert "5 × 8" in said
    assert "learned after a median of" in said
    assert str(tmp_path / "aggregate.html") in said
    made = Aggregate.model_validate_json((tmp_path / "aggregate.json").read_text())
    assert len(made.settings[0].runs) == 5
    found = document(printed)["result"]
    assert found == {"folder": str(tmp_path), "aggregate": json.loads((tmp_path / "aggregate.json").read_text())}
    assert (tmp_path / "aggregate-concise.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png" in (tmp_path / "aggregate.html").read_text()


def test_mistakes_are_said_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("name runs, or a folder that they are in")
    assert "there is no config.json in or below it" in second


def test_what_does_not_pass_in_a_run_for_want_of_a_first_wish_does_not_over_seeds(tmp_path: Path) -> None:
    folders = write_seeds(tmp_path, 1, 2, 3, 4, 5)
    criteria = made_of(folders).settings[0].preferences["concise"].criteria
    passed = next(name for name, each in criteria.items() if each.verdict is Verdict.PASS)
    path = folders[2] / summary.FILE_NAME
    found = json.loads(path.read_text())
    found["preferences"]["concise"]["criteria"][passed]["note"] = NOTHING_TO_FORGET
    path.write_text(json.dumps(found))
    held_back = made_of(folders).settings[0].preferences["concise"].criteria[passed]
    assert held_back.verdict is Verdict.INCONCLUSIVE
    assert held_back.note == f"{NOTHING_TO_FORGET}, under seed 3"
