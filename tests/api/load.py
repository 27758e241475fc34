"""Many clients at once against one server: chats and scores on several adapters while these are being updated."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from claas.wire.adapters import LoraVersion
from claas.wire.chat import ChatResponse
from claas.wire.completions import ScoreResponse
from claas.wire.feedback import IDEMPOTENCY_HEADER, FeedbackResponse

CLIENTS = 64
ADAPTERS = ("load/concise", "load/formal", "load/cheerful", "load/lists")
FEEDBACK = ("Be more concise.", "Be more formal.", "Be more cheerful.", "Answer with a list.")
TOPICS = ("the moon", "rain", "bees", "the sea", "gravity", "bread", "trees", "music")
UPDATE_SHARE = 0.02
KEPT = 16


@dataclass(frozen=True)
class Timed:
    """One request that was answered."""

    kind: str
    lora_id: str
    seconds: float


@dataclass(frozen=True)
class Asked:
    """A request that is repeated later, when the server has nothing else to do, and what came of it: (text, nats)."""

    path: str
    body: Mapping[str, Any]
    outcome: tuple[str, float]


@dataclass
class Load:
    """What the clients saw. `digest_of` holds what receipts said of each version, by its served name."""

    http: httpx.AsyncClient
    random: Random = field(default_factory=lambda: Random(7))
    timed: list[Timed] = field(default_factory=list[Timed])
    errors: list[str] = field(default_factory=list[str])
    digest_of: dict[str, str] = field(default_factory=dict[str, str])
    newest: dict[str, int] = field(default_factory=dict[str, int])
    seen: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    rollouts: dict[str, str] = field(default_factory=dict[str, str])
    receipts: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict[str, Any])
    asked: list[Asked] = field(default_factory=list[Asked])

    async def begin(self) -> None:
        """Make the adapters, each with a version of its own kind."""
        for seed, lora_id in enumerate(ADAPTERS):
            made = await self._post("/v1/lora/init", {"lora_id": lora_id, "lora_r": 8, "lora_alpha": 16, "seed": seed})
            version = LoraVersion.model_validate(made)
            self.digest_of[version.model] = version.digest
            self.newest[lora_id] = 0
            await self.http.put(f"/v1/aliases/{_alias(lora_id)}", json={"target": _name(lora_id)})
        await asyncio.gather(*self._lessons(await self._said_by_all()))

    async def run(self, seconds: float) -> None:
        """Let all clients ask for so long; what they wait for then is still answered."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._client(number, until) for number in range(CLIENTS)))

    async def together(self, count: int) -> None:
        """One update per adapter and `count` long chats, all at the same time."""
        chats = [self._chat(ADAPTERS[i % 4], f"Tell me about {TOPICS[i % 8]}, part {i}.", 96) for i in range(count)]
        said = await self._said_by_all()
        await asyncio.gather(*self._lessons(said), *chats)

    def wrong(self) -> list[str]:
        """Replies whose digest is not the one that the receipt of their version named."""
        return [f"{model} with {digest}" for model, digest in self.seen if self.digest_of.get(model) != digest]

    async def changed(self) -> list[str]:
        """Requests that are answered otherwise, to the bit, when nothing else is under way."""
        again = [(one, await self._outcome(one.path, one.body)) for one in self.asked]
        return [f"{one.body}: {one.outcome}, now {outcome}" for one, outcome in again if outcome != one.outcome]

    async def alike(self) -> list[str]:
        """Scores that are the same under another adapter's version, so that a mix-up would not have been seen."""
        scored = [one for one in self.asked if one.path == "/v1/score" and not one.body["model"].endswith("@0")]
        found: list[str] = []
        for one in scored[:4]:
            others = [lora_id for lora_id in ADAPTERS if not one.body["model"].startswith(_name(lora_id) + "@")]
            for lora_id in others:
                body = {**one.body, "model": f"{_name(lora_id)}@{self.newest[lora_id]}"}
                if self.newest[lora_id] and await self._outcome(one.path, body) == one.outcome:
                    found.append(f"{one.body} and {body['model']}")
        return found

    async def aliases(self) -> dict[str, str]:
        """What each alias means, by adapter."""
        replies = [(lora_id, await self.http.get(f"/v1/aliases/{_alias(lora_id)}")) for lora_id in ADAPTERS]
        return {lora_id: reply.json()["model"] for lora_id, reply in replies}

    async def _client(self, number: int, until: float) -> None:
        random, lora_id = Random(number), ADAPTERS[number % len(ADAPTERS)]
        while time.monotonic() < until:
            prompt = f"Tell me about {random.choice(TOPICS)}."
            try:
                said = await self._chat(lora_id, prompt, random.choice((16, 32, 48)), random)
                if random.random() < 0.5:
                    await self._score(lora_id, prompt, random)
                if random.random() < UPDATE_SHARE:
                    await self._update(lora_id, *said)
            except (httpx.HTTPError, AssertionError) as error:
                self.errors.append(f"{type(error).__name__}: {error}")

    async def _said_by_all(self) -> list[tuple[str, str, str]]:
        return await asyncio.gather(*(self._chat(lora_id, "What is rain?", 24) for lora_id in ADAPTERS))

    def _lessons(self, said: list[tuple[str, str, str]]) -> list[Coroutine[Any, Any, None]]:
        return [self._update(lora_id, *one) for lora_id, one in zip(ADAPTERS, said, strict=True)]

    async def _chat(
        self, lora_id: str, prompt: str, max_tokens: int, random: Random | None = None
    ) -> tuple[str, str, str]:
        """Prompt, text and rollout of an answer, by the newest version or by one named."""
        model, known = self._model(lora_id, random), self.newest[lora_id]
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "seed": self.random.randrange(2**31),
            "logprobs": True,
        }
        reply = ChatResponse.model_validate(await self._timed("chat", lora_id, "/v1/chat/completions", body))
        self._check(lora_id, model, known, reply.model, reply.system_fingerprint)
        (choice,) = reply.choices
        assert choice.rollout_id is not None
        self.rollouts[choice.rollout_id] = choice.message.content
        self._keep("/v1/chat/completions", {**body, "model": reply.model}, _chat_outcome(reply))
        return prompt, choice.message.content, choice.rollout_id

    async def _score(self, lora_id: str, prompt: str, random: Random) -> None:
        model, known = self._model(lora_id, random), self.newest[lora_id]
        messages = [{"role": "user", "content": prompt}]
        body = {"model": model, "messages": messages, "completion": "It is large, and far away."}
        reply = ScoreResponse.model_validate(await self._timed("score", lora_id, "/v1/score", body))
        self._check(lora_id, model, known, reply.model, reply.system_fingerprint)
        self._keep("/v1/score", {**body, "model": reply.model}, ("", reply.logprob_sum))

    async def _update(self, lora_id: str, prompt: str, text: str, rollout_id: str) -> None:
        key = f"load/{rollout_id}"
        feedback = FEEDBACK[ADAPTERS.index(lora_id)]
        item = {"lora_id": lora_id, "prompt": prompt, "response": text, "feedback": feedback, "rollout_id": rollout_id}
        body = {"requests": [item]}
        raw = await self._timed("update", lora_id, "/v1/feedback", body, {IDEMPOTENCY_HEADER: key})
        receipt = FeedbackResponse.model_validate(raw)
        self.receipts[key] = (body, raw)
        self.digest_of[f"{_name(lora_id)}@{receipt.version}"] = receipt.digest
        self.newest[lora_id] = max(self.newest[lora_id], receipt.version)

    def _model(self, lora_id: str, random: Random | None) -> str:
        """Half of the time the newest version, by name or by alias, else one by its number, as a harness does that
        measures version k while version k + 1 is made."""
        if random is None or random.random() < 0.5:
            return self.random.choice((_name(lora_id), _alias(lora_id)))
        return f"{_name(lora_id)}@{random.randint(max(0, self.newest[lora_id] - 1), self.newest[lora_id])}"

    def _check(self, lora_id: str, asked: str, known: int, model: str, digest: str | None) -> None:
        """A version asked for by number is that one; the newest is no older than the newest known when it was asked."""
        name, _, version = model.partition("@")
        assert name == _name(lora_id), f"asked {asked}, answered by {model}"
        assert model == asked if "@" in asked else int(version) >= known, f"asked {asked}, answered by {model}"
        self.seen.append((model, digest))

    def _keep(self, path: str, body: Mapping[str, Any], outcome: tuple[str, float]) -> None:
        """Keep a fair share of all requests for later."""
        place = len(self.asked) if len(self.asked) < KEPT else self.random.randrange(len(self.seen))
        if place < KEPT:
            self.asked[place : place + 1] = [Asked(path, body, outcome)]

    async def _outcome(self, path: str, body: Mapping[str, Any]) -> tuple[str, float]:
        reply = await self._post(path, body)
        if path == "/v1/score":
            return "", ScoreResponse.model_validate(reply).logprob_sum
        answer = ChatResponse.model_validate(reply)
        self.rollouts[answer.choices[0].rollout_id or ""] = answer.choices[0].message.content
        return _chat_outcome(answer)

    async def _timed(
        self, kind: str, lora_id: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        began = time.monotonic()
        reply = await self._post(path, body, headers)
        self.timed.append(Timed(kind, lora_id, time.monotonic() - began))
        return reply

    async def _post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        reply = await self.http.post(path, json=body, headers=headers)
        assert reply.status_code == 200, f"{path}: {reply.status_code} {reply.text}"
        return reply.json()


def latencies(timed: Iterable[Timed]) -> dict[str, dict[str, list[float]]]:
    """Seconds by kind and adapter, sorted."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(timed, key=lambda one: one.seconds):
        found[one.kind][one.lora_id].append(one.seconds)
    return found


def percentile(seconds: list[float], share: float) -> float:
    """The value below which `share` of the sorted `seconds` lie."""
    return seconds[min(len(seconds) - 1, int(share * len(seconds)))]


def unfairness(timed: Iterable[Timed], kind: str) -> float:
    """The slowest adapter's median over the fastest one's; 1 when all wait alike."""
    medians = [percentile(seconds, 0.5) for seconds in latencies(timed)[kind].values()]
    return max(medians) / min(medians)


def client(url: str) -> httpx.AsyncClient:
    """With a connection for every client."""
    limits = httpx.Limits(max_connections=2 * CLIENTS, max_keepalive_connections=2 * CLIENTS)
    return httpx.AsyncClient(base_url=url, timeout=300, limits=limits)


def _chat_outcome(reply: ChatResponse) -> tuple[str, float]:
    (choice,) = reply.choices
    assert choice.logprobs is not None
    return choice.message.content, sum(token.logprob for token in choice.logprobs.content)


def _alias(lora_id: str) -> str:
    return f"gateway-{lora_id.partition('/')[2]}"


def _name(lora_id: str) -> str:
    return lora_id.replace("/", "-")
