"""The engine protocol: one base model, many adapters, each a chain of immutable versions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from claas.engines.types import (
    AdapterSpec,
    ContinuationScore,
    Health,
    Message,
    OnPiece,
    Prompt,
    PromptLogprobs,
    Sample,
    SamplingParams,
    Score,
    TokenIds,
    Update,
    UpdateRequest,
    Weights,
)


class EngineSettings(Protocol):
    """What the API's configuration says to every engine."""

    @property
    def base_model_name(self) -> str:
        """The base model: a directory, or a name that the engine knows."""
        ...

    @property
    def store_dir(self) -> str:
        """The directory under which an engine keeps its adapters, in a folder of its own."""
        ...

    @property
    def lock_timeout_s(self) -> float:
        """How long an update waits for another update of its adapter."""
        ...

    @property
    def check_model(self) -> bool:
        """Whether an engine that computes the model here first compares itself with the model's own code."""
        ...

    @property
    def dtype(self) -> str | None:
        """What an engine that computes the model here holds its weights in: float32, bfloat16, or None: its choice."""
        ...


class Engine(Protocol):
    """One base model and its adapters.

    Every method may raise the errors of `claas.core.errors`: `NotFound` for an unknown adapter or version,
    `InvalidInput` for a bad id, `PromptTooLong` for what does not fit the window, `Conflict` for an update that
    cannot have the adapter's lock in time, `StackError` when the engine itself failed.
    """

    @property
    def base_model(self) -> str:
        """The served name of the base model."""
        ...

    @property
    def base_source(self) -> str | None:
        """Where the base model's weights are from, exactly; None where the engine cannot tell."""
        ...

    @property
    def window(self) -> int:
        """The most tokens of prompt and answer together."""
        ...

    @property
    def longest_prompt(self) -> int:
        """More characters than this are more tokens than the window has, whatever they say."""
        ...

    async def encode(self, prompt: Sequence[Message] | str, add_special_tokens: bool = True) -> TokenIds:
        """The tokens that an answer to a conversation continues, by the chat template, or those of plain text.

        Plain text may spell out special tokens, and gets what the tokenizer puts in front of any text, unless
        `add_special_tokens` is False.
        """
        ...

    async def decode(self, prompt: TokenIds) -> str:
        """What tokens read as, special ones included. Raises `InvalidInput` for an id that is no token."""
        ...

    async def tokenizer_info(self) -> dict[str, JsonValue]:
        """What the tokenizer's own configuration says: its `tokenizer_class`, special tokens, and chat template."""
        ...

    async def resolve(self, lora_id: str | None, version: int | None = None) -> Weights:
        """The weights of an adapter's `version`, or of its newest; of the base model when `lora_id` is None."""
        ...

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer. Concurrent calls are decoded together, whatever weights each wants.

        `on_piece` is called as the answer grows. The pieces, in order, are the beginning of the sample that is
        returned: an engine may hold back its end, and one that cannot stream calls it never. Cancelling stops sampling.
        """
        ...

    async def score(self, weights: Weights, messages: Sequence[Message], completion: str) -> Score:
        """Log probabilities of `completion` as the answer to `messages`."""
        ...

    async def read(self, weights: Weights, prompt: TokenIds, top_logprobs: int = 0) -> PromptLogprobs:
        """Log probabilities of every token of `prompt`, and of its `top_logprobs` likeliest alternatives."""
        ...

    async def score_continuations(
        self, weights: Weights, prompt: TokenIds, continuations: Sequence[Sequence[int]]
    ) -> list[ContinuationScore]:
        """Log probabilities of each continuation after `prompt`, which need be read only once for all of them.

        A score does not depend on what else is asked. Raises `InvalidInput` for a continuation without tokens.
        """
        ...

    async def update(self, request: UpdateRequest) -> Update:
        """Train the next version of an adapter, exactly once per `request.key`.

        The key and the receipt are stored inside the new version, in the same atomic step, so that a crash
        between training and answering can neither lose nor repeat the update.
        """
        ...

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        """Create version 0, which answers exactly as the base model.

        One that exists is returned as it is while it has not been trained and `spec` would make the same; any other
        existing id raises `Conflict`.
        """
        ...

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Create version 0 from an adapter_config.json and the bytes of an adapter_model.safetensors.

        One that exists is returned as it is where its version 0 is the same, whatever it has learnt since; any other
        existing id raises `Conflict`. `InvalidInput` names what the engine cannot hold, or does not fit its base model.
        """
        ...

    async def list_adapters(self, prefix: str = "") -> list[Weights]:
        """The newest version of every adapter whose id starts with `prefix`, sorted by id."""
        ...

    async def delete_adapter(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions; False when there was none."""
        ...

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        """A directory holding a standard PEFT adapter (adapter_config.json, adapter_model.safetensors)."""
        ...

    async def health(self) -> Health:
        """Whether the engine can serve."""
        ...

    async def close(self) -> None:
        """Stop its threads; finish nothing new."""
        ...


@runtime_checkable
class Sleeper(Protocol):
    """An engine whose server can sleep while it learns, and give up what learning needs. Most have none."""

    async def sleep(self, level: int) -> bool:
        """Let the server sleep, once what it was asked is answered; requests wait until `wake`. Whether it does."""
        ...

    async def wake(self, now: bool) -> bool:
        """Take back one `sleep` that was done. Whether the server was woken: `now`, else it is by who asks next."""
        ...


@runtime_checkable
class CheckpointImporter(Protocol):
    """An engine whose service has checkpoints of others, by their paths. Most have none."""

    async def import_checkpoint(self, lora_id: str, path: str) -> Weights:
        """Create version 0 from a checkpoint, which stays as it is; the same again makes nothing.

        Raises `Conflict` where the id exists otherwise, `NotFound` where there is no such checkpoint, `InvalidInput`
        for one of another base model, or that cannot be trained.
        """
        ...
