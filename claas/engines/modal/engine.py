"""The Modal engine: implements the engine protocol by calling the local engine in a deployed Modal app."""

import asyncio
import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import modal
from modal import exception
from pydantic import JsonValue

from claas.core.checks import in_range
from claas.core.errors import ClaasError, Forbidden, InvalidInput, StackError
from claas.core.settings import MODAL_VARIABLES
from claas.core.text import one_line
from claas.engines.modal.app import AppDescription
from claas.engines.modal.rpc import Deployment, packed, result, source
from claas.engines.store import ADAPTER_WEIGHTS, AdapterLocks, write_directory
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

T = TypeVar("T")

REMOTE = "Remote"
"""The name of the app's class that hosts the engine."""

_LOOK_UP_S = 30.0
_SDK_ERRORS = (modal.Error, aiohttp.ClientError, OSError, RuntimeError, ValueError)


class ModalService:
    """One Modal app. `base_model` is the model that it is expected to serve."""

    def __init__(self, app: str, base_model: str, timeout_s: float) -> None:
        self.app = app
        self._base_model = base_model
        self._timeout_s = timeout_s
        self._remote: Any = None

    async def look_up(self) -> Any:
        """Find the app as it is deployed now, which starts no container. Raises `StackError` where it is not."""
        remote = modal.Cls.from_name(self.app, REMOTE)
        bound_s = min(_LOOK_UP_S, self._timeout_s)
        late = f"Modal did not answer within {bound_s:g} s; run the same command again when it can be reached"
        await self._within("looking up the app", remote.hydrate.aio(), bound_s, late)
        self._remote = remote()
        return self._remote

    async def call(self, method: str, *arguments: object) -> Any:
        """Call a method of the app's engine, which starts a stopped app. Raises what the engine raises."""
        remote = self._remote or await self.look_up()
        asked = remote.ask.remote.aio(source(), method, packed(arguments))
        late = (
            f"Modal did not finish {method} within {self._timeout_s:g} s; `modal app logs {self.app}` may say why (an "
            "app that was stopped loads its model first); then run the same command again"
        )
        return result(await self._within(method, asked, self._timeout_s, late))

    async def _within(self, what: str, work: Awaitable[T], timeout_s: float, late: str) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                return await work
        except TimeoutError:
            raise StackError(late) from None
        except Exception as error:  # the SDK is another's: what it may raise is nowhere said
            self._remote = None  # a deployment made meanwhile is found by the next call
            raise failure(what, error, self.app, self._base_model) from error


