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
    """The API settings that every engine may read."""

    @property
    def base_model_name(self) -> str:
        """The base model: a directory, or a name that the engine can resolve."""
        ...

    @property
    def store_dir(self) -> str:
        """The directory in which each engine keeps a folder for its adapters."""
        ...

    @property
    def lock_timeout_s(self) -> float:
        """How long an update waits for another update of the same adapter."""
        ...

    @property
    def check_model(self) -> bool:
        """Whether an engine that runs the model on this machine first checks itself against the model's own code."""
        ...

    @property
    def dtype(self) -> str | None:
        """The dtype of weights held on this machine: float32, bfloat16, or None for the engine's choice."""
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
        """The exact source of the base model's weights; None where the engine cannot tell."""
        ...

    @property
    def window(self) -> int:
        """The context window: the most tokens of prompt and answer together."""
        ...

    @property
    def longest_prompt(self) -> int:
        """The number of characters beyond which no text fits the window, however it is tokenised."""
        ...

    async def encode(self, prompt: Sequence[Message] | str, add_special_tokens: bool = True) -> TokenIds:
        """Tokenise a conversation with the chat template, ready to be answered, or plain text.

        Plain text may spell out special tokens. It gets the tokens that the tokenizer puts in front of any text, unless
        `add_special_tokens` is False.
        """
        ...

    async def decode(self, prompt: TokenIds) -> str:
        """The text of tokens, special ones included. Raises `InvalidInput` for an id outside the vocabulary."""
        ...

    async def tokenizer_info(self) -> dict[str, JsonValue]:
        """The tokenizer's configuration: its `tokenizer_class`, special tokens, and chat template."""
        ...

    async def resolve(self, lora_id: str | None, version: int | None = None) -> Weights:
        """The weights of one version of an adapter (None: its newest), or of the base model when `lora_id` is None."""
        ...

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer. Concurrent calls are batched, whatever weights each asks for.

        `on_piece` is called as the answer grows. The pieces, in order, form a prefix of the returned sample: an engine
        may hold back the end, and one that cannot stream never calls it. Cancelling stops sampling.
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
        """Log probabilities of each continuation after `prompt`, which an engine may process once for all of them.

        A score does not depend on what else is scored. Raises `InvalidInput` for a continuation without tokens.
        """
        ...

    async def update(self, request: UpdateRequest) -> Update:
        """Train the next version of an adapter, exactly once per `request.key`.

        The key and the receipt are stored in the new version, in the same atomic step, so that a crash between training
        and replying can neither lose nor repeat the update.
        """
        ...

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        """Create version 0, which answers exactly as the base model.

        An existing adapter is returned unchanged if it is untrained and `spec` would make the same one; otherwise an
        existing id raises `Conflict`.
        """
        ...

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Create version 0 from an adapter_config.json and the bytes of an adapter_model.safetensors.

        An existing adapter is returned unchanged if its version 0 is the same, whatever it has learnt since; otherwise
        an existing id raises `Conflict`. `InvalidInput` names what the engine does not support, or what does not fit
        its base model.
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
        """Stop all threads, and accept no more work."""
        ...


@runtime_checkable
class Sleeper(Protocol):
    """An engine whose inference server can sleep during an update, to free memory for it. Most engines have none."""

    async def sleep(self, level: int) -> bool:
        """Put the server to sleep once pending requests are done; new ones wait for `wake`. Returns whether it did."""
        ...

    async def wake(self, now: bool) -> bool:
        """Undo one successful `sleep`. Returns whether the server was woken: `now`, else the next request wakes it."""
        ...


@runtime_checkable
class CheckpointImporter(Protocol):
    """An engine whose service can import checkpoints by path. Most engines cannot."""

    async def import_checkpoint(self, lora_id: str, path: str) -> Weights:
        """Create version 0 from a checkpoint, which is left unchanged; importing the same one again makes nothing new.

        Raises `Conflict` where the id is taken by another adapter, `NotFound` where there is no such checkpoint,
        `InvalidInput` for one of another base model, or one that cannot be trained.
        """
        ...
