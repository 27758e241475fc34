"""`python -m claas.bench.judge` against a judge behind HTTP: what it finds, what it asks, and what it costs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.bench.judge.__main__ import main
from tests.bench.rule_judge import RuleJudge, always_first
from tests.fakes.chat_endpoint import Killed

LONG, SHORT = "It rains because the drops in a cloud grow heavy.", "Drops grow heavy."
QUESTIONS = [f"Why, {i}?" for i in range(8)]


def side(folder: Path, name: str, answers: Sequence[str]) -> Path:
    """A file of answers to the questions."""
    path = folder / f"{name}.jsonl"
    rows = [{"id": f"q{i}", "prompt": QUESTIONS[i], "answer": answer} for i, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def two_sides(folder: Path) -> tuple[Path, Path]:
    """Of b, five answers are shorter than those of a, two longer, and one is the same."""
    return side(folder, "a", [LONG] * 5 + [SHORT] * 3), side(folder, "b", [SHORT] * 5 + [LONG] * 2 + [SHORT])


def judged(folder: Path, judge: RuleJudge, *arguments: str, code: int = 0, **settings: Any) -> dict[str, Any]:
    """The result of the command on two sides."""
    a, b = two_sides(folder)
    asked = [f"a={a}", f"b={b}", *endpoint(), f"output_dir={folder / 'out'}", *arguments]
    assert main(asked, transport_to(judge)) == code
    return json.loads((folder / "out" / "judge.json").read_text())


def endpoint() -> list[str]:
    return ["judge.base_url=http://judge/v1", "judge.model=rule", "judge.retry_for_s=0"]


def transport_to(judge: RuleJudge) -> httpx.ASGITransport:
    return httpx.ASGITransport(app=judge)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "judgments.jsonl").read_text().splitlines()]


def test_the_win_rate_is_that_by_hand_and_everything_is_on_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = RuleJudge()
    found = judged(tmp_path, judge, "prices.prompt=2.5", "prices.completion=10")
    assert found["win_rate"] == (5 + 0.5) / 8
    assert (found["n"], found["wins"], found["losses"], found["ties"]) == (8, 5, 2, 1)
    assert (found["flipped"], found["identical"], found["unreadable"], found["lost"]) == (0, 1, 0, 0)
    assert len(judge.bodies) == found["calls"] == len(lines(tmp_path)) == 14  # seven items in both orders
    read = sum(len(body["messages"][0]["content"]) // 4 for body in judge.bodies)
    assert (found["prompt_tokens"], found["completion_tokens"]) == (read, 140)
    assert found["cost_usd"] == pytest.approx((read * 2.5 + 140 * 10) / 1e6)
    first = next(line for line in lines(tmp_path) if (line["item"], line["order"]) == ("q0", "ba"))
    assert (first["verdict"], first["raw"], first["model"]) == ("b", "Both answer.\n[[A]]", "rule-2026")
    assert found["reliability"]["position_consistency"] == 1.0
    assert found["judge"]["prompt"] == "pairwise"
    out = capsys.readouterr().out
    assert "win rate 0.688 (95 % CI 0.356 to 0.898)" in out
    assert "of 8 items 5 won, 2 lost, 1 tied (0 flipped with the order, 1 identical)" in out
    assert "14 calls" in out


def test_swapping_the_sides_mirrors_the_win_rate_and_asks_nothing_anew(tmp_path: Path) -> None:
    judge = RuleJudge()
    found = judged(tmp_path, judge)
    a, b = two_sides(tmp_path)
    assert main([f"a={b}", f"b={a}", *endpoint(), f"output_dir={tmp_path / 'out'}"], transport_to(judge)) == 0
    other = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert other["win_rate"] == 1 - found["win_rate"]
    assert (other["wins"], other["losses"]) == (found["losses"], found["wins"])
    assert other["length_controlled"] == pytest.approx(1 - found["length_controlled"])
    assert len(judge.bodies) == 14


def test_a_judge_that_always_says_a_gives_one_half_and_is_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = judged(tmp_path, RuleJudge(rule=always_first), "reliability=true")
    assert (found["win_rate"], found["flipped"], found["ties"]) == (0.5, 7, 8)
    assert (found["reliability"]["self_disagreement"], found["reliability"]["first_position_share"]) == (0.0, 1.0)
    assert "NO: it prefers whatever stands first, always" in capsys.readouterr().out


def test_identical_answers_are_a_tie_and_nobody_is_asked(tmp_path: Path) -> None:
    judge = RuleJudge()
    a, b = side(tmp_path, "a", [LONG] * 8), side(tmp_path, "b", [f"<think>Hm.</think>{LONG}"] * 8)
    assert main([f"a={a}", f"b={b}", *endpoint(), f"output_dir={tmp_path / 'out'}"], transport_to(judge)) == 0
    found = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert (found["win_rate"], found["ties"], found["identical"], judge.bodies) == (0.5, 8, 8, [])


def test_replies_that_cannot_be_read_are_counted_and_are_no_ties(tmp_path: Path) -> None:
    found = judged(tmp_path, RuleJudge(mute=1.0))
    assert (found["unreadable"], found["n"], found["ties"], found["win_rate"]) == (7, 1, 1, 0.5)
    assert {line["verdict"] for line in lines(tmp_path)} == {None}
    assert "100 % of its replies have no verdict" in found["reliability"]["warnings"][0]


def test_asking_again_with_another_seed_shows_a_judge_of_chance(tmp_path: Path) -> None:
    judge = RuleJudge(noise=1.0)
    found = judged(tmp_path, judge, "reliability=true", "judge.seed=3")
    assert {body["seed"] for body in judge.bodies} == {3, 4}
    assert len(judge.bodies) == found["calls"] == 28
    assert found["reliability"]["self_disagreement"] > 0.2
    assert any("asked again, it decides" in warning for warning in found["reliability"]["warnings"])


def test_people_are_compared_with_item_by_item(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.jsonl"
    said = ["b"] * 4 + ["a"] + ["a"] * 2 + ["tie"]
    labels.write_text("".join(json.dumps({"item": f"q{i}", "winner": each}) + "\n" for i, each in enumerate(said)))
    found = judged(tmp_path, RuleJudge(), f"human={labels}")
    human = found["reliability"]["human"]
    assert (human["n"], human["agreement"]) == (8, 7 / 8)
    by_chance = (5 * 4 + 2 * 3 + 1 * 1) / 64
    assert human["cohen_kappa"] == pytest.approx((7 / 8 - by_chance) / (1 - by_chance))
    assert "agrees with people           0.88 of 8 labels, kappa 0.78" in capsys.readouterr().out


def test_after_a_kill_nothing_is_asked_twice_and_the_end_is_the_same(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    undisturbed = judged(whole, RuleJudge())
    judge = RuleJudge(kill_at=6)
    with pytest.raises(Killed):
        judged(killed, judge, "judge.max_concurrency=1")
    assert len(lines(killed)) == 5
    with (killed / "out" / "judgments.jsonl").open("a") as file:
        file.write('{"item": "q3", "ord')  # as a crash leaves it
    judge.kill_at, judge.bodies = None, []
    found = judged(killed, judge)
    assert len(judge.bodies) == 9
    assert [found[key] for key in ("win_rate", "ci", "items")] == [
        undisturbed[key] for key in ("win_rate", "ci", "items")
    ]
    assert {**judged(killed, judge), "timestamp": ""} == {**found, "timestamp": ""}
    assert len(judge.bodies) == 9


def test_lost_calls_are_counted_and_only_they_are_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = RuleJudge(refuse=lambda body: 500 if QUESTIONS[2] in body["messages"][0]["content"] else None)
    found = judged(tmp_path, judge, code=3)
    assert (found["lost"], found["n"], found["lost_calls"], found["calls"]) == (1, 7, 2, 12)
    assert "failed with HTTP 500" in found["reason"]
    assert "2 calls were lost, the first: " in capsys.readouterr().err
    judge.refuse = lambda body: None
    assert judged(tmp_path, judge)["n"] == 8
    assert len(judge.bodies) == 14 + 2


def test_a_request_that_is_refused_for_itself_is_lost_and_a_refusal_of_all_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "sk-very-secret")
    too_long = RuleJudge(refuse=lambda body: 400 if QUESTIONS[0] in body["messages"][0]["content"] else None)
    assert judged(tmp_path, too_long, code=3)["lost"] == 1
    a, b = two_sides(tmp_path)
    asked = [f"a={a}", f"b={b}", *endpoint(), f"output_dir={tmp_path / 'other'}"]
    assert main(asked, transport_to(RuleJudge(refuse=lambda body: 401))) == 2
    said = capsys.readouterr()
    assert "set JUDGE_API_KEY to it" in said.err
    assert main(asked, transport_to(RuleJudge(refuse=lambda body: 404))) == 2


@pytest.mark.parametrize(
    ("reply", "counted"),
    [
        (b"", "lost"),
        (b"<html>Please log in</html>", "lost"),
        (b'{"choices": []}', "lost"),
        (b'{"error": {"message": "overloaded"}}', "lost"),
        (b'{"choices": [{"message": {"content": [{"type": "text", "text": "[[A]]"}]}}]}', "lost"),
        (b'{"choices": [{"message": {"content": "[[A]]"}}], "usage": {"prompt_tokens": -1}}', "lost"),
        (b'{"choices": [{"message": {"content": "\\ud800 [[A]]"}}]}', "lost"),
        (b'{"choices": [{"message": {"content": null}}], "usage": null}', "unreadable"),
        (b'{"choices": [{"message": {}}], "model": null}', "unreadable"),
    ],
)
def test_a_broken_reply_is_lost_or_unreadable_and_never_a_verdict(tmp_path: Path, reply: bytes, counted: str) -> None:
    found = judged(tmp_path, RuleJudge(broken=reply), code=3 if counted == "lost" else 0)
    assert (found["n"], found["wins"], found[counted]) == (1, 0, 7)  # the one is that of identical answers


def test_the_key_is_sent_and_never_written_or_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    says_it = RuleJudge(says="Your key is sk-very-secret.")
    judged(tmp_path, says_it, "judge.key_variable=MY_KEY")
    assert set(says_it.keys) == {"Bearer sk-very-secret"}
    for status in (401, 500):
        refusing = RuleJudge(refuse=lambda body, status=status: status)
        judged(tmp_path, refusing, "judge.key_variable=MY_KEY", "judge.seed=9", code=2 if status == 401 else 3)
    shown = capsys.readouterr()
    assert "sk-very-secret" not in shown.out + shown.err
    assert all(b"sk-very-secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_budget_stops_before_the_call_that_would_exceed_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    priced = ["prices.prompt=2.5", "prices.completion=10", "judge.max_tokens=20", "judge.max_concurrency=1"]
    whole = tmp_path / "whole"
    whole.mkdir()
    cost = judged(whole, RuleJudge(), *priced)["cost_usd"]
    judge, budget = RuleJudge(), cost / 2
    found = judged(tmp_path, judge, *priced, f"budget_usd={budget}", code=3)
    assert found["cost_usd"] <= budget < found["cost_usd"] + cost / 14 * 1.5
    assert found["unasked"] == 8 - len(found["items"]) > 0
    assert found["identical"] == 0  # the last item needs no call, and is left out all the same
    error = capsys.readouterr().err
    assert "leaves no room for the next call" in error
    assert "which asks nothing twice" in error
    assert judged(tmp_path, judge, *priced, f"budget_usd={2 * cost}")["n"] == 8
    assert len(judge.bodies) == 14


def test_calls_at_the_same_time_do_not_exceed_the_budget_together(tmp_path: Path) -> None:
    priced = ["prices.prompt=2.5", "prices.completion=10", "judge.max_tokens=10"]
    whole = tmp_path / "whole"
    whole.mkdir()
    cost = judged(whole, RuleJudge(), *priced)["cost_usd"]
    for share in (0.05, 0.4, 0.7):
        folder = tmp_path / str(share)
        folder.mkdir()
        judge = RuleJudge()
        found = judged(folder, judge, *priced, f"budget_usd={cost * share}", "judge.max_concurrency=8", code=3)
        assert found["cost_usd"] <= cost * share
        assert (len(judge.bodies) == 0) is (share == 0.05)  # not even one call is sure to fit


def test_a_judge_that_counts_no_tokens_has_no_cost_and_keeps_no_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = RuleJudge(counts_tokens=False)
    assert judged(tmp_path, silent)["cost_usd"] is None
    assert lines(tmp_path)[0]["prompt_tokens"] is None
    a, b = two_sides(tmp_path)
    asked = [f"a={a}", f"b={b}", *endpoint(), f"output_dir={tmp_path / 'other'}", "budget_usd=1", "prices.prompt=1"]
    assert main(asked, transport_to(silent)) == 2
    assert "does not say how many tokens it used" in capsys.readouterr().err


def test_a_request_is_what_the_endpoint_is_said_to_take(tmp_path: Path) -> None:
    judge = RuleJudge()
    judged(tmp_path, judge, "judge.temperature=null", "judge.max_tokens_field=max_completion_tokens")
    assert {key for body in judge.bodies for key in body} == {"model", "messages", "seed", "max_completion_tokens"}


def test_a_damaged_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged(tmp_path, RuleJudge())
    path = tmp_path / "out" / "judgments.jsonl"
    path.write_text('{"item": "q0"}\n' + path.read_text())
    a, b = two_sides(tmp_path)
    assert main([f"a={a}", f"b={b}", *endpoint(), f"output_dir={tmp_path / 'out'}"], transport_to(RuleJudge())) == 2
    assert "judgments.jsonl is damaged at line 1 (asked: Field required)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"a": ""}, "give two sides"),
        ({"b": "{a}"}, "nothing is to be compared"),
        ({"judge.model": "null"}, "the judge's model is not set"),
        ({"judge.base_url": "null"}, "the judge's base_url is not set"),
        ({"judge.base_url": "judge"}, "must be an address like"),
        ({"judge.base_url": "http://me:secret@judge"}, "must not carry a key"),
        ({"judge.base_url": "'http://judge/v1?key=secret'"}, "must not carry a key"),
        ({"budget_usd": "1"}, "budget_usd needs prices"),
        ({"b": "nowhere.jsonl"}, "there is no file or folder 'nowhere.jsonl'"),
        ({"a": "base", "b": "eval-concise@3"}, "both sides are models: give questions"),
        ({"only": "x"}, "no question has an id that begins with 'x'"),
        ({"judge.temperature": "3"}, "judge.temperature must be >= 0 and <= 2"),
        ({"judge.modle": "x"}, "did you mean judge.model"),
        ({"human": "{a}"}, "must have an item and a winner"),
        ({"human": "{labels}"}, "no label is of an item that is compared; those are called like q0"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: Mapping[str, str], said: str
) -> None:
    a, b = two_sides(tmp_path)
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"item": "x0", "winner": "a"}\n')
    settings = {"a": str(a), "b": str(b), "judge.base_url": "http://judge/v1", "judge.model": "rule"}
    settings |= {"output_dir": str(tmp_path / "out")} | {
        key: value.format(a=a, labels=labels) for key, value in changes.items()
    }
    judge = RuleJudge()
    assert main([f"{key}={value}" for key, value in settings.items()], transport_to(judge)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert judge.bodies == []
