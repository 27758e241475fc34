"""A CLaaS API with an OpenClaw gateway in front: chat goes through the gateway, everything else to the API.

The gateway passes on what the model said, and hardly anything else. So each answer is looked up at the API, which knows
what it said, by which weights and how sampled; an answer that it did not say is none."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx

from claas.core.errors import InvalidInput
from claas.core.settings import TOKEN_VARIABLE
from claas.core.text import quoted, visible_key
from claas.eval.stacks.http_client import HttpClient, Malformed, Refused, RequestLost, Retries
from claas.eval.stacks.http_stack import HttpStack, api_client
from claas.eval.stacks.stack import Answer, LostAnswer, require_weights
from claas.results.records import AdapterVersion
from claas.results.settings import EvalConfig
from claas.wire.adapters import Alias, AliasRequest
from claas.wire.chat import ChatMessage, ChatRequest, ChatResponse
from claas.wire.feedback import ResolveRequest, Rollout

_AGENT = "openclaw"
_CHAT = "/v1/chat/completions"
_EXACT = 2**53
"""OpenClaw's numbers are JavaScript's: a larger seed would reach the sampler as another one."""

_OPENCLAW_FAILURE = re.compile(
    r"No response from OpenClaw\.|Connection error\.|HTTP \d{3}: |\d{3} |Request timed out|.*API rate limit reached",
    re.DOTALL,
)
"""How OpenClaw 2026.2.25 tells, with status 200 and as the assistant, that its provider failed."""


@asynccontextmanager
async def connect_through(
    gateway_url: str,
    token: str,
    api_url: str,
    config: EvalConfig,
    *,
    gateway_transport: httpx.AsyncBaseTransport | None = None,
    api_transport: httpx.AsyncBaseTransport | None = None,
    retries: Retries | None = None,
) -> AsyncGenerator["GatewayStack", None]:
    """The stack, once both the API and the gateway have answered; `token` is the gateway's bearer token."""
    async with api_client(api_url, config, transport=api_transport, retries=retries) as api:
        gateway = HttpClient(
            gateway_url,
            max_concurrency=config.max_concurrency,
            seed=config.seed,
            timeout_s=config.request_timeout_s,
            api_key=token,
            key_variable=TOKEN_VARIABLE,
            started_by="python -m claas.openclaw",
            transport=gateway_transport,
            retries=retries or Retries(for_s=config.retry_for_s),
        )
        try:
            await _require_gateway(gateway)
            yield GatewayStack(api, gateway, GatewayAlias(api, config.openclaw_alias))
        finally:
            await gateway.close()


class GatewayStack(HttpStack):
    """Implements `claas.eval.stacks.stack.Stack`. Answers of two versions are never under way at once."""

    def __init__(self, api: HttpClient, gateway: HttpClient, alias: "GatewayAlias") -> None:
        super().__init__(api)
        self._gateway = gateway
        self._alias = alias

    async def answer(
        self,
        adapter: AdapterVersion,
        prompt: str,
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        top_logprobs: int = 0,
        earlier: Sequence[Mapping[str, str]] = (),
        prediction: str = "",
        urgent: bool = False,
    ) -> Answer:
        """Sample one answer to `prompt` from exactly this version, in a session of its own.

        The gateway may sample otherwise than asked: `sampled_with` says how. It has no likeliest tokens to tell, passes
        no prediction on, and keeps its sessions itself: `InvalidInput` where there are earlier turns.
        """
        if earlier:
            raise InvalidInput("a gateway keeps its sessions itself, and cannot be told the turns of another one")
        request = ChatRequest(
            model=_AGENT,
            messages=[ChatMessage(role="user", content=prompt)],
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed % _EXACT,
        )
        try:
            async with self._alias.pointing_at(adapter):
                shown = await self._shown(request)
            rollout = await self._rollout(adapter, prompt, shown)
        except RequestLost as error:
            raise LostAnswer(str(error)) from error
        return _answer(shown, rollout)

    async def _shown(self, request: ChatRequest) -> str:
        """What the gateway lets a user see; a request that it refuses is one answer lost."""
        try:
            reply = await self._gateway.post(_CHAT, request, ChatResponse)
        except Refused as error:
            if error.status == 401:
                raise
            raise LostAnswer(str(error)) from error
        if not reply.choices:
            raise LostAnswer("the reply has no choices")
        return reply.choices[0].message.content

    async def _rollout(self, adapter: AdapterVersion, prompt: str, shown: str) -> Rollout:
        """The recorded answer of this version to this prompt that reads like what the gateway showed."""
        asked = ResolveRequest(text=shown, prompt=prompt, model=adapter.model)
        try:
            rollout = await self._client.post("/v1/rollouts/resolve", asked, Rollout)
        except Refused as error:
            if error.status != 404:
                raise
            raise LostAnswer(self._why_unknown(shown, str(error))) from error
        require_weights(adapter, rollout.model, rollout.digest)
        if visible_key(rollout.content) != visible_key(shown):
            raise LostAnswer(f"the gateway showed {quoted(shown)}, and the API found it said {quoted(rollout.text)}")
        return rollout

    def _why_unknown(self, shown: str, refusal: str) -> str:
        if _OPENCLAW_FAILURE.match(shown):
            return f"the gateway failed, and said so in place of an answer: {quoted(shown)}; its log tells more"
        return (
            f"the gateway showed {quoted(shown)}, which {self._client.base_url} did not say with the weights asked for "
            f"({refusal}); does the gateway ask that API for the model {self._alias.name!r}, and nobody else set that "
            "alias?"
        )


