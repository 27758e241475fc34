"""Experiment loggers: everything once, into the same run, and whatever one of them does, the run is as without it."""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from claas.core.errors import InvalidInput, StackError
from claas.core.settings import config_root
from claas.eval.__main__ import main
from claas.eval.config.compose import compose
from claas.eval.loggers.contents import LONGEST_TEXT, MOST_TRANSCRIPTS, ending_of, run_of, transcripts_table
from claas.eval.loggers.logger import Ending, EndState, LoggedPoint
from claas.eval.loggers.opening import make_loggers
from claas.eval.loggers.sink import Sink
from claas.eval.run.reporter import Reporter, Silent
from claas.eval.runner import run_harness
from claas.results.manifest import new_manifest
from claas.results.records import History, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults, build_summary
from tests.eval.diary import Diary, entries
from tests.eval.scripted_run import Halting, talkative, until_halted
from tests.eval.small_preferences import small_preferences
from tests.results.synthetic_runs import make_history

NAMES = ("calm", "brief")
POINTS = [[name, updates] for name in NAMES for updates in range(3)]


class Listening(Silent):
    """Keeps what a person is told."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def remarked(self, remark: str) -> None:
        self.remarks.append(remark)


def work(folder: Path, stack: Any, reporter: Reporter | None = None, **settings: Any) -> Any:
    """Two small preferences of two steps each, whose loggers write below `folder`."""
    chosen = {
        "preferences": list(NAMES),
        "metrics": ["quick"],
        "num_steps": 2,
        "plots": False,
        "controls": [],
        "output_dir": str(folder / "run"),
        "config_dir": str(small_preferences(folder / "mine", *NAMES)),
    }

    @asynccontextmanager
    async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Any, None]:
        yield stack

    return run_harness(EvalConfig(**{**chosen, **settings}), reporter, open_stack=open_stack)


def harness(folder: Path, stack: Any, reporter: Reporter | None = None, **settings: Any) -> RunResults:
    return asyncio.run(work(folder, stack, reporter, **settings))


def diary(path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"diary": {"_target_": "tests.eval.diary.Diary", "diary": str(path), **settings}}


def test_a_logger_is_told_every_measurement_once_with_the_numbers_on_record(tmp_path: Path) -> None:
    page = tmp_path / "diary.jsonl"
    told, both = Listening(), diary(page) | {"torn": diary(page, wrong="log")["diary"]}
    results = harness(tmp_path, talkative(), told, logger=both, parallel_preferences=2)
    (remark,) = told.remarks
    assert remark.startswith("logger torn: RuntimeError: the pen broke. The run goes on without it")
    (start, _), (end,) = entries(page, "start"), entries(page, "finish")
    assert (start["start"], start["id"], start["before"]) == ("run", None, 0)
    assert start["settings"]["training.learning_rate"] == results.config.training.learning_rate
    assert not [name for name in start["settings"] if name.startswith("logger.")]
    logged = {tuple(each["log"]): each["scalars"] for each in entries(page, "log")}
    assert sorted(logged) == sorted(map(tuple, POINTS))
    assert len(entries(page, "log")) == len(POINTS)
    for name, history in results.preferences.items():
        curve = history.curve("preference_compliance")
        assert [logged[name, updates][f"{name}/preference_compliance"] for updates in range(3)] == list(curve.values())
        for metric, value in history.steps[1].sdpo_metrics.items():
            assert logged[name, 2][f"{name}/sdpo/{metric}"] == value
    verdicts = {name: found.verdict for name, found in results.summary.preferences.items()}
    assert end["verdicts"] == {**verdicts, "verdict": results.summary.verdict}
    assert (end["finish"], end["reason"]) == ("finished", None)
    assert end["tables"]["transcripts"] > 0


def test_a_logger_added_to_a_finished_run_is_told_all_of_it_and_then_nothing_more(tmp_path: Path) -> None:
    page = tmp_path / "diary.jsonl"
    harness(tmp_path, talkative())
    assert harness(tmp_path, None, logger=diary(page)).new_steps == 0
    assert [each["log"] for each in entries(page, "log")] == POINTS
    assert [each["finish"] for each in entries(page, "finish")] == ["finished"]
    before = page.read_text()
    harness(tmp_path, None, logger=diary(page))
    assert page.read_text() == before


def test_an_interrupted_run_goes_on_in_the_same_one_and_nothing_comes_twice(tmp_path: Path) -> None:
    page, inner = tmp_path / "diary.jsonl", talkative()
    stack = Halting(inner, halt_at=40)

    async def interrupted() -> bool:
        return await until_halted(stack, work(tmp_path, stack, logger=diary(page)))

    assert asyncio.run(interrupted())
    assert [each["finish"] for each in entries(page, "finish")] == ["interrupted"]
    harness(tmp_path, Halting(inner), logger=diary(page))
    assert [each["log"] for each in entries(page, "log")] == POINTS
    assert [each["id"] for each in entries(page, "start")] == [None, "entry-1"]
    assert [each["finish"] for each in entries(page, "finish")] == ["interrupted", "finished"]


class Book:
    """A sink that writes to a diary, opened as by one process after another."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.page, self.marks, self.said = folder / "diary.jsonl", folder / ".loggers" / "diary.json", list[str]()
        run = run_of(folder, new_manifest("r", EvalConfig().resolved()), EvalConfig())
        self.sink = Sink("diary", Diary(str(self.page), **settings), run, self.said.append)

    def told(self, *updates: int) -> "Book":
        for each in updates:
            self.sink.log(LoggedPoint("calm", each, 0.0, {}))
        return self

    def ended(self, within_s: float = 10.0) -> "Book":
        self.sink.finish(Ending(EndState.FINISHED, None, 2, {}))
        self.sink.close(within_s)
        return self

    def logged(self) -> list[int]:
        return [each["log"][1] for each in entries(self.page, "log")]


