"""A scan's table and its choice by hand, of made-up results, and what cannot be scanned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from claas.bench.catalogue import chosen
from claas.bench.loss.measure import ModelLoss
from claas.bench.loss.metric import DocumentLoss, Loss
from claas.bench.scan.__main__ import COMMAND, described, main
from claas.bench.scan.checkpoints import checkpoints_in
from claas.bench.scan.settings import ScanConfig
from claas.bench.scan.table import MeasuredCheckpoint, require_rule, scan_of
from claas.core.errors import InvalidInput
from claas.results.benchmarks import BenchmarkFiles
from claas.results.scan import Scan
from claas.results.scan_figure import write_scan_plot
from claas.results.statistics import wilson
from tests.bench.benchmark_folders import write_run

Scores = Mapping[str, Sequence[float]]


def loss(*documents: tuple[float, int]) -> ModelLoss:
    rows = tuple(DocumentLoss(str(place), nats, tokens, 4 * tokens) for place, (nats, tokens) in enumerate(documents))
    return ModelLoss("m", 0, "d", Loss.over(rows), rows)


def measured(
    folder: Path, step: int, tasks: Scores, text: ModelLoss | None = None, **changes: Any
) -> MeasuredCheckpoint:
    """One checkpoint as a run has left it."""
    name = f"calm@{step}"
    write_run(folder, name, tasks, **changes)
    result = BenchmarkFiles(folder).read_summary(name)
    return MeasuredCheckpoint(name, step, name, "claas-tiny", f"digest-{name}", name, result, text)


def scanned(
    folder: Path, found: Sequence[MeasuredCheckpoint], tasks: Sequence[str], **settings: Any
) -> tuple[Scan, str | None]:
    config = ScanConfig(adapter="calm", tasks=list(tasks), output_dir=str(folder), **settings)
    asked = chosen(None, tasks, limit=None, num_fewshot=None) if tasks else None
    return scan_of(config, asked, found)


def test_a_table_of_checkpoints_and_tasks_and_the_best_by_one_of_them(tmp_path: Path) -> None:
    found = [
        measured(tmp_path, 1, {"hellaswag": [1, 0, 0, 0], "piqa": [1, 1]}),
        measured(tmp_path, 2, {"hellaswag": [1, 1, 1, 0], "piqa": [1, 0]}),
    ]
    scan, reason = scanned(tmp_path, found, ["hellaswag", "piqa"], best="hellaswag/acc")
    assert reason is None
    assert [each.name for each in scan.measures] == ["hellaswag/acc", "piqa/acc"]
    score = scan.checkpoints[1].scores["hellaswag/acc"]
    assert (score.value, score.n, score.ci) == (0.75, 4, (wilson(3, 4).low, wilson(3, 4).high))
    assert scan.selection is not None
    assert (scan.selection.best, scan.selection.score, scan.selection.rule) == ("calm@2", 0.75, "hellaswag/acc")
    assert scan.selection.within_noise == ["calm@1"]
    assert scan.selection.earliest == "calm@1"


def test_the_mean_is_over_tasks_and_not_over_items(tmp_path: Path) -> None:
    # means of tasks: (.25 + 1) / 2 and (.75 + 0) / 2; over items the second would be the better with 3 of 6 to 3 of 6
    found = [
        measured(tmp_path, 1, {"hellaswag": [1, 0, 0, 0], "piqa": [1, 1]}),
        measured(tmp_path, 2, {"hellaswag": [1, 1, 1, 0], "piqa": [0, 0]}),
    ]
    scan, _ = scanned(tmp_path, found, ["hellaswag", "piqa"])
    assert scan.selection is not None
    assert (scan.selection.rule, scan.selection.best, scan.selection.score) == ("mean", "calm@1", pytest.approx(0.625))
    assert scan.selection.items == 6
    assert scan.selection.ci is not None
    assert 0 <= scan.selection.ci[0] < 0.625 < scan.selection.ci[1] <= 1


def test_the_loss_is_weighed_by_tokens_and_paired_by_document(tmp_path: Path) -> None:
    texts = {1: loss((4.0, 2), (30.0, 10)), 2: loss((5.0, 2), (18.0, 10)), 3: loss((4.0, 2), (20.0, 10))}
    found = [
        MeasuredCheckpoint(f"calm@{n}", n, f"calm@{n}", "claas-tiny", "d", "r", None, text) for n, text in texts.items()
    ]
    scan, reason = scanned(tmp_path, found, [], loss=True)
    assert reason is None
    assert [each.scores["eval_loss"].value for each in scan.checkpoints] == [34 / 12, 23 / 12, 2.0]
    assert scan.measures[0].less_is_better
    assert scan.selection is not None
    assert (scan.selection.best, scan.selection.score) == ("calm@2", pytest.approx(23 / 12))
    # chosen by the first document: calm@1 (the earlier of equal ones), whose second costs 30 of 5 × 2 tokens, that is
    # 30 × 2 / 12; by the second: calm@2, whose first costs 5 × 2 / 12.
    assert scan.selection.split_half == pytest.approx((30 / 6 + 5 / 6) / 2)


def test_what_has_failed_is_told_and_left_out_of_the_choice(tmp_path: Path) -> None:
    whole = measured(tmp_path, 1, {"hellaswag": [1, 0]})
    broken = measured(tmp_path, 2, {"hellaswag": [1, 1]})
    assert broken.result is not None
    failed = broken.result.task_results[0].model_copy(update={"value": None, "error": "the data are gone"})
    result = broken.result.model_copy(update={"task_results": [failed], "n_tasks_failed": 1})
    lost = MeasuredCheckpoint("calm@2", 2, "calm@2", "claas-tiny", "d", "calm@2", result, None)
    scan, _ = scanned(tmp_path, [whole, lost], ["hellaswag"])
    assert scan.checkpoints[1].failed == {"hellaswag/acc": "the data are gone"}
    assert scan.checkpoints[1].scores == {}
    assert scan.selection is not None
    assert (scan.selection.best, scan.selection.candidates) == ("calm@1", 1)


def test_no_choice_among_what_was_not_asked_the_same(tmp_path: Path) -> None:
    found = [
        measured(tmp_path, 1, {"hellaswag": [1, 0]}),
        measured(tmp_path, 2, {"hellaswag": [1, 1]}, apply_chat_template=False),
    ]
    scan, reason = scanned(tmp_path, found, ["hellaswag"], best="hellaswag")
    assert scan.selection is None
    assert reason is not None
    assert "not comparable: apply_chat_template is true in calm@1 and false in calm@2" in reason
    assert scan.measures[0].not_chosen_by is not None
    assert [each.scores["hellaswag/acc"].value for each in scan.checkpoints] == [0.5, 1.0]
    other = [
        MeasuredCheckpoint("a", 1, "a", "b", "d", "r", None, loss((4.0, 2))),
        MeasuredCheckpoint("c", 2, "c", "b", "d", "r", None, loss((4.0, 3))),
    ]
    assert scanned(tmp_path, other, [], loss=True)[1] == (
        "none is the best by eval_loss: eval_loss: the checkpoints cut the text in different tokens"
    )


def test_the_files_hold_what_was_found(tmp_path: Path) -> None:
    found = [
        measured(tmp_path, 1, {"hellaswag": [1, 0, 0, 0]}, loss((4.0, 2), (30.0, 10))),
        measured(tmp_path, 2, {"hellaswag": [1, 1, 1, 0]}, loss((5.0, 2), (18.0, 10))),
    ]
    scan, _ = scanned(tmp_path, found, ["hellaswag"], loss=True)
    scan.write(tmp_path)
    assert Scan.model_validate_json((tmp_path / "scan.json").read_text()) == scan
    header, first, _ = (tmp_path / "scan.csv").read_text().splitlines()
    assert header.startswith("checkpoint,step,digest,hellaswag/acc,hellaswag/acc low,hellaswag/acc high,eval_loss,")
    assert first.startswith(f"calm@1,1,digest-calm@1,0.25,{wilson(1, 4).low},{wilson(1, 4).high},{34 / 12},")
    assert write_scan_plot(scan, tmp_path) == [tmp_path / "scan.png"]
    assert imread(tmp_path / "scan.png").shape[1] > 900
    assert not list(tmp_path.glob(".*.tmp"))
    empty = scan.model_copy(update={"checkpoints": []})
    assert write_scan_plot(empty, tmp_path) == []


def test_a_person_is_told_what_the_choice_is_worth(tmp_path: Path) -> None:
    found = [measured(tmp_path, step, {"hellaswag": [1, 0] * step + [0] * (20 - 2 * step)}) for step in (1, 9)]
    scan, _ = scanned(tmp_path, found, ["hellaswag"])
    assert scan.selection is not None
    lines = described(scan.selection)
    assert lines[0].startswith(
        "best by hellaswag/acc of 2: calm@9, 0.450 of 20 items, 95 % interval 0.237 to 0.683 for"
    )
    assert lines[1].endswith("chosen by half of the items, the other half gives 0.450")
    assert lines[2] == (
        "within noise of it: 0 of the 1 others; the earliest that these items cannot tell from the best is calm@9"
    )


def folder_of(path: Path, *names: str) -> None:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text("")


def test_checkpoints_of_a_folder_stand_in_order_of_their_numbers(tmp_path: Path) -> None:
    folder_of(tmp_path / "step_1000", ".metadata", "__0_0.distcp")
    folder_of(tmp_path / "step_200", "config.json", "model.safetensors")
    folder_of(tmp_path / "checkpoint-30", "adapter_config.json", "adapter_model.safetensors")
    folder_of(tmp_path / "final", "config.json", "model-1-of-2.safetensors")
    folder_of(tmp_path / "logs", "events")
    (tmp_path / "q8-4.gguf").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert [(each.name, each.step, each.kind.name) for each in checkpoints_in(str(tmp_path))] == [
        ("q8-4.gguf", 4, "GGUF"),
        ("checkpoint-30", 30, "ADAPTER"),
        ("step_200", 200, "MODEL"),
        ("step_1000", 1000, "DCP"),
        ("final", 1001, "MODEL"),
    ]
    with pytest.raises(InvalidInput, match=r"holds no checkpoints .*; give the folder around it"):
        checkpoints_in(str(tmp_path / "final"))
    with pytest.raises(InvalidInput, match="the folder 'none' not found"):
        checkpoints_in("none")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give adapter=NAME, whose versions are scanned, or checkpoints=FOLDER"),
        (["every=2"], "versions and every are of an adapter: set adapter"),
        (["adapter=calm", "versions=[0]"], "distinct numbers above 0"),
        (["adapter=calm", "versions=[3,3]"], "distinct numbers above 0"),
        (["adapter=calm", "versions=[3]", "every=2"], "go without every"),
        (["adapter=../x"], "invalid adapter id '../x'"),
        (["adapter=calm", "suite=quick", "tasks=[piqa]"], "give suite=quick or tasks, not both"),
        (["adapter=calm", "data=a.txt", "hf_dataset_name=wikitext"], "give data or hf_dataset_name, not both"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_scan_needs_no_base_model_and_may_be_of_the_loss_alone() -> None:
    (job,) = COMMAND.jobs(["adapter=calm", "include_base=false", "loss=true"])
    assert not job.config.asks_tasks
    (job,) = COMMAND.jobs(["adapter=calm", "data=notes.jsonl", "tasks=[piqa]"])
    assert (job.config.asks_tasks, job.config.reads_text) == (True, True)


def test_a_rule_that_cannot_choose_is_told_before_anything_is_asked() -> None:
    asked = chosen(None, ["hellaswag", "piqa"], limit=None, num_fewshot=None)
    for best in (None, "mean", "hellaswag", "hellaswag/acc_norm", "piqa/acc_norm"):
        require_rule(best, asked, reads_text=False)
    for best in ("eval_loss", "gsm8k", "hellaswag/exact_match", "median"):
        with pytest.raises(
            InvalidInput, match=rf"unknown rule best={best}; known: hellaswag/acc_norm, piqa/\S+, mean$"
        ):
            require_rule(best, asked, reads_text=False)
    with pytest.raises(InvalidInput, match=r"known: eval_loss$"):
        require_rule("mean", None, reads_text=True)
