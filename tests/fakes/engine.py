"""A scripted engine: the whole protocol in memory, deterministic, without torch."""

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from claas.core.checks import adapter_id
from claas.core.errors import Conflict, NotFound
from claas.engines.types import (
    AdapterSpec,
    ContinuationScore,
    Health,
    Message,
    OnPiece,
    Piece,
    Prompt,
    PromptLogprobs,
    SamplingParams,
    Score,
    TokenIds,
    TokenLogprob,
    Update,
    UpdateRequest,
    Weights,
)
from claas.engines.types import Sample as EngineSample

BASE_MODEL = "fake-base"
END_OF_TURN = 2


@dataclass(frozen=True)
class Sampled:
    """One answer as the engine was asked for it."""

    weights: Weights
    messages: tuple[Message, ...]
    params: SamplingParams


def echo(weights: Weights, messages: Sequence[Message], params: SamplingParams) -> str:
    """The default script: says which weights answered what, under which seed."""
    return f"{weights.name} heard {messages[-1]['content']} under seed {params.seed}"


@dataclass
class FakeEngine:
    """Answers by `script`; every word is a token. `trained` lists the updates made, replays excluded.

    `between_pieces` is awaited after each piece of a streamed answer, `before_save` runs before an update is stored,
    `after_save` when it is: each may raise, or wait.
    """

    directory: Path
    script: Callable[[Weights, Sequence[Message], SamplingParams], str] = echo
    before_save: Callable[[], None] = lambda: None
    after_save: Callable[[], None] = lambda: None
    between_pieces: Callable[[int], Awaitable[None]] = lambda index: asyncio.sleep(0)
    update_s: float = 0.0
    ok: bool = True
    window: int = 4096
    opens_thinking: bool = False
    metrics: dict[str, float] = field(default_factory=lambda: {"total_loss": 0.5, "tokens_processed": 7.0})
    trained: list[UpdateRequest] = field(default_factory=list[UpdateRequest])
    sampled: list[Sampled] = field(default_factory=list[Sampled])
    adapters: dict[str, list[Weights]] = field(default_factory=dict[str, list[Weights]])
    receipts: dict[tuple[str, str], Update] = field(default_factory=dict[tuple[str, str], Update])
    closed: bool = False

    @property
    def base_model(self) -> str:
        return BASE_MODEL

    @property
    def base_source(self) -> None:
        return None

    @property
    def longest_prompt(self) -> int:
        return 1000 * self.window

    async def tokenizer_info(self) -> dict[str, JsonValue]:
        return {"tokenizer_class": "Words", "eos_token": "<end>"}

    async def encode(self, prompt: Sequence[Message] | str, add_special_tokens: bool = True) -> TokenIds:
        if isinstance(prompt, str):
            return TokenIds(words_ids(prompt))
        return TokenIds(prompt_ids(prompt), self.opens_thinking)

    async def decode(self, prompt: TokenIds) -> str:
        return " ".join(f"<{token}>" for token in prompt.ids)

    async def resolve(self, lora_id: str | None, version: int | None = None) -> Weights:
        if lora_id is None:
            return Weights(None, 0, _digest(BASE_MODEL), BASE_MODEL)
        versions = self._versions(lora_id)
        if version is None:
            return versions[-1]
        if version >= len(versions):
            raise NotFound(f"adapter {lora_id!r} has no version {version}; its newest is {len(versions) - 1}")
        return versions[version]

    async def sample(
        self,
        weights: Weights,
        prompt: Prompt,
        params: SamplingParams,
        on_piece: OnPiece | None = None,
    ) -> EngineSample:
        messages = _as_messages(prompt)
        self.sampled.append(Sampled(weights, tuple(messages), params))
        await asyncio.sleep(0)
        text = self.script(weights, messages, params)
        words = text.split(" ")
        finish_reason: Literal["stop", "length"] = "stop"
        if len(words) > params.max_tokens:
            words, finish_reason = words[: params.max_tokens], "length"
        ids = tuple(token_id(word) for word in words)
        tokens, logprobs = tuple(words), _logprobs(weights, len(words))
        if finish_reason == "stop":
            ids, tokens, logprobs = (*ids, END_OF_TURN), (*tokens, "<end>"), (*logprobs, _end_logprob(weights))
        top = tuple(TokenLogprob(f"other{i}", -1.0 - i) for i in range(params.top_logprobs))
        sample = EngineSample(
            weights=weights,
            text=" ".join(words),
            finish_reason=finish_reason,
            prompt_ids=prompt.ids if isinstance(prompt, TokenIds) else prompt_ids(prompt),
            token_ids=ids,
            tokens=tokens,
            logprobs=logprobs,
            top_logprobs=tuple(top for _ in tokens) if params.top_logprobs else (),
            mean_entropy=1.25,
            token_bytes=tuple(token.encode() for token in tokens),
        )
        if on_piece is not None:
            await self._emit(sample, len(words), on_piece)
        return sample

    async def score(self, weights: Weights, messages: Sequence[Message], completion: str) -> Score:
        words = completion.split(" ")
        return Score(
            weights=weights,
            prompt_ids=prompt_ids(messages),
            tokens=(*words, "<end>"),
            logprobs=(*_logprobs(weights, len(words)), _end_logprob(weights)),
        )

    async def read(self, weights: Weights, prompt: TokenIds, top_logprobs: int = 0) -> PromptLogprobs:
        tokens = tuple(f"<{token}>" for token in prompt.ids)
        top = tuple(TokenLogprob(f"other{i}", -1.0 - i) for i in range(top_logprobs))
        return PromptLogprobs(
            weights=weights,
            tokens=tokens,
            token_bytes=tuple(token.encode() for token in tokens),
            logprobs=(-0.5 - _moved(weights),) * (len(tokens) - 1),
            top_logprobs=(top,) * (len(tokens) - 1) if top_logprobs else (),
        )

    async def score_continuations(
        self, weights: Weights, prompt: TokenIds, continuations: Sequence[Sequence[int]]
    ) -> list[ContinuationScore]:
        logprob = -0.5 - _moved(weights)
        return [ContinuationScore((logprob,) * len(each), (False,) * len(each)) for each in continuations]

    async def update(self, request: UpdateRequest) -> Update:
        lora_id, key = request.lora_id, request.key
        versions = self._versions(lora_id)
        if (first := self.receipts.get((lora_id, key))) is not None:
            return replace(first, replayed=True)
        await asyncio.sleep(self.update_s)
        self.before_save()
        weights = self._weights(lora_id, len(versions), salt=key)
        update = Update(weights, dict(self.metrics), {"distill": 3.0, "save": 2.0, "logprobs": 1.0})
        versions.append(weights)
        self.receipts[lora_id, key] = update
        self.trained.append(request)
        self.after_save()
        return update

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        adapter_id(spec.lora_id)
        first = self._weights(spec.lora_id, 0, salt=str(spec))
        if self.adapters.setdefault(spec.lora_id, [first]) != [first]:
            raise Conflict(f"adapter {spec.lora_id!r} exists already")
        return first

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        first = self._weights(adapter_id(lora_id), 0, salt=f"{config} {weights!r}")
        if self.adapters.setdefault(lora_id, [first])[0] != first:
            raise Conflict(f"adapter {lora_id!r} exists already")
        return first

    async def list_adapters(self, prefix: str = "") -> list[Weights]:
        return [versions[-1] for lora_id, versions in sorted(self.adapters.items()) if lora_id.startswith(prefix)]

    async def delete_adapter(self, lora_id: str) -> bool:
        self.receipts = {known: update for known, update in self.receipts.items() if known[0] != lora_id}
        return self.adapters.pop(lora_id, None) is not None

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        weights = await self.resolve(lora_id, version)
        directory = self.directory / weights.digest
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "adapter_config.json").write_text("{}")
        (directory / "adapter_model.safetensors").write_text(weights.digest)
        (directory / "optimizer.safetensors").write_text("private")
        return directory

    async def health(self) -> Health:
        return Health(self.ok, BASE_MODEL, {"adapters": len(self.adapters)})

    async def close(self) -> None:
        self.closed = True

    async def _emit(self, sample: EngineSample, words: int, on_piece: OnPiece) -> None:
        """All but the last word and the end, a word at a time."""
        emitted = 0
        for index in range(words - 1):
            rest = sample.rest(emitted, index)
            text = sample.tokens[index] + " "
            on_piece(Piece(text, rest.tokens[:1], rest.top_logprobs[:1]))
            emitted += len(text)
            await self.between_pieces(index)

    def _versions(self, lora_id: str) -> list[Weights]:
        if lora_id not in self.adapters:
            raise NotFound(f"unknown adapter {lora_id!r}")
        return self.adapters[lora_id]

    def _weights(self, lora_id: str, version: int, salt: str) -> Weights:
        return Weights(lora_id, version, _digest(f"{lora_id} {version} {salt}"), BASE_MODEL)