async def _require_gateway(gateway: HttpClient) -> None:
    """A gateway refuses a request in which no user says anything; anything else does something else with it."""
    empty = ChatRequest(model=_AGENT, messages=[ChatMessage(role="system", content="")])
    try:
        await gateway.post(_CHAT, empty, ChatResponse)
        reason = "it answers a request without a user's message"
    except Refused as error:
        if error.status == 401:
            raise
        if error.status == 400:
            return
        reason = str(error)
    except Malformed as error:
        reason = str(error)
    raise InvalidInput(
        f"what answers at {gateway.base_url} is not an OpenClaw gateway with its chat endpoint switched on ({reason}); "
        "give openclaw_url the address at which python -m claas.openclaw listens"
    )


def _answer(shown: str, rollout: Rollout) -> Answer:
    if not rollout.logprobs or len(rollout.logprobs) != len(rollout.token_ids):
        raise LostAnswer(f"rollout {rollout.id} lacks log probabilities of its tokens")
    return Answer(
        text=shown,
        finish_reason=rollout.finish_reason,
        rollout_id=rollout.id,
        logprobs=tuple(rollout.logprobs),
        mean_entropy=rollout.mean_entropy,
        top_logprobs=(),
        prompt_tokens=len(rollout.prompt_ids),
        completion_tokens=len(rollout.token_ids),
        sampled_with=rollout.sampling,
        truncated_prompt_tokens=rollout.truncated_prompt_tokens,
    )


class GatewayAlias:
    """Points the alias `name` of an API at whatever version is asked next.

    A gateway with a fixed model id cannot say which version it wants, so answers of one version may be under way
    together, and those of another wait until all of them have come: in order of arrival, so that none waits for ever.
    """

    def __init__(self, client: HttpClient, name: str) -> None:
        self.name = name
        self._client = client
        self._queue = asyncio.Lock()
        self._no_answer_under_way = asyncio.Event()
        self._no_answer_under_way.set()
        self._under_way = 0
        self._model: str | None = None

    @asynccontextmanager
    async def pointing_at(self, adapter: AdapterVersion) -> AsyncGenerator[None, None]:
        """Inside, the alias means exactly this version. Set anew for the first answer, in case others set it."""
        async with self._queue:
            if self._model != adapter.model:
                await self._no_answer_under_way.wait()
            if self._under_way == 0:
                await self._point_at(adapter)
            self._under_way += 1
            self._no_answer_under_way.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._no_answer_under_way.set()

    async def _point_at(self, adapter: AdapterVersion) -> None:
        self._model = None
        alias = await self._client.put(f"/v1/aliases/{self.name}", AliasRequest(target=adapter.model), Alias)
        require_weights(adapter, alias.model, alias.digest)
        self._model = adapter.model