class ModalEngine:
    """Implements `claas.engines.base.Engine` by an app on Modal, whose volume holds the adapters.

    It cannot stream: answers arrive whole. An answer is sampled to its end even if its caller is gone.
    """

    def __init__(self, service: ModalService, served: AppDescription, exports: Path, *, lock_timeout_s: float) -> None:
        self._service = service
        self._served = served
        self._exports = exports
        self._locks = AdapterLocks(lock_timeout_s)

    @classmethod
    def open(
        cls, app: str, base_model: str, store_root: Path, *, timeout_s: float = 900.0, lock_timeout_s: float = 60.0
    ) -> "ModalEngine":
        """Ask `app` what it serves, which starts it. Not to be called from an event loop.

        `timeout_s` bounds each call, the start of a stopped app included. Raises `InvalidInput` where the app serves
        another base model. Exports are written under `store_root`.
        """
        in_range("timeout_s", timeout_s, 0.0, above=True)
        service = ModalService(app, base_model, timeout_s)
        served: AppDescription = asyncio.run(service.call("describe"))
        if served.base_model != base_model:
            raise InvalidInput(
                f"app {app!r} on Modal serves {served.base_model!r}: add base_model={served.base_model}, or deploy "
                f"another app with: {Deployment(f'{app}-2', base_model).command}"
            )
        return cls(service, served, store_root / "exports", lock_timeout_s=lock_timeout_s)

    @property
    def base_model(self) -> str:
        """The served name of the base model."""
        return self._served.base_model

    @property
    def base_source(self) -> str | None:
        """None: an app does not say where its weights come from."""
        return None

    @property
    def window(self) -> int:
        """The context window: the most tokens of prompt and answer together."""
        return self._served.window

    @property
    def longest_prompt(self) -> int:
        """The number of characters beyond which no text fits the window, however it is tokenised."""
        return self._served.longest_prompt

    async def encode(self, prompt: Sequence[Message] | str, add_special_tokens: bool = True) -> TokenIds:
        """Tokenise a conversation with the chat template, or plain text as it is."""
        return await self._service.call("encode", prompt, add_special_tokens)

    async def decode(self, prompt: TokenIds) -> str:
        """The text of tokens, special ones included."""
        return await self._service.call("decode", prompt)

    async def tokenizer_info(self) -> dict[str, JsonValue]:
        """The tokenizer's configuration."""
        return await self._service.call("tokenizer_info")

    async def resolve(self, lora_id: str | None, version: int | None = None) -> Weights:
        """The weights of one version of an adapter (None: its newest), or of the base model when `lora_id` is None."""
        return await self._service.call("resolve", lora_id, version)

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer, batched with concurrent ones. It arrives whole."""
        return await self._service.call("sample", weights, prompt, params)

    async def score(self, weights: Weights, messages: Sequence[Message], completion: str) -> Score:
        """Log probabilities of `completion` and the end-of-turn token as the answer to `messages`."""
        return await self._service.call("score", weights, messages, completion)

    async def read(self, weights: Weights, prompt: TokenIds, top_logprobs: int = 0) -> PromptLogprobs:
        """Log probabilities of every token of `prompt`, and of its `top_logprobs` likeliest alternatives."""
        return await self._service.call("read", weights, prompt, top_logprobs)

    async def score_continuations(
        self, weights: Weights, prompt: TokenIds, continuations: Sequence[Sequence[int]]
    ) -> list[ContinuationScore]:
        """Log probabilities of each continuation after `prompt`, which is read once for all of them."""
        return await self._service.call("score_continuations", weights, prompt, continuations)

    async def update(self, request: UpdateRequest) -> Update:
        """Train the next version of an adapter, exactly once per `request.key`.

        The update continues in the app even if the caller is gone or times out; the same key then returns its receipt.
        """
        async with self._locks.holding(request.lora_id):
            return await self._service.call("update", request)

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        """Create version 0, which answers exactly as the base model, unless it exists already."""
        async with self._locks.holding(spec.lora_id):
            return await self._service.call("init_adapter", spec)

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Create version 0 from the weights of an adapter in PEFT's format, unless it exists already."""
        async with self._locks.holding(lora_id):
            return await self._service.call("import_adapter", lora_id, config, weights)

    async def list_adapters(self, prefix: str = "") -> list[Weights]:
        """The newest version of every adapter whose id starts with `prefix`, sorted by id; also other APIs'."""
        return await self._service.call("list_adapters", prefix)

    async def delete_adapter(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions; False when there was none."""
        async with self._locks.holding(lora_id):
            return await self._service.call("delete_adapter", lora_id)

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        """A directory with the version as PEFT loads it, downloaded once and known to be what its digest says."""
        weights = await self.resolve(lora_id, version)
        directory = self._exports / weights.digest
        async with self._locks.holding(lora_id):
            if not directory.is_dir():
                files: dict[str, bytes] = await self._service.call("export", lora_id, weights.version)
                if hashlib.sha256(files[ADAPTER_WEIGHTS]).hexdigest() != weights.digest:
                    raise StackError(f"{weights.name} came from Modal damaged; export it again")
                await asyncio.to_thread(write_directory, directory, files)
        return directory

    async def health(self) -> Health:
        """Whether the app is deployed and can be reached. This starts no container, and says nothing about one."""
        detail: dict[str, str | int | float | bool] = {
            "engine": "modal",
            "app": self._service.app,
            "device": self._served.device,
            "window": self.window,
        }
        try:
            await self._service.look_up()
        except ClaasError as error:
            return Health(False, self.base_model, {**detail, "reason": str(error)})
        return Health(True, self.base_model, detail)

    async def close(self) -> None:
        """Do nothing: the app stops by itself when it is idle."""


def failure(what: str, error: Exception, app: str, base_model: str) -> ClaasError:
    """Translate an `error` of Modal's package, raised when `app` was called for `what`, into one of ours."""
    message = one_line(error)
    if not message or not isinstance(error, _SDK_ERRORS):
        message = f"{type(error).__name__}: {message}".rstrip(": ")  # a bug there or here, whose message says little
    if isinstance(error, exception.AuthError):
        return Forbidden(
            f"Modal does not accept the credentials for {what}: {message}; run `modal setup`, or check "
            f"{' and '.join(MODAL_VARIABLES)}"
        )
    if isinstance(error, exception.PermissionDeniedError):
        return Forbidden(f"Modal does not allow {what} with these credentials: {message}")
    if isinstance(error, exception.NotFoundError):
        return StackError(
            f"app {app!r} is not deployed on Modal ({message}); deploy it with: {Deployment(app, base_model).command}; "
            "then run the same command again"
        )
    if isinstance(error, exception.ResourceExhaustedError):
        return StackError(f"Modal is limiting {what}: {message}; wait, then run the same command again")
    if isinstance(error, exception.FunctionTimeoutError):
        return StackError(f"Modal stopped {what}, which took longer than the app allows; run the same command again")
    if isinstance(error, exception.ConnectionError | exception.ServiceError):
        return StackError(f"Modal cannot be reached for {what}: {message}; run the same command again when it can")
    return StackError(
        f"Modal failed at {what}: {message}; `modal app logs {app}` may say why; then run the same command again"
    )