def token_id(word: str) -> int:
    """The id under which the fake samples a word."""
    return 10 + zlib.crc32(word.encode()) % 50_000


def words_ids(text: str) -> tuple[int, ...]:
    """The ids of plain text, one per word."""
    return tuple(map(token_id, text.split()))


def _as_messages(prompt: Prompt) -> Sequence[Message]:
    """What a script sees of a prompt: a conversation, or tokens as one user turn."""
    if isinstance(prompt, TokenIds):
        return ({"role": "user", "content": " ".join(map(str, prompt.ids))},)
    return prompt


def prompt_ids(messages: Sequence[Message]) -> tuple[int, ...]:
    """The ids of a conversation, one per word and one per turn."""
    return tuple(token_id(word) for turn in messages for word in (turn["role"], *turn["content"].split()))


def _logprobs(weights: Weights, words: int) -> tuple[float, ...]:
    """What each word has, sampled or scored."""
    return tuple(-0.1 * (i + 1) - _moved(weights) for i in range(words))


def _end_logprob(weights: Weights) -> float:
    return -0.01 - _moved(weights)


def _moved(weights: Weights) -> float:
    """Nats by which an adapter that has been trained scores a token otherwise than its base model."""
    return 0.0 if weights.version == 0 else int(weights.digest[:8], 16) / 2**32


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
