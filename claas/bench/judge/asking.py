"""A side that is a model: asked over the stack, turn by turn, by weights that must not change meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from claas.bench.judge.answers import Answered, Asked
from claas.core.checks import name_and_version, versioned_name
from claas.core.concurrency import together
from claas.core.files import append_line, read_records, write_atomically
from claas.eval.stacks.http_client import HttpClient, RequestLost
from claas.eval.stacks.stack import WrongWeights
from claas.results.benchmarks import AnsweredBy
from claas.results.records import Record
from claas.wire.chat import ChatMessage, ChatRequest, ChatResponse

BASE = "base"


class ModelAnswers(Record):
    """A model's answers to one question, turn by turn: a line of `answers.<model>.jsonl`, which can be a side, too.

    Greedy, of at most `max_tokens` each; `truncated` counts those that ended there.
    """

    id: str
    turns: tuple[str, ...]
    answers: tuple[str, ...]
    weights: AnsweredBy
    max_tokens: int
    truncated: int


@dataclass
class AskedModel:
    """A model of an API: `base`, or an adapter, of a version (`eval-concise@20`) or the newest. `lost` says why, by id,
    and `truncated` counts the answers that were cut off.

    The first reply says which weights that means; `WrongWeights` where a later one is of others.
    """

    client: HttpClient
    name: str
    base_model: str
    max_tokens: int
    path: Path
    lost: dict[str, str] = field(default_factory=dict[str, str])
    truncated: int = 0
    weights: AnsweredBy | None = None

    async def answers(self, questions: Sequence[Asked]) -> list[Answered]:
        """Its answers, those left out that were lost; what these weights said is in its file, and not asked again."""
        earlier = read_records(self.path, ModelAnswers, "take the line out")
        if earlier:
            await self._say([ChatMessage(role="user", content=questions[0].turns[0])], max_tokens=1)
        kept = [each for each in earlier if (each.weights, each.max_tokens) == (self.weights, self.max_tokens)]
        if len(kept) < len(earlier):
            write_atomically(self.path, "".join(f"{each.model_dump_json()}\n" for each in kept))
        known = {each.turns: each for each in kept}
        asked = await together(self._answer(question, known.get(question.turns)) for question in questions)
        self.truncated = sum(found.truncated for found in asked if found is not None)
        pairs = zip(questions, asked, strict=True)
        return [Answered(question, found.answers) for question, found in pairs if found is not None]

    async def _answer(self, question: Asked, known: ModelAnswers | None) -> ModelAnswers | None:
        if known is not None:
            return known
        messages, answers, truncated = list[ChatMessage](), list[str](), 0
        for turn in question.turns:
            messages.append(ChatMessage(role="user", content=turn))
            try:
                said, cut = await self._say(messages, self.max_tokens)
            except RequestLost as error:
                self.lost[question.id] = str(error)
                return None
            messages.append(ChatMessage(role="assistant", content=said))
            answers.append(said)
            truncated += cut
        assert self.weights is not None, "a reply has come"
        found = ModelAnswers(
            id=question.id,
            turns=question.turns,
            answers=tuple(answers),
            weights=self.weights,
            max_tokens=self.max_tokens,
            truncated=truncated,
        )
        append_line(self.path, found.model_dump_json())
        return found

    async def _say(self, messages: Sequence[ChatMessage], max_tokens: int) -> tuple[str, bool]:
        """The answer to a conversation, and whether it was cut off."""
        request = ChatRequest(
            model=self._model, messages=list(messages), max_tokens=max_tokens, temperature=0.0, seed=0
        )
        reply = await self.client.post("/v1/chat/completions", request, ChatResponse)
        self._require_same(AnsweredBy(name=reply.model, digest=reply.system_fingerprint or ""))
        if not reply.choices:
            raise RequestLost(f"{reply.model} gave a reply without an answer")
        choice = reply.choices[0]
        return choice.message.content, choice.finish_reason == "length"

    @property
    def _model(self) -> str:
        return self.base_model if self.name == BASE else self.name

    def _require_same(self, weights: AnsweredBy) -> None:
        named = name_and_version(self._model)
        wanted = None if named is None else versioned_name(*named)
        if (wanted or self.base_model) != weights.name and (wanted is not None or self.name == BASE):
            raise WrongWeights(f"asked {self._model}, answered by {weights.name}: the API serves other weights")
        if self.weights is not None and weights != self.weights:
            raise WrongWeights(
                f"{self._model} was {self.weights.name} ({self.weights.digest}) and then {weights.name} "
                f"({weights.digest}): its answers would be of two models"
            )
        self.weights = weights
