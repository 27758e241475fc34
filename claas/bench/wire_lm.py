"""A model behind our wire as lm-eval sees one: log probabilities and greedy texts of one version of one adapter.

Every reply is checked to come from the weights asked for. Imported only where lm-eval is installed.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingTypeStubs]  # typed in place

from claas.bench.model import Tokenizer
from claas.bench.reader import Reader
from claas.core.concurrency import together
from claas.eval.stacks.http_client import HttpClient, Malformed, Refused
from claas.eval.stacks.stack import LostAnswer, require_weights
from claas.results.benchmarks import hub_id
from claas.results.records import AdapterVersion
from claas.wire.completions import (
    CompletionChoice,
    CompletionRequest,
    CompletionResponse,
    ContinuationsRequest,
    ContinuationsResponse,
    fitting,
)

T = TypeVar("T")

Scored = tuple[float, bool]
"""The log probability of a continuation in nats, and whether it is the likeliest one, token by token."""

CONTINUATIONS = "/v1/score/continuations"

_MOST_WAITING = 512
"""Requests of one task that are made out at the same time; the client sends as many of them as it may."""

_SEED = 1234


@dataclass(frozen=True)
class WireModel:
    """One version of one adapter, or the base model, at an API whose model reads `window` tokens.

    `reads_once`: the API scores several continuations of a prompt in one request; else each is echoed after it.
    `ends_apart`: the tokenizer may have another end token than the API knows of.
    """

    client: HttpClient
    weights: AdapterVersion
    window: int
    tokenizer: Tokenizer
    loop: asyncio.AbstractEventLoop
    reads_once: bool
    ends_apart: bool = False

    async def complete(self, ids: Sequence[int], max_tokens: int, **settings: Any) -> CompletionChoice:
        """What continues `ids`; `WrongWeights` where other weights say so, `LostAnswer` where the reply is none."""
        request = CompletionRequest(
            model=self.weights.model, prompt=list(ids), max_tokens=max_tokens, temperature=0.0, **settings
        )
        reply = await self.client.post("/v1/completions", request, CompletionResponse)
        require_weights(self.weights, reply.model, reply.system_fingerprint)
        if len(reply.choices) != 1:
            raise LostAnswer(f"the reply has {len(reply.choices)} choices where one was asked for")
        return reply.choices[0]

    async def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[Scored]:
        """Each of `continuations` after `prompt`; raises what `complete` does."""
        if not self.reads_once:
            return await together(self._echoed(prompt, each) for each in continuations)
        request = ContinuationsRequest(
            model=self.weights.model, prompt=list(prompt), continuations=list(map(list, continuations))
        )
        reply = await self.client.post(CONTINUATIONS, request, ContinuationsResponse)
        require_weights(self.weights, reply.model, reply.system_fingerprint)
        sizes = [len(each.logprobs) for each in reply.continuations]
        if sizes != list(map(len, continuations)):
            raise LostAnswer(f"the reply scores continuations of {sizes} tokens")
        return [(math.fsum(each.logprobs), all(each.likeliest)) for each in reply.continuations]

    async def _echoed(self, prompt: Sequence[int], continuation: Sequence[int]) -> Scored:
        ids = [*prompt, *continuation]
        choice = await self.complete(ids, 0, echo=True, logprobs=1)
        if choice.logprobs is None or len(choice.logprobs.token_logprobs) != len(ids):
            raise LostAnswer(f"the reply has no log probability for each of {len(ids)} tokens")
        size = len(continuation)
        told, tops = choice.logprobs.token_logprobs[-size:], choice.logprobs.top_logprobs[-size:]
        found = [(logprob, top) for logprob, top in zip(told, tops, strict=True) if logprob is not None and top]
        if len(found) != size:
            raise LostAnswer(f"the reply scores {len(found)} of the {size} tokens of a continuation")
        return math.fsum(logprob for logprob, _ in found), all(logprob >= max(top.values()) for logprob, top in found)


async def reads_once(client: HttpClient, model: str, ids: Sequence[int]) -> bool:
    """Whether the server scores several continuations of a prompt in one request: other APIs, and older ones, do not.

    Found out once, by a request that nothing is wrong with.
    """
    request = ContinuationsRequest(model=model, prompt=list(ids[:1]), continuations=[list(ids[1:])])
    try:
        await client.post(CONTINUATIONS, request, ContinuationsResponse)
    except (Refused, Malformed):
        return False
    return True


class WireLM(TemplateLM):
    """lm-eval's model; its methods run in a thread of their own, and their requests in the loop of the client."""

    def __init__(self, served: WireModel) -> None:
        super().__init__()
        self._served, self.tokenizer = served, served.tokenizer
        self._reader = Reader(served.tokenizer, served.window)

    @property
    def max_length(self) -> int:
        """How many tokens a question has with its answer."""
        return self._served.window

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text of which every token is scored."""
        return self._reader.prefix_token_id

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's record."""
        return self.tokenizer.name_or_path

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """For lm-eval's record."""
        return self.tokenizer.chat_template

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the model reads it, its last turn left open where that is the assistant's."""
        return self._reader.chat_text(chat_history, add_generation_prompt)

    def get_model_info(self) -> dict[str, Any]:
        """Into lm-eval's results: which weights the numbers belong to."""
        weights = self._served.weights
        return {
            "model_args": f"pretrained={hub_id(weights.model)}",
            "model_name": weights.model,
            "digest": weights.digest,
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text, which begins once where its chat template has begun it."""
        return self._reader.encode(string, add_special_tokens)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[Scored]:
        """The log probability of each continuation after its context; no progress bar is drawn."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[Scored]:
        """Continuations of the same context are asked together."""
        found: dict[int, Scored] = {}

        async def ask(prompt: Sequence[int], some: Sequence[_Asked]) -> None:
            scores = await self._served.score(prompt, [each.continuation for each in some])
            for each, scored in zip(some, scores, strict=True):
                found[each.index] = scored
                self.cache_hook.add_partial("loglikelihood", each.key, scored)

        self._all(ask, _by_prompt(requests, self.max_length))
        return [found[index] for index in range(len(requests))]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """The log probability of each whole text, every token scored once."""

        async def one(text: str) -> float:
            parts = [await self._served.score(prompt, [rest]) for prompt, rest in self._reader.windows(text)]
            total = math.fsum(logprob for ((logprob, _),) in parts)
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
            return total

        return self._all(one, [request.args for request in requests])

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """The greedy text after each context, up to the first of its stop strings."""

        async def one(context: str, asked: dict[str, Any]) -> str:
            wanted = self._reader.wanted(context, asked)
            logprobs = 0 if self._served.ends_apart else None
            choice = await self._served.complete(
                wanted.ids, wanted.max_tokens, seed=_SEED, stop=wanted.stop, logprobs=logprobs
            )
            text = wanted.cut(_before(choice, self.tokenizer.eos_token))
            self.cache_hook.add_partial("generate_until", (context, asked), text)
            return text

        return self._all(one, [request.args for request in requests])

    def _all(self, ask: Callable[..., Coroutine[Any, Any, T]], questions: Iterable[Sequence[Any]]) -> list[T]:
        """Ask all of them, and wait for the answers in the calling thread."""

        async def asked() -> list[T]:
            waiting = asyncio.Semaphore(_MOST_WAITING)

            async def bounded(question: Sequence[Any]) -> T:
                async with waiting:
                    return await ask(*question)

            return await together(map(bounded, questions))

        return asyncio.run_coroutine_threadsafe(asked(), self._served.loop).result()


@dataclass(frozen=True)
class _Asked:
    """One of lm-eval's requests by its place among them; `key` is what its cache knows it by."""

    index: int
    key: Any
    continuation: list[int]


def _by_prompt(requests: Iterable[Any], window: int) -> Iterator[tuple[tuple[int, ...], list[_Asked]]]:
    """The requests of each prompt, as many together as the API takes; what is beyond the window is cut off in front."""
    groups: dict[tuple[int, ...], list[_Asked]] = {}
    for index, (key, context, continuation) in enumerate(requests):
        prompt = tuple(context[max(0, len(context) + len(continuation) - window) :])
        if not prompt:
            raise LostAnswer(f"a continuation of {len(continuation)} tokens fills the window of {window}")
        groups.setdefault(prompt, []).append(_Asked(index, key, continuation))
    for prompt, asked in groups.items():
        while asked:
            most = fitting(len(each.continuation) for each in asked)
            yield prompt, asked[:most]
            asked = asked[most:]


def _before(choice: CompletionChoice, end: str) -> str:
    """The text before the end token, where tokens are told: a special one is in no text."""
    if choice.logprobs is None or end not in choice.logprobs.tokens:
        return choice.text
    return choice.text[: choice.logprobs.text_offset[choice.logprobs.tokens.index(end)]]
