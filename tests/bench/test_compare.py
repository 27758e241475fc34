"""Two benchmark runs are paired item by item, refused where they were asked differently, and decided."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from claas.bench.compare import main, promote
from claas.core.errors import InvalidInput
from claas.eval.stacks.http_client import HttpClient
from claas.eval.stacks.stack import WrongWeights
from claas.results.benchmarks import BenchmarkFiles, BenchmarkItem, TaskData, TaskResult
from claas.results.pairing import paired, read_scored_run
from tests.bench.benchmark_folders import item, row, summary, write_run
from tests.documents import document

HALF = [1.0, 0.0] * 400
WORSE = [1.0, 0.0, 0.0, 0.0] * 200
BETTER = [1.0, 1.0, 1.0, 0.0] * 200


def decided(tmp_path: Path, a: dict[str, list[float]], b: dict[str, list[float]], *more: str) -> int:
    write_run(tmp_path, "a", a)
    write_run(tmp_path, "b", b)
    return main([f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}", *more])


@pytest.mark.parametrize(
    ("tasks", "code", "said"),
    [
        ({"mmlu": HALF, "gsm8k": BETTER}, 0, "KEEP (better: gsm8k; kept: mmlu; margin 0.02)"),
        ({"mmlu": HALF, "gsm8k": WORSE}, 4, "DISCARD (worse: gsm8k; margin 0.02)"),
        ({"mmlu": BETTER, "gsm8k": WORSE}, 5, "MIXED (worse: gsm8k; better: mmlu; margin 0.02)"),
    ],
)
def test_every_decision_has_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tasks: dict[str, list[float]], code: int, said: str
) -> None:
    output = tmp_path / "decision.json"
    assert decided(tmp_path, {"mmlu": HALF, "gsm8k": HALF}, tasks, f"output={output}", "--json") == code
    printed = capsys.readouterr()
    assert said in " ".join(printed.err.split())
    written = json.loads(output.read_text())
    assert document(printed)["result"] == written
    assert written["decision"] == said.split()[0]
    assert written["tasks"]["gsm8k"]["n"] == 800


def test_too_few_items_are_mixed_and_say_how_many_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [1.0] * 45 + [0.0] * 55
    assert decided(tmp_path, {"mmlu": few}, {"mmlu": [*few[5:], *few[:5]]}) == 5
    assert "undecided: mmlu (100 items of about" in " ".join(capsys.readouterr().out.split())


def test_only_the_tasks_that_are_named_decide(tmp_path: Path) -> None:
    assert decided(tmp_path, {"mmlu": HALF, "gsm8k": HALF}, {"mmlu": HALF, "gsm8k": WORSE}, "tasks=[mmlu]") == 0


def changed_runs(tmp_path: Path, **changes: object) -> tuple[Path, Path]:
    return write_run(tmp_path, "a", {"mmlu": HALF}), write_run(tmp_path, "b", {"mmlu": HALF}, **changes)


def test_runs_from_before_rows_were_counted_compare_with_those_after(tmp_path: Path) -> None:
    a, b = changed_runs(tmp_path, datasets={"mmlu": TaskData(path="owner/mmlu", rows=800)})
    assert main([f"a={a}", f"b={b}"]) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_fewshot": {"mmlu": 0}}, "num_fewshot of mmlu is 5 in a and 0 in b"),
        ({"limits": {"mmlu": 100}}, "limits of mmlu is null in a and 100 in b"),
        ({"task_versions": {"mmlu": "2"}}, 'task_versions of mmlu is "1" in a and "2" in b'),
        ({"apply_chat_template": False}, "apply_chat_template is true in a and false in b"),
        ({"backend": "hf"}, 'backend is "wire" in a and "hf" in b'),
        ({"settings": {"seed": 1}}, 'settings is {} in a and {"seed": 1} in b'),
        ({"lm_eval_version": "0.4.12"}, 'lm_eval_version is "0.4.13" in a and "0.4.12" in b'),
        ({"harness": "lighteval"}, "harness is"),
        ({"datasets": {"mmlu": TaskData(path="owner/mmlu", fixture=True)}}, "datasets of mmlu is"),
    ],
)
def test_runs_that_were_asked_otherwise_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    a, b = changed_runs(tmp_path, **changes)
    with pytest.raises(InvalidInput, match="not comparable: ") as refused:
        paired(read_scored_run(a), read_scored_run(b))
    assert said in str(refused.value)
    assert main([f"a={a}", f"b={b}"]) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"doc_hash": "other"}, "item 0 of mmlu is another row of data"),
        ({"target_hash": "other"}, "item 0 of mmlu is another row of data"),
        ({"prompt_hash": "other"}, "item 0 of mmlu was asked in other words"),
        ({"doc_id": 7}, "2 items of mmlu are in one run only"),
        ({"scores": {"acc": 1.5}}, "acc is not between 0 and 1"),
        ({"scores": {"f1": 0.5}}, "damaged at line 1 (no score 'acc')"),
        ({"weights": {"name": "c@3", "digest": "c"}}, "answers of other weights (c@3)"),
    ],
)
def test_items_that_are_no_pairs_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    a, b = write_run(tmp_path, "a", {"mmlu": [1.0]}), write_run(tmp_path, "b", {"mmlu": [1.0]})
    changed = BenchmarkItem.model_validate(item("mmlu", 0, 1.0, "digest-b").model_dump() | changes)
    BenchmarkFiles(tmp_path).write_samples("b", "mmlu", [changed])
    with pytest.raises(InvalidInput) as refused:
        paired(read_scored_run(a), read_scored_run(b))
    assert said in str(refused.value)


def test_a_group_is_pooled_and_a_list_of_scores_is_one_mean(tmp_path: Path) -> None:
    write_run(tmp_path, "a", {"mmlu": []}, n_samples={"mmlu": 2})
    subjects = [item("mmlu_law", 0, 1.0, "digest-a"), item("mmlu_art", 0, [1.0, 0.0], "digest-a")]
    BenchmarkFiles(tmp_path).write_samples("a", "mmlu", subjects)
    run = read_scored_run(tmp_path / "a")
    assert paired(run, run)["mmlu"].before == [1.0, 0.5]


def test_only_the_primary_filter_of_a_task_is_paired(tmp_path: Path) -> None:
    files = BenchmarkFiles(tmp_path)
    write_run(tmp_path, "a", {"gsm8k": []}, n_samples={"gsm8k": 1})
    both = {"acc": 0.5, "acc,strict-match": 0.25}
    result = TaskResult(task="gsm8k", primary_metric="acc", value=0.5, n_samples=1, all_metrics=both)
    files.write_summary("a", summary("a", {"gsm8k": []}).model_copy(update={"task_results": [result]}))
    loose = item("gsm8k", 0, 1.0, "digest-a", filter="flexible-extract")
    strict = item("gsm8k", 0, 0.0, "digest-a", filter="strict-match")
    files.write_samples("a", "gsm8k", [strict, loose])
    assert list(read_scored_run(tmp_path / "a").items["gsm8k"]) == [("gsm8k", "flexible-extract", 0)]


def test_a_metric_of_which_less_is_better_is_left_to_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = changed_runs(tmp_path)
    (a / "lm_eval_raw.json").write_text('{"higher_is_better": {"mmlu_law": {"acc": false, "f1": null}}}')
    assert main([f"a={a}", f"b={b}"]) == 2
    assert "mmlu: of acc less is better" in capsys.readouterr().err


def test_beside_others_a_task_of_which_less_is_better_is_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = BenchmarkFiles(tmp_path)
    for name in "ab":
        folder = write_run(tmp_path, name, {"mmlu": HALF, "text": HALF})
        accuracy, _ = files.read_summary(name).task_results
        bits = TaskResult(task="text", primary_metric="bits", value=0.5, n_samples=800, all_metrics={"bits": 0.5})
        files.write_summary(name, summary(name, {}).model_copy(update={"task_results": [accuracy, bits]}))
        texts = (item("text", number, 0.5, f"digest-{name}", scores={"bits": 0.5}) for number in range(800))
        files.write_samples(name, "text", list(texts))
        (folder / "lm_eval_raw.json").write_text(
            '{"higher_is_better": {"mmlu": {"acc": true}, "text": {"bits": false}}}'
        )
    asked = [f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]
    assert main(asked) == 0
    assert "not judged: text, of which less is better" in capsys.readouterr().err
    assert main([*asked, "tasks=[text]"]) == 2


def damage_samples(folder: Path) -> None:
    with (folder / "samples.mmlu.jsonl").open("a") as file:
        file.write('{"task": "mm')


def lose_an_item(folder: Path) -> None:
    path = folder / "samples.mmlu.jsonl"
    path.write_text(path.read_text().partition("\n")[2])


def score_nothing(folder: Path) -> None:
    path = folder / "samples.mmlu.jsonl"
    path.write_text(path.read_text().replace('"acc": 1.0', '"acc": []', 1))


def write_samples_twice(folder: Path) -> None:
    path = folder / "samples.mmlu.jsonl"
    path.write_text(path.read_text() * 2)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damage_samples, "damaged at line 801"),
        (write_samples_twice, "item 0 of mmlu is there twice"),
        (lose_an_item, "has 799 of 800 items"),
        (score_nothing, "is damaged at line"),
        (lambda folder: (folder / "samples.mmlu.jsonl").write_text(""), "has no item"),
        (lambda folder: (folder / "samples.mmlu.jsonl").unlink(), "log_samples=true"),
        (lambda folder: (folder.parent / "metrics.json").write_text('{"schema_'), "metrics.json cannot be read"),
        (lambda folder: (folder.parent / "metrics.json").unlink(), "metrics.json has no run 'a'"),
        (lambda folder: (folder / "lm_eval_summary.json").unlink(), "lm_eval_summary.json"),
        (lambda folder: (folder / "lm_eval_raw.json").write_text("{"), "lm_eval_raw.json is damaged"),
    ],
)
def test_what_is_damaged_or_missing_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], said: str
) -> None:
    a, b = changed_runs(tmp_path)
    spoil(b)
    assert main([f"a={a}", f"b={b}"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give two runs"),
        (["margin=0"], "margin must be > 0"),
        (["tasks=[mmlu,arc]"], "tasks: arc not in both runs; both have: mmlu"),
        (["promote=assistant"], "promote and claas_url go together"),
        (["promote=../x", "claas_url=http://localhost:1"], "invalid alias"),
        (["marign=0.1"], "did you mean margin"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    a, b = changed_runs(tmp_path)
    assert main([*([f"a={a}", f"b={b}"] if arguments else []), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_runs_of_different_suites_are_refused_with_what_both_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decided(tmp_path, {"mmlu": HALF, "arc": HALF}, {"mmlu": HALF}) == 2
    assert "only one of the two runs has arc: run it for both, or compare tasks=[mmlu]" in capsys.readouterr().err


def test_what_weakens_a_decision_is_said_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_run(tmp_path, "a", {"mmlu": HALF}, limits={"mmlu": 800}, digest="same")
    b = write_run(tmp_path, "b", {"mmlu": HALF}, limits={"mmlu": 800}, digest="same", base_model="other")
    assert main([f"a={a}", f"b={b}"]) == 0
    said = capsys.readouterr().err
    assert "same weights (same)" in said
    assert "different base models, claas-tiny and other" in said
    assert "only the first items of mmlu" in said


def test_rows_of_our_own_are_called_that_beside_the_decision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"mmlu": TaskData(path="cais/mmlu", fixture=True)}
    for name in ("a", "b"):
        write_run(tmp_path, name, {"mmlu": HALF}, datasets=data, smoke=True)
    arguments = [f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}", f"output={tmp_path / 'decision.json'}"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.startswith("fixture: rows of our own")
    assert "a smoke test says" in said.err
    assert json.loads((tmp_path / "decision.json").read_text())["fixture"] is True
    assert main([*arguments, "promote=assistant", "claas_url=http://127.0.0.1:9"]) == 2
    assert "nothing is promoted" in capsys.readouterr().err


def api(digest: str, calls: list[tuple[str, str]]) -> HttpClient:
    """An API that has weights of this digest by any name."""

    def reply(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        calls.append((request.method, request.url.path))
        if request.method == "PUT":
            alias = request.url.path.rpartition("/")[2]
            return httpx.Response(
                200, json={"alias": alias, "target": body["target"], "model": body["target"], "digest": digest}
            )
        done = {"id": "1", "created": 1, "model": body["model"], "choices": [], "system_fingerprint": digest}
        return httpx.Response(200, json=done)

    return HttpClient("http://localhost", max_concurrency=1, seed=0, transport=httpx.MockTransport(reply))


def test_what_is_kept_is_promoted_as_the_weights_that_were_measured() -> None:
    calls: list[tuple[str, str]] = []
    now = asyncio.run(promote(api("digest-b", calls), "assistant", row("b", {"mmlu": HALF})))
    assert (now.alias, now.target) == ("assistant", "b@1")
    assert calls == [("POST", "/v1/completions"), ("PUT", "/v1/aliases/assistant")]


def test_other_weights_by_the_same_name_are_not_promoted() -> None:
    calls: list[tuple[str, str]] = []
    with pytest.raises(WrongWeights, match="nothing was promoted"):
        asyncio.run(promote(api("newer", calls), "assistant", row("b", {"mmlu": HALF})))
    assert calls == [("POST", "/v1/completions")]


def test_what_is_not_kept_is_not_promoted(tmp_path: Path) -> None:
    nowhere = ("promote=assistant", "claas_url=http://127.0.0.1:9")
    assert decided(tmp_path, {"mmlu": HALF}, {"mmlu": WORSE}, *nowhere) == 4
