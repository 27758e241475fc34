"""lm-evaluation-harness, untouched, on the embedded model and an adapter of it, over the real API in process."""

import asyncio
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claas.bench import run_lm_eval
from claas.bench.__main__ import main
from claas.bench.catalogue import chosen
from claas.bench.settings import BenchConfig
from claas.core.errors import InvalidInput, StackError
from claas.eval.stacks.http_client import HttpClient
from claas.results.benchmarks import BenchmarkFiles, EvalResult
from claas.tiny import WEIGHTS_DIR
from tests.bench.trained_store import train_calm

pytest.importorskip("lm_eval")
wire_lm = pytest.importorskip("claas.bench.wire_lm")
pytestmark = pytest.mark.bench

HUB = Path(__file__).parents[1] / "benchmarks" / "hub"
TASKS = ["mmlu", "gsm8k", "truthfulqa_mc2", "ifeval"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with version 1 of the adapter `calm`."""
    return train_calm(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def smoke(store: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchmarkFiles:
    """The results of the smoke suite on the base model and the adapter."""
    folder = tmp_path_factory.mktemp("results")
    assert main(["suite=smoke", "adapters=[calm@1]", *arguments(store, folder)]) == 0
    return BenchmarkFiles(folder)


def arguments(store: Path, folder: Path) -> list[str]:
    return [f"store_dir='{store}'", f"output_dir='{folder}'", f"datasets_dir='{HUB}'"]


def run(store: Path, folder: Path, *tasks: str, said: list[str] | None = None, **settings: Any) -> list[EvalResult]:
    """Some tasks on the base model; `said` gets what is told."""
    from claas.bench.run import run_bench

    config = BenchConfig(
        tasks=list(tasks), store_dir=str(store), output_dir=str(folder), **{"datasets_dir": str(HUB), **settings}
    )
    asked = chosen(None, tasks, limit=config.limit, num_fewshot=config.num_fewshot)
    return asyncio.run(run_bench(config, asked, (said if said is not None else []).append))


def test_base_and_adapter_are_asked_the_same_and_differ_in_what_they_are(smoke: BenchmarkFiles) -> None:
    rows = {run.adapter: run.model_dump() for run in smoke.read_runs().runs}
    assert set(rows) == {None, "calm@1"}
    differ = {key for key in rows[None] if rows[None][key] != rows["calm@1"][key]}
    assert differ == {"name", "adapter", "digest", "timestamp", "fingerprint", "metrics"}
    row = smoke.read_runs().runs[0]
    assert row.num_fewshot == {"mmlu": 5, "gsm8k": 8, "truthfulqa_mc2": 0, "ifeval": 0}
    assert row.n_samples == {"mmlu": 8, "gsm8k": 4, "truthfulqa_mc2": 4, "ifeval": 6}
    assert row.smoke
    assert row.fixture
    assert (row.datasets["gsm8k"].path, row.datasets["gsm8k"].rows) == ("openai/gsm8k", 4)
    assert set(row.metrics) >= {"mmlu/acc,none", "ifeval/prompt_level_strict_acc,none", "truthfulqa_mc2/acc,none"}
    assert not any("stderr" in key for key in row.metrics)
    assert not list(smoke.root.glob("*.partial.json"))


def test_summary_raw_and_items_say_the_same_and_who_answered(smoke: BenchmarkFiles) -> None:
    row = next(run for run in smoke.read_runs().runs if run.adapter)
    summary = smoke.read_summary(row.name)
    assert json.loads(smoke.summary(row.name).read_text())["fixture"] is True
    assert (summary.tasks, summary.n_tasks_completed, summary.backend) == (TASKS, 4, "wire")
    raw = json.loads(smoke.raw(row.name).read_text())
    assert raw["config"]["digest"] == row.digest
    for task in TASKS:
        samples = smoke.read_samples(row.name, task)
        assert {sample.weights.digest for sample in samples} == {row.digest}
        assert len({(each.task, each.filter, each.doc_id) for each in samples}) == len(samples)
    mmlu = smoke.read_samples(row.name, "mmlu")
    mean = math.fsum(float(sample.scores["acc"]) for sample in mmlu) / len(mmlu)
    assert row.metrics["mmlu/acc,none"] == pytest.approx(mean)
    assert summary.task_results[0].value == pytest.approx(mean)
    assert "<|im_start|>user" in mmlu[0].arguments[0][0]


def test_log_probabilities_are_those_of_transformers(store: Path, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR)
    run(store, tmp_path, "hellaswag", apply_chat_template=False)
    samples = BenchmarkFiles(tmp_path).read_samples("claas-tiny", "hellaswag")
    for sample in samples:
        for (context, continuation), ((told, greedy),) in zip(sample.arguments, sample.resps, strict=True):
            ids, start = tokenizer.encode(context + continuation), len(tokenizer.encode(context))
            with torch.inference_mode():
                logprobs = model(torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
            targets = torch.tensor(ids[start:])
            assert told == pytest.approx(float(logprobs.gather(-1, targets[:, None]).sum()), abs=1e-4)
            assert greedy == bool((logprobs.argmax(-1) == targets).all())
    assert len(samples) == 4


def test_an_api_that_reads_a_prompt_for_each_continuation_gives_the_same_numbers(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[str] = []
    post = HttpClient.post

    async def counted(self: HttpClient, path: str, *rest: Any) -> Any:
        paths.append(path)
        return await post(self, path, *rest)

    monkeypatch.setattr(HttpClient, "post", counted)
    run(store, tmp_path / "once", "hellaswag")
    once = sorted(set(paths)), paths.count(wire_lm.CONTINUATIONS)
    assert once == (["/v1/completions", "/v1/score/continuations"], 1 + 4)  # the first one asks whether it is there
    paths.clear()
    monkeypatch.setattr(wire_lm, "CONTINUATIONS", "/v1/not/there")
    run(store, tmp_path / "each", "hellaswag")
    assert paths.count("/v1/not/there") == 1
    assert paths.count("/v1/completions") == 1 + 16
    asked_once, asked_each = (
        [each.resps for each in BenchmarkFiles(tmp_path / folder).read_samples("claas-tiny", "hellaswag")]
        for folder in ("once", "each")
    )
    for ours, theirs in zip(asked_once, asked_each, strict=True):
        assert [logprob for ((logprob, _),) in ours] == pytest.approx([logprob for ((logprob, _),) in theirs], abs=1e-4)
        assert [greedy for ((_, greedy),) in ours] == [greedy for ((_, greedy),) in theirs]


def test_a_whole_text_is_scored_token_by_token_whatever_the_window(store: Path, tmp_path: Path) -> None:
    from claas.bench.models import open_models

    text = "The kettle boils. " * 60

    class Request:
        args = (text,)

    async def total(**settings: Any) -> float:
        config = BenchConfig(store_dir=str(store), **settings)
        async with open_models(config) as (model,):
            (found,) = await asyncio.to_thread(model.lm().loglikelihood_rolling, [Request()])
            return found

    whole, windowed = asyncio.run(total()), asyncio.run(total(window=64))
    assert math.isfinite(whole)
    assert windowed < whole < 0  # with less to go by, each token is less likely


def test_a_run_that_is_killed_asks_nothing_twice_and_ends_as_one_that_was_not(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claas.bench.wire_lm import WireModel

    asked: list[tuple[int, ...]] = []
    dies_at = [10**9]
    score = WireModel.score
    monkeypatch.setattr("claas.bench.wire_lm._MOST_WAITING", 1)  # one after the other

    async def counted(self: WireModel, prompt: Any, continuations: Any) -> Any:
        if len(asked) >= dies_at[0]:
            raise StackError("the API is gone")
        scored = await score(self, prompt, continuations)
        asked.extend((*prompt, *each) for each in continuations if prompt[1:])  # without that which tries the API
        return scored

    monkeypatch.setattr(WireModel, "score", counted)
    run(store, tmp_path / "whole", "hellaswag", "truthfulqa_mc2")
    undisturbed = sorted(asked)
    asked.clear()
    dies_at[0] = 20
    with pytest.raises(StackError, match="the API is gone"):
        run(store, tmp_path / "killed", "hellaswag", "truthfulqa_mc2")
    killed = BenchmarkFiles(tmp_path / "killed")
    assert set(killed.read_partial("claas-tiny").completed) == {"hellaswag"}
    assert killed.read_runs().runs == []
    dies_at[0] = 10**9
    run(store, killed.root, "hellaswag", "truthfulqa_mc2")
    assert sorted(asked) == undisturbed
    ends = [BenchmarkFiles(tmp_path / name).read_runs().runs[0] for name in ("whole", "killed")]
    assert ends[0].model_copy(update={"timestamp": ""}) == ends[1].model_copy(update={"timestamp": ""})
    said: list[str] = []
    run(store, killed.root, "hellaswag", "truthfulqa_mc2", said=said)
    assert sorted(asked) == undisturbed
    assert said == ["claas-tiny is complete already"]
    assert len(killed.read_runs().runs) == 1
    run(store, killed.root, "hellaswag", adapters=["calm@1"], include_base=False)
    assert len(asked) == len(undisturbed) + 16  # other weights answer for themselves


def test_versions_that_are_asked_at_once_answer_to_the_bit_as_one_after_another(store: Path, tmp_path: Path) -> None:
    tasks, adapters = ("hellaswag", "gsm8k"), ["calm@0", "calm@1"]
    for at_once in (1, 3):
        folder = tmp_path / str(at_once)
        run(store, folder, *tasks, adapters=adapters, limit=2, parallel_models=at_once)
    one_by_one, together = (BenchmarkFiles(tmp_path / name) for name in ("1", "3"))
    answers: list[str] = []
    for name in ("claas-tiny", *adapters):
        for task in tasks:
            items = one_by_one.read_samples(name, task)
            assert items == together.read_samples(name, task)
            answers.append(str([item.resps for item in items]))
    assert answers[:2] == answers[2:4] != answers[4:]  # version 0 answers as the base model


def test_a_task_without_its_data_is_an_error_with_the_mend_and_no_row_is_written(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    assert main(["tasks=[piqa,hellaswag]", *arguments(store, tmp_path)]) == 3
    assert "no row was written of a model with a failed task" in capsys.readouterr().err
    piqa, hellaswag = BenchmarkFiles(tmp_path).read_summary("claas-tiny").task_results
    assert piqa.error is not None
    assert "its data are baber/piqa of the Hugging Face hub, or that folder in datasets_dir" in piqa.error
    assert hellaswag.error is None
    files = BenchmarkFiles(tmp_path)
    assert files.read_runs().runs == []
    assert set(files.read_partial("claas-tiny").completed) == {"hellaswag"}


def test_other_weights_than_were_asked_end_the_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claas.bench.wire_lm import WireModel
    from claas.eval.stacks.stack import WrongWeights

    score = WireModel.score

    async def swapped(self: WireModel, prompt: Any, continuations: Any) -> Any:
        class Swapping:
            async def post(client, path: str, body: Any, into: Any) -> Any:
                reply = await self.client.post(path, body, into)
                return reply.model_copy(update={"system_fingerprint": "other"})

        client: Any = Swapping() if prompt[1:] else self.client
        return await score(replace(self, client=client), prompt, continuations)

    monkeypatch.setattr(WireModel, "score", swapped)
    with pytest.raises(WrongWeights, match="asked claas-tiny"):
        run(store, tmp_path, "hellaswag")
    assert BenchmarkFiles(tmp_path).read_partial("claas-tiny").completed == {}


def test_only_where_the_data_come_from_is_changed() -> None:
    from claas.bench.suite import prepare

    def settings(entry: str, folder: Path | None) -> dict[str, Any]:
        asked = chosen("smoke" if entry == "mmlu" else None, [] if entry == "mmlu" else [entry], **NO_CHANGE)
        suite = prepare([each for each in asked.entries if each.task == entry], folder)
        (member, *_) = suite.manager.task_index[suite.entries[0].group].cfg["task"]
        return {key: value for key, value in member.items() if key != "num_fewshot"}

    for task in ("gsm8k", "hellaswag", "mmlu", "truthfulqa_mc2", "ifeval"):
        changed, stock = settings(task, HUB), settings(task, None)
        assert changed.keys() - stock.keys() == {"dataset_path", "dataset_kwargs"}
        assert {key: changed[key] for key in stock} == stock


NO_CHANGE: dict[str, None] = {"limit": None, "num_fewshot": None}


def test_the_rows_are_those_of_the_folder_as_it_is_now(store: Path, tmp_path: Path) -> None:
    rows = shutil.copytree(HUB, tmp_path / "hub") / "Rowan" / "hellaswag" / "default" / "validation.jsonl"
    for left in (3, 2):
        rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:left]))
        (result,) = run(store, tmp_path / str(left), "hellaswag", datasets_dir=str(tmp_path / "hub"))
        assert result.task_results[0].n_samples == left


def test_data_sets_of_a_group_that_reads_several_are_not_mixed_up(tmp_path: Path) -> None:
    from claas.bench.suite import prepare

    (tmp_path / "hails" / "agieval-sat-math").mkdir(parents=True)
    entries = chosen(None, ["agieval"], **NO_CHANGE).entries
    assert "hails/agieval-aqua-rat, " in prepare(entries, None).entries[0].data.path
    with pytest.raises(InvalidInput, match=r"agieval reads several data sets .* name its tasks one by one"):
        prepare(entries, tmp_path)


def test_a_name_that_lm_eval_lacks_is_told_with_those_like_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks=[hellaswagg]", *arguments(tmp_path / "store", tmp_path)]) == 2
    assert "lm-eval has no task 'hellaswagg'; did you mean hellaswag" in capsys.readouterr().err


def test_lm_evals_name_of_several_tasks_is_refused_with_theirs() -> None:
    from claas.bench.suite import prepare

    with pytest.raises(InvalidInput, match=r"ai2_arc is lm-eval's tag of several .* them: arc_challenge, arc_easy"):
        prepare(chosen(None, ["ai2_arc"], **NO_CHANGE).entries, None)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (["mmlu", "mmlu_stem"], "mmlu and mmlu_stem both have mmlu_abstract_algebra and 18 more: name one of"),
        (["mmlu_astronomy", "mmlu"], "mmlu_astronomy and mmlu both have mmlu_astronomy: name one of"),
    ],
)
def test_groups_with_a_task_in_common_are_refused(tasks: list[str], said: str) -> None:
    from claas.bench.suite import prepare

    with pytest.raises(InvalidInput, match=said):
        prepare(chosen(None, tasks, **NO_CHANGE).entries, None)


OWN_TASK = """\
task: kettles
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8}}
metric_list: [{{metric: exact_match}}]
"""


def test_a_task_of_the_users_own_is_run_and_asked_anew_where_it_was_changed(store: Path, tmp_path: Path) -> None:
    own = tmp_path / "tasks"
    own.mkdir()
    (own / "rows.jsonl").write_text('{"question": "What boils?", "answer": "water"}\n')
    task = OWN_TASK.format(data=own / "rows.jsonl")
    (own / "kettles.yaml").write_text(task)
    folder = tmp_path / "results"
    settings: dict[str, Any] = {"include_path": str(own), "system_instruction": "Say it twice.", "seed": 3}
    (result,) = run(store, folder, "kettles", **settings)
    assert result.task_results[0].n_samples == 1
    first = BenchmarkFiles(folder).read_runs().runs[-1]
    assert first.settings == {"system_instruction": "Say it twice.", "seed": 3}
    (item,) = BenchmarkFiles(folder).read_samples("claas-tiny", "kettles")
    assert "Say it twice." in item.arguments[0][0]
    (own / "kettles.yaml").write_text(task.replace("max_gen_toks: 8", "max_gen_toks: 2"))
    run(store, folder, "kettles", **settings)
    fingerprints = [first.fingerprint]
    for changed in ({}, {"gen_kwargs": {"max_gen_toks": 1}}, {"seed": 4}, {"system_instruction": "Say it."}):
        run(store, folder, "kettles", **{**settings, **changed})
        fingerprints.append(BenchmarkFiles(folder).read_runs().runs[-1].fingerprint)
    assert len(set(fingerprints)) == 5
    (own / "kettles.yaml").write_text(task.replace("task: kettles", "task: hellaswag"))
    with pytest.raises(InvalidInput, match="include_path: hellaswag is a task of lm-eval's; give yours another name"):
        run(store, folder, "hellaswag", **settings)
    (own / "kettles.yaml").write_text(task.replace("task: kettles", "task: ../kettles"))
    with pytest.raises(InvalidInput, match=r"include_path: the task '../kettles' .* give it a name without '/'"):
        run(store, folder, "../kettles", **settings)


def test_an_answer_without_the_chat_template_is_warned_of(store: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run(store, tmp_path, "hellaswag", said=said, apply_chat_template=False, limit=1)
    assert any("without the chat template" in line for line in said)
    assert not BenchmarkFiles(tmp_path).read_runs().runs[0].apply_chat_template


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adapters": ["nobody@3"]}, "nobody"),
        ({"tokenizer": "no/such/folder"}, "there is no tokenizer 'no/such/folder'"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(
    store: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        run(store, tmp_path, "hellaswag", **settings)
    assert "\n" not in str(refused.value)


def test_from_python_it_is_the_same(store: Path, smoke: BenchmarkFiles, tmp_path: Path) -> None:
    result = run_lm_eval(
        "calm@1", ["gsm8k"], num_fewshot=8, store_dir=str(store), output_dir=str(tmp_path), datasets_dir=str(HUB)
    )
    row = next(run for run in smoke.read_runs().runs if run.adapter)
    assert result.model_name == "calm@1"
    assert result.average_score() == row.metrics["gsm8k/exact_match,flexible-extract"]