def test_what_a_killed_process_may_not_have_delivered_is_told_again(tmp_path: Path) -> None:
    killed = Book(tmp_path).told(0, 1, 2)
    until = time.monotonic() + 10
    while not (killed.marks.exists() and '"calm": 2' in killed.marks.read_text()) and time.monotonic() < until:
        time.sleep(0.005)
    after = Book(tmp_path).told(*range(5)).ended()
    assert after.logged() == [0, 1, 2, 2, 3, 4], "the last one before it was killed"
    assert Book(tmp_path).told(*range(5)).ended().logged() == after.logged()
    assert (killed.said, after.said) == ([], [])


@pytest.mark.parametrize("how", ["RuntimeError", "SystemExit", "OSError"])
@pytest.mark.parametrize(("wrong", "again"), [("start", [0, 1]), ("log", [0, 1]), ("finish", [0, 1, 1])])
def test_a_logger_that_failed_is_said_once_and_is_told_the_rest_by_the_next_process(
    tmp_path: Path, wrong: str, how: str, again: list[int]
) -> None:
    (remark,) = Book(tmp_path, wrong=wrong, how=how).told(0, 1).ended().said
    assert remark.startswith(f"logger diary: {how}: the pen broke. The run goes on without it")
    after = Book(tmp_path).told(0, 1).ended()
    assert (after.logged(), after.said) == (again, [])
    assert [each["finish"] for each in entries(after.page, "finish")] == ["finished"]


@pytest.mark.parametrize("wrong", ["start", "log", "finish"])
def test_a_logger_that_hangs_is_left_behind(tmp_path: Path, wrong: str) -> None:
    (remark,) = Book(tmp_path, wrong=wrong, how="wait").told(0, 1).ended(within_s=0.2).said
    assert remark.startswith("logger diary: it did not end in time")


def test_a_run_does_not_wait_for_a_logger_that_hangs(tmp_path: Path) -> None:
    told = Listening()
    asked = diary(tmp_path / "diary.jsonl", wrong="log", how="wait")
    assert not harness(tmp_path, talkative(), told, logger=asked, logger_wait_s=0.1).failures
    assert len(told.remarks) == 1


def test_a_disk_on_which_nothing_can_be_written_ends_the_logger_alone(tmp_path: Path) -> None:
    (tmp_path / ".loggers").write_text("a file where the folder should be")
    (remark,) = Book(tmp_path).told(0, 1).ended().said
    assert "cannot write" in remark


def test_a_failed_run_is_said_to_have_failed_and_why(tmp_path: Path) -> None:
    class Failing(Halting):
        async def give_feedback(self, adapter, items, key):
            if "brief" in adapter.lora_id:
                raise StackError("no memory left")
            return await super().give_feedback(adapter, items, key)

    page = tmp_path / "diary.jsonl"
    harness(tmp_path, Failing(talkative()), logger=diary(page))
    (end,) = entries(page, "finish")
    assert (end["finish"], end["reason"]) == ("failed", "brief: no memory left")


def test_a_missing_package_is_said_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logger").mkdir()
    asked = {"diary": diary(tmp_path / "diary.jsonl", needs="no_such_package_at_all")["diary"]}
    (tmp_path / "logger" / "diary.yaml").write_text(yaml.safe_dump(asked))
    run = tmp_path / "run"
    assert main(["--config-dir", str(tmp_path), "logger=[diary]", f"output_dir={run}"]) == 2
    assert (
        "no_such_package_at_all is not installed; install it with: pip install 'claas[wandb]'"
        in capsys.readouterr().err
    )
    assert not run.exists()


class Counted(Diary):
    """Knows of every one that is made."""

    made: ClassVar[list[Diary]] = []

    def __init__(self, diary: str) -> None:
        super().__init__(diary)
        Counted.made.append(self)


def test_a_logger_is_made_once_to_be_checked_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Counted.made.clear()
    (tmp_path / "logger").mkdir()
    asked = {"counted": {"_target_": f"{__name__}.Counted", "diary": str(tmp_path / "diary.jsonl")}}
    (tmp_path / "logger" / "counted.yaml").write_text(yaml.safe_dump(asked))
    run = ["--config-dir", str(tmp_path), "logger=[counted]", "metrics=quick", f"output_dir={tmp_path / 'run'}"]
    assert main([*run, "claas_url=http://127.0.0.1:9", "retry_for_s=0"]) == 3
    assert "nothing answers at http://127.0.0.1:9" in capsys.readouterr().err
    assert len(Counted.made) == 1
    assert len(entries(tmp_path / "diary.jsonl", "start")) == 1
    (end,) = entries(tmp_path / "diary.jsonl", "finish")
    assert end["finish"] == "failed"


