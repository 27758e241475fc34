"""Answers of the same weights are kept as they come, and what has one is not asked again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claas.bench.answers import remembering


@dataclass(frozen=True)
class Request:
    args: tuple[Any, ...]


@dataclass
class Model:
    """As lm-eval's models are: it tells its hook of each answer, until it breaks down."""

    asked: list[Any] = field(default_factory=list[Any])
    breaks_after: int = 99
    hook: Any = None

    def set_cache_hook(self, hook: Any) -> None:
        self.hook = hook

    def loglikelihood(self, requests: list[Request]) -> list[Any]:
        answers: list[Any] = []
        for request in requests:
            if len(self.asked) == self.breaks_after:
                raise RuntimeError("gone")
            self.asked.append(request.args)
            answers.append((-float(len(request.args[1])) / 3, len(answers) == 0))
            self.hook.add_partial("loglikelihood", request.args, answers[-1])
        return answers

    def generate_until(self, requests: list[Request]) -> list[str]:
        self.asked += [request.args for request in requests]
        return [f"text {len(self.asked)}" for _ in requests]

    loglikelihood_rolling = loglikelihood


QUESTIONS = [Request(("question", f" answer{'!' * index}")) for index in range(4)]


def test_what_was_answered_before_a_breakdown_is_not_asked_again(tmp_path: Path) -> None:
    path, model, whole = tmp_path / "answers" / "a.jsonl", Model(breaks_after=2), Model()
    with pytest.raises(RuntimeError, match="gone"), remembering(model, path):
        model.loglikelihood(QUESTIONS)
    with path.open("a") as file:
        file.write('["torn by a cra')
    model.breaks_after = 99
    with remembering(model, path):
        answers = model.loglikelihood(QUESTIONS)
    assert model.asked == [question.args for question in QUESTIONS]
    with remembering(whole, tmp_path / "whole.jsonl"):
        assert [logprob for logprob, _ in whole.loglikelihood(QUESTIONS)] == [logprob for logprob, _ in answers]
    again = Model(breaks_after=0)
    with remembering(again, path):
        assert again.loglikelihood(QUESTIONS) == answers
    assert again.asked == []


def test_kinds_of_questions_are_apart_and_what_is_drawn_at_random_is_not_kept(tmp_path: Path) -> None:
    path, model = tmp_path / "a.jsonl", Model()
    greedy, drawn = Request(("Hi", {"until": ["."]})), Request(("Hi", {"do_sample": True}))
    for _ in range(2):
        with remembering(model, path):
            model.loglikelihood(QUESTIONS[:1])
            model.loglikelihood_rolling(QUESTIONS[:1])
            told = model.generate_until([greedy, drawn])
    assert model.asked == [QUESTIONS[0].args, QUESTIONS[0].args, greedy.args, drawn.args, drawn.args]
    assert told == ["text 4", "text 5"]


def test_a_model_is_itself_again_afterwards(tmp_path: Path) -> None:
    model = Model()
    with remembering(model, tmp_path / "a.jsonl"):
        model.loglikelihood(QUESTIONS)
    assert {"loglikelihood", "generate_until"}.isdisjoint(vars(model))
