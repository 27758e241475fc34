"""Plain text at a CLaaS API, without a chat: read, continued, and scored as what follows a prompt."""

import itertools
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.text import PART_OF_A_CHARACTER
from claas.eval.stacks.http_client import HttpClient, Refused, RequestLost
from claas.eval.stacks.stack import (
    Completion,
    Continuation,
    LostAnswer,
    NothingToPredict,
    Reading,
    TokenizedText,
    WrongWeights,
    require_weights,
)
from claas.results.records import AdapterVersion
from claas.wire.completions import (
    CompletionRequest,
    CompletionResponse,
    ContinuationsRequest,
    ContinuationsResponse,
    fitting,
)
from claas.wire.tokens import TokenizeRequest, TokenizeResponse


class PlainText:
    """The part of a stack that needs no chat."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def read(self, adapter: AdapterVersion, text: str, window: int) -> Reading:
        """Read a text under exactly this version, at most `window` tokens at a time, so that each is predicted once."""
        try:
            tokenized = await self._client.post("/tokenize", TokenizeRequest(prompt=text), TokenizeResponse)
            ids = tokenized.tokens
            if len(ids) < 2:
                raise NothingToPredict("the text is a single token, which has nothing before it to be predicted from")
            if window > tokenized.max_model_len:
                raise InvalidInput(
                    f"window={window} is beyond the {tokenized.max_model_len} tokens that the model reads at once"
                )
            spans = windows(len(ids), window)
            parts = await together(self._read(adapter, ids[begin:end]) for begin, _, end in spans)
        except RequestLost as error:
            raise LostAnswer(str(error)) from error
        if len({part.digest for part in parts}) > 1:
            raise WrongWeights(f"{adapter.model} was other weights from one window of a text to the next")
        kept = [start - begin - 1 for begin, start, _ in spans]
        return Reading(
            given=parts[0].given if text.startswith(parts[0].given) else "",
            tokens=tuple(itertools.chain.from_iterable(p.tokens[at:] for p, at in zip(parts, kept, strict=True))),
            logprobs=tuple(itertools.chain.from_iterable(p.logprobs[at:] for p, at in zip(parts, kept, strict=True))),
            context_tokens=sum(start - begin for begin, start, _ in spans),
            digest=parts[0].digest,
        )

    async def _read(self, adapter: AdapterVersion, ids: list[int]) -> Reading:
        """One window of tokens."""
        request = CompletionRequest(model=adapter.model, prompt=ids, max_tokens=0, echo=True, logprobs=0)
        reply = await self._client.post("/v1/completions", request, CompletionResponse)
        require_weights(adapter, reply.model, reply.system_fingerprint)
        return _window_read(reply, len(ids))

    async def score_continuations(
        self, adapter: AdapterVersion, prompt: Sequence[int], continuations: Sequence[TokenizedText]
    ) -> list[Continuation]:
        """Score each of these texts as what follows a prompt of tokens, under exactly this version."""
        scored: list[Continuation] = []
        while left := continuations[len(scored) :]:
            some = left[: fitting(len(each.ids) for each in left)]
            scored += await self._scored(adapter, prompt, some)
        return scored

    async def _scored(
        self, adapter: AdapterVersion, prompt: Sequence[int], continuations: Sequence[TokenizedText]
    ) -> list[Continuation]:
        """As many as one request takes."""
        request = ContinuationsRequest(
            model=adapter.model, prompt=list(prompt), continuations=[list(each.ids) for each in continuations]
        )
        with lost_or_refused():
            reply = await self._client.post("/v1/score/continuations", request, ContinuationsResponse)
        require_weights(adapter, reply.model, reply.system_fingerprint)
        sizes = [len(each.logprobs) for each in reply.continuations]
        if sizes != [len(each.ids) for each in continuations]:
            raise LostAnswer(f"the reply scores continuations of {sizes} tokens, which are not those that were asked")
        return [Continuation(tuple(each.logprobs), tuple(each.likeliest)) for each in reply.continuations]

    async def complete(
        self, adapter: AdapterVersion, prompt: Sequence[int], *, max_tokens: int, seed: int, stop: Sequence[str]
    ) -> Completion:
        """Continue a prompt of tokens under exactly this version, with the likeliest token each time."""
        request = CompletionRequest(
            model=adapter.model,
            prompt=list(prompt),
            max_tokens=max_tokens,
            temperature=0.0,
            seed=seed,
            stop=list(stop),
            logprobs=0,
        )
        with lost_or_refused():
            reply = await self._client.post("/v1/completions", request, CompletionResponse)
        require_weights(adapter, reply.model, reply.system_fingerprint)
        if len(reply.choices) != 1 or (logprobs := reply.choices[0].logprobs) is None:
            raise LostAnswer(f"the reply has {len(reply.choices)} choices where one was asked for, or no numbers of it")
        if None in logprobs.token_logprobs:
            raise LostAnswer("the reply has no log probability of a token that was written")
        return Completion(
            text=reply.choices[0].text,
            finish_reason=reply.choices[0].finish_reason,
            tokens=_shown(logprobs.tokens),
            logprobs=tuple(logprob for logprob in logprobs.token_logprobs if logprob is not None),
        )


_MISTAKES = frozenset({400, 401, 403, 413, 422})
"""Refusals that the same request meets again: of what it says, or of who asks."""


@contextmanager
def lost_or_refused() -> Generator[None, None, None]:
    """A request that fails, or is refused in a way that is not about it, is one answer lost."""
    try:
        yield
    except RequestLost as error:
        raise LostAnswer(str(error)) from error
    except Refused as error:
        if error.status in _MISTAKES:
            raise
        raise LostAnswer(str(error)) from error


def windows(tokens: int, window: int) -> list[tuple[int, int, int]]:
    """Each window as (begin, start, end): tokens begin..end are read, of which start..end are predicted.

    >>> windows(8, 4)
    [(0, 1, 4), (3, 4, 7), (4, 7, 8)]
    """
    ends = ((start, min(start + window - 1, tokens)) for start in range(1, tokens, window - 1))
    return [(max(0, end - window), start, end) for start, end in ends]


def _window_read(reply: CompletionResponse, tokens: int) -> Reading:
    """The reading of a window of so many tokens, of which the first is given."""
    logprobs = reply.choices[0].logprobs if reply.choices else None
    if logprobs is None or not len(logprobs.tokens) == len(logprobs.token_logprobs) == tokens:
        found = 0 if logprobs is None else len(logprobs.token_logprobs)
        raise LostAnswer(f"the reply has {found} log probabilities for a prompt of {tokens} tokens")
    if None in (predicted := logprobs.token_logprobs[1:]):
        raise LostAnswer("the reply has no log probability of a token that is not the first")
    given, *others = _shown(logprobs.tokens)
    return Reading(
        given=given,
        tokens=tuple(others),
        logprobs=tuple(logprob for logprob in predicted if logprob is not None),
        context_tokens=1,
        digest=reply.system_fingerprint,
    )


def _shown(tokens: Sequence[str]) -> tuple[str, ...]:
    return tuple(_PART_OF_A_CHARACTER.sub(PART_OF_A_CHARACTER, token) for token in tokens)


_PART_OF_A_CHARACTER = re.compile(r"^bytes:(\\x[0-9a-f]{2})+$")
"""How completions write the bytes of a token that is a part of a character."""