def test_loggers_are_chosen_by_name_and_set_by_key(tmp_path: Path) -> None:
    (tmp_path / "logger").mkdir()
    (tmp_path / "logger" / "diary.yaml").write_text(yaml.safe_dump(diary(tmp_path / "diary.jsonl")))
    mine = ["--config-dir", str(tmp_path)]
    (job,) = compose([*mine, "logger=[wandb,diary]", "logger.wandb.project=mine"])
    assert list(job.config.logger) == ["wandb", "diary"]
    assert (job.config.logger["wandb"]["project"], job.config.logger["wandb"]["mode"]) == ("mine", None)
    assert [
        type(each)
        for each in make_loggers(EvalConfig(logger=job.config.logger | {"wandb": job.config.logger["diary"]})).values()
    ] == [Diary, Diary]
    assert compose(["logger=tensorboard"])[0].config.logger == compose(["logger=[tensorboard]"])[0].config.logger
    assert compose(["logger=[]"])[0].config == EvalConfig()
    from_python = EvalConfig(logger=["diary"], config_dir=str(tmp_path))  # pyright: ignore[reportArgumentType]
    assert [type(each) for each in make_loggers(from_python).values()] == [Diary]
    with pytest.raises(InvalidInput, match=r"unknown logger 'diry'; known: diary, mlflow, tensorboard, trackio, wandb"):
        compose([*mine, "logger=[diry]"])
    with pytest.raises(InvalidInput, match="has no method start"):
        make_loggers(EvalConfig(logger={"list": {"_target_": "builtins.list"}}))


@pytest.mark.parametrize("path", sorted((config_root() / "logger").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_a_logger_has_the_settings_of_its_class(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())[path.stem]
    module, _, name = settings.pop("_target_").rpartition(".")
    taken = inspect.signature(getattr(import_module(module), name)).parameters
    assert settings == {parameter.name: parameter.default for parameter in taken.values()}


def test_no_password_is_among_the_settings_and_a_run_of_a_sweep_knows_its_group(tmp_path: Path) -> None:
    config = EvalConfig(claas_url="http://ada:secret@127.0.0.1:8080/v1", logger={"own": {"token": "hush"}}).resolved()
    run = run_of(tmp_path / "rates" / "rates-seed-1", new_manifest("r", config), config)
    assert run.settings["claas_url"] == "http://[key]@127.0.0.1:8080/v1"
    assert "secret" not in repr(run)
    assert "hush" not in repr(run)
    assert (run.name, run.group) == ("rates-seed-1", "rates")
    assert run_of(tmp_path / "rates" / "alone", new_manifest("r", config), config).group is None


@pytest.fixture(scope="module")
def history() -> History:
    return make_history(steps=2)


def test_transcripts_are_bounded_and_what_is_left_out_is_said(history: History) -> None:
    assert history.baseline is not None
    every = [*history.rollouts(0), *history.rollouts(2)]
    table = transcripts_table({"concise": history})
    assert (len(table.rows), table.note) == (len(every), None)
    assert [row[3] for row in table.rows] == [each.item for each in every]
    many = [Transcript(metric="few", item=str(i), prompt="?", response="x" * 9000) for i in range(3)]
    many += [Transcript(metric="many", item=str(i), prompt="?", response="y") for i in range(2 * MOST_TRANSCRIPTS)]
    large = History("concise", 2, history.baseline.model_copy(update={"rollouts": many}))
    cut = transcripts_table({"concise": large})
    assert len(cut.rows) == MOST_TRANSCRIPTS
    assert cut.note == f"{MOST_TRANSCRIPTS} of {len(many)} transcripts; steps.jsonl and baseline.json have all of them"
    assert [row[2] for row in cut.rows].count("few") == 3, "a metric with few is not crowded out"
    assert cut.rows[0][5] == "x" * LONGEST_TEXT + f" [... {9000 - LONGEST_TEXT} characters more]"


def test_the_verdict_table_is_the_summary_row_by_row(history: History) -> None:
    config = EvalConfig(preferences=["concise"], num_steps=2).resolved()
    summary = build_summary("r", config, {"concise": history})
    (verdict, _) = ending_of(summary, {"concise": history}, ()).tables
    rows = {row[1]: dict(zip(verdict.columns, row, strict=True)) for row in verdict.rows}
    found = summary.preferences["concise"]
    assert list(rows) == [*found.criteria, "all"]
    for name, ruling in found.criteria.items():
        row = rows[name]
        told = (row["value"], row["ci_low"], row["ci_high"], row["threshold"], row["n"], row["verdict"])
        assert told == (ruling.value, *(ruling.ci or (None, None)), ruling.threshold, ruling.n, ruling.verdict)
    assert rows["all"]["verdict"] == found.verdict
