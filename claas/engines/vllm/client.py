"""Every request to one vLLM server: what it serves, adapters by name, answers, and log probabilities."""

import asyncio
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

from claas.core.errors import BadRequest, ClaasError, Forbidden, InvalidInput, NotFound, StackError
from claas.core.http_pools import HttpPools
from claas.core.text import one_line
from claas.engines.types import SamplingParams
from claas.engines.versioned import SampledIds, ScoredIds
from claas.engines.vllm.settings import KEY_VARIABLE

_CONNECT_S = 10.0
_MOST_IN_FLIGHT = 256
_SEEDS = 2**63
_SHOWN_CHARACTERS = 300
_TOKEN = "token_id:"
_NO_SUCH_ROUTE = ": Not Found"
_CAUSE = re.compile(r"error '(.+)', please check")


@dataclass(frozen=True)
class VllmModel:
    """A model that the server lists: `root` is where it was loaded from, `parent` the base model of an adapter."""

    name: str
    root: str
    parent: str | None
    max_model_len: int | None


class VllmClient:
    """Requests to `url`, each bounded by `timeout_s`. `trouble` says why a server of our own no longer runs, if so."""

    def __init__(
        self, url: str, key: str | None, timeout_s: float, trouble: Callable[[], str | None] = lambda: None
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._trouble = trouble
        bounds = httpx.Timeout(None, connect=_CONNECT_S)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pools = HttpPools(self.url, _MOST_IN_FLIGHT, bounds, headers, proxies=False)

    async def models(self) -> list[VllmModel]:
        """What the server lists: base models first, then the adapters that are loaded."""
        listed = await self._asked("listing its models", "GET", "/v1/models")
        with _understood("listing its models"):
            return [
                VllmModel(model["id"], str(model.get("root")), model.get("parent"), model.get("max_model_len"))
                for model in _part(listed, "data")
            ]

    async def require_healthy(self) -> None:
        """Raise `StackError` where the server cannot answer."""
        await self._asked("a look at its health", "GET", "/health")

    async def sample(
        self, model: str, prompt_ids: Sequence[int], params: SamplingParams, stop_ids: Sequence[int]
    ) -> SampledIds:
        """One answer to tokens, as tokens. Seeds are folded to the 63 bits that are taken."""
        asked = {
            "model": model,
            "prompt": list(prompt_ids),
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": None if params.seed is None else params.seed % _SEEDS,
            "stop": list(params.stop),
            "stop_token_ids": list(stop_ids),
            "ignore_eos": True,  # what ends an answer is said in `stop_token_ids`, and nowhere else
            "logprobs": params.top_logprobs,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        choice = await self._choice("sampling", asked)
        with _understood("sampling"):
            ids, scored = _part(choice, "token_ids"), _part(choice, "logprobs")
            if choice.get("finish_reason") not in ("stop", "length"):
                raise StackError(f"vLLM ended an answer by {choice.get('finish_reason')!r}; run the same command again")
            if not ids or len(scored["token_logprobs"]) != len(ids):
                raise StackError("vLLM failed at sampling: the answer came without its tokens or log probabilities")
            rows: list[dict[str, float]] = scored["top_logprobs"] if params.top_logprobs else []
            by_id = ({int(name.removeprefix(_TOKEN)): logprob for name, logprob in row.items()} for row in rows)
            tops = [_likeliest(row, params.top_logprobs) for row in by_id]
            scores = _scored([float(logprob) for logprob in scored["token_logprobs"]], tops)
            return SampledIds(ids, scores, None, choice["finish_reason"])

    async def logprobs(self, model: str, ids: Sequence[int], top_logprobs: int) -> ScoredIds:
        """Log probabilities of all of `ids` but the first, each after those before it, and the likeliest in its place.

        One token is sampled after them, for which the server must have room.
        """
        asked = {
            "model": model,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": top_logprobs,
        }
        choice = await self._choice("scoring", asked)
        with _understood("scoring"):
            rows = _part(choice, "prompt_logprobs")[1:]
            if len(rows) != len(ids) - 1:
                raise StackError(f"vLLM failed at scoring: {len(rows)} log probabilities came for {len(ids)} tokens")
            told = [{int(token): float(entry["logprob"]) for token, entry in row.items()} for row in rows]
            logprobs = [row[token] for row, token in zip(told, ids[1:], strict=True)]
            return _scored(logprobs, [_likeliest(row, top_logprobs) for row in told] if top_logprobs else [])

    async def load(self, name: str, directory: Path) -> None:
        """Load the adapter in `directory`, which the server has to see, under a name of its own.

        Raises `InvalidInput` where the server cannot have it, or loads no adapters while it runs.
        """
        asked = {"lora_name": name, "lora_path": str(directory)}
        try:
            await self._asked("loading an adapter", "POST", "/v1/load_lora_adapter", asked)
        except ClaasError as error:
            raise self._not_loaded(directory, error) from error

    async def unload(self, name: str) -> None:
        """Unload an adapter. Raises `NotFound` if there is none with this name."""
        await self._asked("unloading an adapter", "POST", "/v1/unload_lora_adapter", {"lora_name": name})

    async def sleep_mode(self) -> bool | None:
        """Whether the server can give up memory while it sleeps; None where it can neither sleep nor pause."""
        try:
            told = await self._asked("a look at its configuration", "GET", "/server_info?config_format=json")
        except NotFound:
            return None  # it was started without VLLM_SERVER_DEV_MODE=1
        return bool(_part(_part(told, "vllm_config"), "model_config").get("enable_sleep_mode"))

    async def pause(self, *, sleep: bool) -> None:
        """Finish pending requests, then answer nothing until `resume`; with `sleep`, give up memory."""
        path = "/sleep?level=1&mode=wait" if sleep else "/pause?mode=wait&clear_cache=false"
        await self._asked("falling asleep", "POST", path)

    async def resume(self, *, sleep: bool) -> None:
        """Answer again, after a `pause` of the same kind."""
        await self._asked("waking up", "POST", "/wake_up" if sleep else "/resume")

    async def close(self) -> None:
        """Close the connections."""
        await self._pools.close()

    async def _choice(self, what: str, asked: Mapping[str, object]) -> dict[str, Any]:
        reply = await self._asked(what, "POST", "/v1/completions", asked)
        with _understood(what):
            (choice,) = _part(reply, "choices")
            return choice

    async def _asked(self, what: str, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """The JSON, or the text, of a reply; what went wrong as one of our errors."""
        try:
            async with self._pools.free() as pool, asyncio.timeout(self._timeout_s):
                reply = await pool.request(method, path, json=body)
        except TimeoutError:
            raise StackError(
                f"vLLM did not finish {what} within {self._timeout_s:g} s; run the same command again"
            ) from None
        except httpx.HTTPError as error:
            raise self._lost(what, error) from error
        if reply.status_code >= 400:
            raise _refusal(what, reply)
        try:
            return reply.json() if reply.headers.get("content-type", "").startswith("application/json") else reply.text
        except ValueError as error:
            raise StackError(f"{self.url} does not speak as vLLM does: {error}") from error

    def _not_loaded(self, directory: Path, error: ClaasError) -> ClaasError:
        """What it means that an adapter was not loaded: mostly, how the server was started."""
        said = str(error)
        if isinstance(error, NotFound) and said.endswith(_NO_SUCH_ROUTE):
            return InvalidInput(
                f"the vLLM at {self.url} loads no adapters while it runs: start it with --enable-lora and, in its "
                "environment, VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            )
        if isinstance(error, NotFound):
            return InvalidInput(
                f"the vLLM at {self.url} does not see {directory}: it must run on this machine, or share this directory"
            )
        if (cause := _CAUSE.search(said)) is None:
            return error
        remedy = "; start it with a larger --max-lora-rank (vllm_max_lora_rank where it is started here)"
        return InvalidInput(
            f"the vLLM at {self.url} cannot load this adapter: {cause[1]}{remedy if 'max_lora_rank' in said else ''}"
        )

    def _lost(self, what: str, error: httpx.HTTPError) -> StackError:
        if trouble := self._trouble():
            return StackError(trouble)
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return StackError(
            f"vLLM cannot be reached at {self.url} for {what} ({said}); start it again, then run the same command again"
        )


@contextmanager
def _understood(what: str) -> Generator[None]:
    """Parse a reply inside the block. Raises `StackError` if it is not in vLLM's format."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {one_line(error)}"
        raise StackError(f"vLLM failed at {what}: its reply cannot be read ({said}); see docs/vllm.md") from error


def _part(reply: Any, name: str) -> Any:
    """A part of a reply. Raises `StackError` where it is not there."""
    part = cast("dict[str, Any]", reply).get(name) if isinstance(reply, dict) else None
    if part is None:
        raise StackError(f"this is no reply of a vLLM that is new enough: it has no {name}; see docs/vllm.md")
    return part


def _refusal(what: str, reply: httpx.Response) -> ClaasError:
    status, message = reply.status_code, _message(reply)
    if status in (401, 403):
        return Forbidden(f"vLLM does not accept the key for {what} (HTTP {status}); set {KEY_VARIABLE} to its key")
    if status == 404:
        return NotFound(f"vLLM has not what {what} needs (HTTP 404): {message}")
    if status >= 500 or status in (408, 429):
        return StackError(f"vLLM failed at {what} (HTTP {status}): {message}; run the same command again")
    return BadRequest(f"vLLM refused {what} (HTTP {status}): {message}")


def _message(reply: httpx.Response) -> str:
    """The server's error message, in one line."""
    try:
        body: Any = reply.json()
        message = body["error"]["message"] if "error" in body else body["detail"]
    except (ValueError, KeyError, TypeError):
        message = reply.text
    return " ".join(str(message).split())[:_SHOWN_CHARACTERS]


def _likeliest(row: Mapping[int, float], top: int) -> list[tuple[int, float]]:
    """The `top` likeliest tokens of a row, which also has the one that stands there."""
    return sorted(row.items(), key=lambda pair: -pair[1])[:top]


def _scored(logprobs: Sequence[float], tops: Sequence[Sequence[tuple[int, float]]]) -> ScoredIds:
    ids = [[token for token, _ in top] for top in tops]
    return ScoredIds(list(logprobs), ids, [[logprob for _, logprob in top] for top in tops])
