"""Benchmarks as a metric of a run on the embedded model: forgetting shows, may end a run, and is on record."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from claas.bench.loop.metric import Bench
from claas.core.errors import InvalidInput
from claas.core.settings import EMBEDDED, TrainingConfig
from claas.eval.run.plan import plan_of
from claas.eval.runner import OpenStack, prepare, run_harness
from claas.eval.stacks.open_stack import open_stack
from claas.eval.stacks.stack import LostAnswer, ServedBase
from claas.results.keys import Question
from claas.results.records import Status
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from claas.results.verdict import Verdict
from tests.eval.recomputing import require_recomputable
from tests.eval.scripted_run import Halting, until_halted
from tests.eval.small_preferences import small_preferences

pytest.importorskip("lm_eval")
pytest.importorskip("torch")

JUDGED = ["claas_tiny_facts", "claas_tiny_answers", "claas_tiny_forms"]
DESTRUCTIVE, GENTLE = 3e-2, 8e-4
"""Learning rates: the first is many times the embedded model's own."""


def config(folder: Path, rate: float, **changes: Any) -> EvalConfig:
    """A small run whose one metric is the embedded model's own tasks, a few items of each."""
    mine = small_preferences(folder / "mine", "calm")
    bench = {"suite": None, "tasks": [*JUDGED, "claas_tiny_text"], "limit": 8, "interval": 1}
    (mine / "metrics.yaml").write_text(yaml.safe_dump({"metrics": {"bench": bench}}))
    settings = {
        "preferences": ["calm"],
        "metrics": ["bench"],
        "num_steps": 2,
        "batch_size": 2,
        "max_tokens": 24,
        "training": TrainingConfig(steps_per_batch=2, learning_rate=rate),
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(mine),
    }
    return EvalConfig(**{**settings, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("destructive")


@pytest.fixture(scope="module")
def halted(folder: Path) -> RunResults:
    """A destructive run that was to end where a task regresses."""
    return asyncio.run(run_harness(config(folder, DESTRUCTIVE, halt_on_regression=True)))


def found(results: RunResults, updates: int, task: str) -> float:
    value = results.preferences["calm"].curve(f"bench.{task}")[updates]
    assert value is not None
    return value


def test_what_was_forgotten_ends_the_preference_by_name_and_is_on_record(halted: RunResults) -> None:
    assert [found(halted, 0, task) for task in JUDGED] == [1.0, 1.0, 1.0]
    assert all(found(halted, 1, task) < 0.5 for task in JUDGED)
    assert found(halted, 1, "claas_tiny_text") > 1.5 * found(halted, 0, "claas_tiny_text")
    history = halted.preferences["calm"]
    assert (history.status, len(history.steps)) == (Status.FAILED, 1)
    for task in JUDGED:
        assert f"bench_{task} 1.000 -> 0" in halted.failures["calm"]
    assert "halt_on_regression=false" in halted.failures["calm"]
    require_recomputable(halted.run_dir)


def test_it_goes_on_once_more_is_allowed_or_it_is_not_to_end(halted: RunResults, folder: Path) -> None:
    again = asyncio.run(run_harness(config(folder, DESTRUCTIVE, halt_on_regression=True)))
    assert again.failures == halted.failures
    allowed = {f"bench_{task}": -1.0 for task in JUDGED}
    whole = asyncio.run(run_harness(config(folder, DESTRUCTIVE, halt_on_regression=True, criteria=allowed)))
    assert whole.preferences["calm"].status is Status.COMPLETE
    judged = asyncio.run(run_harness(config(folder, DESTRUCTIVE))).summary.preferences["calm"]
    assert {judged.criteria[f"bench_{task}"].verdict for task in JUDGED} == {Verdict.FAIL}
    assert len(judged.changed_items["bench_claas_tiny_answers"].lost) == 8
    require_recomputable(whole.run_dir)


def test_a_gentle_run_forgets_nothing_and_says_how_many_items_would_prove_it(tmp_path: Path) -> None:
    gentle = asyncio.run(run_harness(config(tmp_path, GENTLE, num_steps=1, halt_on_regression=True)))
    assert [found(gentle, 1, task) for task in JUDGED] == [1.0, 1.0, 1.0]
    ruling = gentle.summary.preferences["calm"].criteria["bench_claas_tiny_facts"]
    assert (ruling.value, ruling.n, ruling.verdict) == (0.0, 8, Verdict.INCONCLUSIVE)
    assert "needs n ≥ " in (ruling.note or "")


def test_a_plan_counts_the_questions_that_the_run_then_asks(halted: RunResults, folder: Path) -> None:
    planned = asyncio.run(plan_of(*prepare(config(folder, GENTLE))))
    baseline = halted.preferences["calm"].baseline
    assert baseline is not None
    asked = Counter(rollout.metric for rollout in baseline.rollouts)
    assert {name: planned.requests[name] for name in asked} == {name: 3 * count for name, count in asked.items()}
    assert asked["bench"] > 0


SMALL = {"suite": None, "tasks": ["claas_tiny_facts", "claas_tiny_answers"], "limit": 4, "interval": 1}


def opening(stack: Any) -> OpenStack:
    @asynccontextmanager
    async def opened(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Any, None]:
        async with open_stack(config, store_dir) as inner:
            stack.inner = inner
            yield stack

    return opened


def measured(run: RunResults) -> list[Any]:
    """What the benchmarks of a run came to, request by request."""
    history = run.preferences["calm"]
    assert history.baseline is not None
    return [
        (record.eval, record.counts, [rollout for rollout in record.rollouts if rollout.metric == "bench"])
        for record in (history.baseline, *history.steps)
    ]


def test_a_run_that_is_killed_amid_a_benchmark_goes_on_to_the_same_records(tmp_path: Path) -> None:
    def small(name: str) -> EvalConfig:
        made = config(tmp_path / name, GENTLE, num_steps=1)
        (tmp_path / name / "mine" / "metrics.yaml").write_text(yaml.safe_dump({"metrics": {"bench": SMALL}}))
        return made

    asks = Halting(None)
    whole = asyncio.run(run_harness(small("whole"), open_stack=opening(asks)))
    last = max(place for place, (event, kind, _) in enumerate(asks.log) if (event, kind) == ("begin", "completion"))
    dies = Halting(None, halt_at=sum(event == "begin" for event, _, _ in asks.log[:last]))
    assert asyncio.run(until_halted(dies, run_harness(small("killed"), open_stack=opening(dies))))
    again = asyncio.run(run_harness(small("killed")))
    assert again.preferences["calm"].status is Status.COMPLETE
    assert measured(again) == measured(whole)
    require_recomputable(again.run_dir)


class Losing(Halting):
    """Loses every request about France."""

    async def score_continuations(self, adapter: Any, prompt: Any, continuations: Any) -> Any:
        if any("France" in each.text for each in continuations):
            raise LostAnswer("timed out")
        return await super().score_continuations(adapter, prompt, continuations)


def test_a_question_that_lost_an_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    facts = {**SMALL, "tasks": ["claas_tiny_facts"], "limit": 8}
    made = config(tmp_path, GENTLE, num_steps=1, fail_on_error=False)
    (tmp_path / "mine" / "metrics.yaml").write_text(yaml.safe_dump({"metrics": {"bench": facts}}))
    run = asyncio.run(run_harness(made, open_stack=opening(Losing(None))))
    assert found(run, 0, "claas_tiny_facts") == 1.0
    (_, counts, rollouts), *_ = measured(run)
    assert counts["bench.claas_tiny_facts"].model_dump() == {"planned": 8, "scored": 7, "errored": 1, "truncated": 0}
    lost = [rollout for rollout in rollouts if rollout.error is not None]
    assert [(rollout.error, rollout.verdict, rollout.logprobs) for rollout in lost] == [("timed out", None, None)] * 4
    note = run.summary.preferences["calm"].criteria["bench_claas_tiny_facts"].note
    assert "needs n ≥ " in (note or "")
    require_recomputable(run.run_dir)


class Stale(Halting):
    """Texts that the metric asks for are written by the base model, under the name of whatever version was asked."""

    async def complete(self, adapter: Any, prompt: Any, **asked: Any) -> Any:
        return await super().complete(ServedBase(name=EMBEDDED), prompt, **asked)


def test_texts_of_other_weights_than_were_asked_end_the_run(tmp_path: Path) -> None:
    made = config(tmp_path, DESTRUCTIVE, num_steps=1)
    answers = {**SMALL, "tasks": ["claas_tiny_answers"]}
    (tmp_path / "mine" / "metrics.yaml").write_text(yaml.safe_dump({"metrics": {"bench": answers}}))
    run = asyncio.run(run_harness(made, open_stack=opening(Stale(None))))
    assert run.failures["calm"].startswith("wrong weights: what eval-calm")
    checked = run.preferences["calm"].baseline
    assert checked is not None
    assert checked.canary is not None
    (check,) = [each for each in checked.canary.answers or () if each.metric == "bench"]
    assert (check.error, len(check.scores)) == (None, 1)


def test_a_gateway_refuses_the_metric_by_name_before_anything_is_loaded() -> None:
    through = EvalConfig(openclaw_url="http://127.0.0.1:18789", claas_url="http://127.0.0.1:8080")
    with pytest.raises(InvalidInput, match="the metric bench asks for raw completions"):
        Bench.of("tiny").for_run(through)


def test_what_it_judges_is_declared_for_the_run_that_asks_it() -> None:
    bench = Bench.of(tasks=["claas_tiny_facts", "claas_tiny_text"], limit=1, tolerance=0.1)
    assert [(key.key, key.criterion) for key in bench.keys] == [
        ("bench.claas_tiny_facts", None),
        ("bench.claas_tiny_text", None),
    ]
    facts, text = bench.for_run(EvalConfig()).keys
    assert facts.criterion is not None
    assert (facts.criterion.name, facts.criterion.threshold) == ("bench_claas_tiny_facts", -0.1)
    assert facts.question is Question.FORGETTING
    assert (text.unit, text.better, text.criterion) == ("bits_per_byte", "lower", None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"suite": "tiny", "tasks": ["gsm8k"]}, "not both"),
        ({"suite": "tiny", "limit": 3}, "limits of its own"),
        ({"tasks": ["gsm8k"], "limit": 0}, "limit"),
        ({"tasks": ["gsm8k"], "interval": 0}, "interval"),
        ({"tasks": ["gsm8k"], "tolerance": 2.0}, "tolerance"),
        ({"tasks": ["gsm8k"], "window": 1}, "window"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Bench.of(**settings)


def test_it_is_due_at_baseline_and_at_checkpoints() -> None:
    steps = [None, *range(6)]
    assert [step for step in steps if Bench.of("tiny").due(step, frozenset({1, 5}))] == [None, 1, 5]
    assert [step for step in steps if Bench.of("tiny", interval=3).due(step, frozenset({1, 5}))] == [None, 2, 5]


def test_a_task_without_its_data_is_said_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInput, match=r"piqa: .*; its data are baber/piqa of the Hugging Face hub"):
        Bench.of(tasks=["piqa"]).for_run(EvalConfig())


@pytest.mark.bench
def test_the_metric_finds_what_the_command_finds(tmp_path: Path) -> None:
    from claas.bench.catalogue import chosen
    from claas.bench.run import run_bench
    from claas.bench.settings import BenchConfig
    from claas.results.benchmarks import BenchmarkFiles

    hub = Path(__file__).parents[1] / "benchmarks" / "hub"
    made = config(tmp_path, DESTRUCTIVE, num_steps=1)
    smoke = {"suite": "smoke", "tasks": [], "datasets_dir": str(hub), "interval": 1}
    (tmp_path / "mine" / "metrics.yaml").write_text(yaml.safe_dump({"metrics": {"bench": smoke}}))
    run = asyncio.run(run_harness(made))
    version = run.preferences["calm"].steps[0].adapter.model
    settings = BenchConfig(
        suite="smoke",
        adapters=[version],
        store_dir=str(run.run_dir / "stack"),
        output_dir=str(tmp_path / "results"),
        datasets_dir=str(hub),
    )
    asyncio.run(run_bench(settings, chosen("smoke", [], limit=None, num_fewshot=None), lambda line: None))
    rows = {row.adapter: row for row in BenchmarkFiles(tmp_path / "results").read_runs().runs}
    firsts = ["mmlu/acc,none", "gsm8k/exact_match,flexible-extract", "truthfulqa_mc2/acc,none"]
    for (values, _, _), row in zip(measured(run), (rows[None], rows[version]), strict=True):
        for metric in (*firsts, "ifeval/prompt_level_strict_acc,none"):
            assert values["bench"][metric.partition("/")[0]] == pytest.approx(row.metrics[metric], abs=1e-9)
    note = run.summary.preferences["calm"].criteria["bench_mmlu"].note or ""
    assert "only have the benchmark's form" in note
