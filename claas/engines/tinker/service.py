"""Every call of the `tinker` SDK: one session at one service, each call bounded in time by us."""

from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import httpx
import tinker
from tinker import types
from tinker.lib.base_url import resolve_base_url  # pyright: ignore[reportMissingTypeStubs]  # typed in place

from claas.core.errors import StackError
from claas.engines.tinker.guard import Guard
from claas.engines.tinker.names import ServedModel, require_served
from claas.training.token_advantages import Datum

T = TypeVar("T")

_SAMPLERS = 256
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_SEEDS = 2**31


@dataclass(frozen=True)
class Sampled:
    """One sampled answer as ids. T tokens, the one that ended it included."""

    token_ids: list[int]  # (T,)
    logprobs: list[float]  # (T,)
    top: list[list[tuple[int, float]]]  # (T, up to as many as asked for), empty where the service tells none
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True)
class Stepped:
    """One optimiser step: the sum of the losses of all tokens, and the norm of their gradient, None if not told."""

    loss_sum: float | None
    grad_norm: float | None


class Run:
    """One training run at the service: an adapter's weights and their optimiser."""

    def __init__(self, service: "Service", client: tinker.TrainingClient) -> None:
        self._service = service
        self._client = client

    async def train(
        self, data: Sequence[Datum], steps: int, learning_rate: float, max_grad_norm: float
    ) -> list[Stepped]:
        """AdamW steps on one batch, all of them submitted before any is waited for; `max_grad_norm` 0 clips nothing."""
        batch = [_datum(one) for one in data]
        adam = types.AdamParams(
            learning_rate=learning_rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            eps=_EPSILON,
            weight_decay=0.0,
            grad_clip_norm=max_grad_norm,
        )

        async def submitted() -> list[Stepped]:
            pairs = [
                (self._client.forward_backward(batch, "importance_sampling"), self._client.optim_step(adam))
                for _ in range(steps)
            ]
            return [_stepped(await forward, await step) for forward, step in pairs]

        return await self._service.within("training", submitted())

    def paths(self, name: str) -> tuple[str, str]:
        """Where `save` will put the checkpoints."""
        return (f"tinker://{self._client.model_id}/weights/{name}", self.sampler_path(name))

    def sampler_path(self, name: str) -> str:
        """Where weights to sample from will be."""
        return f"tinker://{self._client.model_id}/sampler_weights/{name}"

    async def save(self, name: str) -> tuple[str, str]:
        """Checkpoints to continue from and to sample from: their paths."""

        async def submitted() -> tuple[str, str]:
            state, sampler = self._client.save_state(name), self._client.save_weights_for_sampler(name)
            return (await state).path, (await sampler).path

        return await self._service.within("saving a checkpoint", submitted())

    async def export(self, name: str) -> str:
        """A checkpoint in the format of PEFT: its path."""

        async def submitted() -> str:
            return (await self._client.save_weights_external(name)).path

        return await self._service.within("exporting an adapter", submitted())


class Service:
    """One session. Sampling clients are kept by checkpoint, so that no two versions ever share one."""

    def __init__(
        self,
        rest: tinker.RestClient,
        session: tinker.ServiceClient,
        base: tuple[str, tinker.SamplingClient],
        guard: Guard,
    ) -> None:
        self._rest = rest
        self._session = session
        self._base = base[1]
        self._base_model = base[0]
        self._guard = guard
        self._samplers: OrderedDict[str, tinker.SamplingClient] = OrderedDict()

    @classmethod
    def open(cls, base_url: str | None, key: str, base_model: str, timeout_s: float) -> tuple["Service", ServedModel]:
        """Check `base_model` against what the service lists, then begin a session. Blocks up to `timeout_s`."""
        guard = Guard(resolve_base_url(base_url), key, timeout_s)
        guard.require_reachable()

        def begin() -> tuple[Service, ServedModel]:
            rest = tinker.RestClient(base_url=guard.address, api_key=key)
            listed = require_served(base_model, _models(rest.get_server_capabilities().result()))
            session = tinker.ServiceClient(base_url=guard.address, api_key=key)
            base = session.create_sampling_client(base_model=base_model).result()
            return cls(rest, session, (base_model, base), guard), listed

        return guard.in_thread("opening a session", begin)

    @property
    def address(self) -> str:
        """Where the service is."""
        return self._guard.address

    async def within(self, what: str, work: Awaitable[T]) -> T:
        """`work`, within the time limit, its failures as ours."""
        return await self._guard.within(what, work)

    async def models(self) -> list[ServedModel]:
        """What the service can train and sample now."""
        return _models(await self.within("listing its models", self._rest.get_server_capabilities()))

    async def new_run(self, rank: int, seed: int) -> Run:
        """A new adapter on every linear layer of the base model but its output head."""
        made = self._session.create_lora_training_client(
            self._base_model, rank=rank, seed=seed % _SEEDS, train_unembed=False
        )
        return Run(self, await self.within("making an adapter", made))

    async def restored_run(self, state_path: str) -> Run:
        """A run that continues from a checkpoint, optimiser included."""
        made = self._session.create_training_client_from_state_with_optimizer(state_path)
        return Run(self, await self.within("restoring a checkpoint", made))

    async def sample(
        self,
        sampler_path: str | None,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
    ) -> Sampled:
        """One answer of a checkpoint, or of the base model. Seeds are folded to the 31 bits that services take."""
        what = "sampling"
        client = await self._sampler(sampler_path)
        params = types.SamplingParams(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed % _SEEDS, stop=list(stop_ids)
        )
        asked = client.sample(_input(prompt_ids), 1, params, topk_sample_logprobs=top_logprobs)
        sequence = (await self.within(what, asked)).sequences[0]
        if sequence.logprobs is None or len(sequence.logprobs) != len(sequence.tokens) or not sequence.tokens:
            raise StackError(f"Tinker failed at {what}: the answer came without its tokens or log probabilities")
        top = [row or [] for row in sequence.topk_logprobs or []] if top_logprobs else []
        return Sampled(sequence.tokens, sequence.logprobs, top, sequence.stop_reason)

    async def logprobs(self, sampler_path: str | None, ids: Sequence[int]) -> list[float]:
        """Log probabilities of all of `ids` but the first, each after those before it."""
        what = "scoring"
        client = await self._sampler(sampler_path)
        told = await self.within(what, client.compute_logprobs(_input(ids)))
        scored = [logprob for logprob in told[1:] if logprob is not None]
        if len(told) != len(ids) or len(scored) != len(ids) - 1:
            raise StackError(f"Tinker failed at {what}: {len(scored)} log probabilities came for {len(ids)} tokens")
        return scored

    async def top_logprobs(
        self, sampler_path: str | None, ids: Sequence[int], top: int
    ) -> list[list[tuple[int, float]]]:
        """The `top` likeliest tokens at each of `ids` but the first; none where the service does not tell."""
        client = await self._sampler(sampler_path)
        params = types.SamplingParams(max_tokens=1, temperature=0.0)
        asked = client.sample(_input(ids), 1, params, include_prompt_logprobs=True, topk_prompt_logprobs=top)
        told = (await self.within("scoring", asked)).topk_prompt_logprobs
        return [row or [] for row in told[1:]] if told else []

    async def files(self, external_path: str) -> dict[str, bytes]:
        """The files of an exported checkpoint, by name."""
        what = "downloading an adapter"
        links = await self.within(what, self._rest.get_external_weights_urls(external_path))

        async def downloaded() -> dict[str, bytes]:
            async with httpx.AsyncClient(timeout=self._guard.timeout_s, follow_redirects=True) as client:
                replies = {name: await client.get(url) for name, url in links.urls.items()}
            return {name: reply.raise_for_status().content for name, reply in replies.items()}

        return await self.within(what, downloaded())

    async def delete(self, path: str) -> None:
        """Delete a checkpoint. Raises `NotFound` where there is none."""
        await self.within("deleting a checkpoint", self._rest.delete_checkpoint_from_tinker_path(path))

    async def close(self) -> None:
        """End the session."""
        await self.within("ending the session", self._session.close("success"))

    async def _sampler(self, path: str | None) -> tinker.SamplingClient:
        if path is None:
            return self._base
        if path not in self._samplers:
            made = self._session.create_sampling_client(model_path=path)
            self._samplers[path] = await self.within("loading a version", made)
            while len(self._samplers) > _SAMPLERS:
                self._samplers.popitem(last=False)
        return self._samplers[path]


def _models(told: types.GetServerCapabilitiesResponse) -> list[ServedModel]:
    return [
        ServedModel(
            model.model_name, model.max_context_length, model.trainable is not False, model.sampleable is not False
        )
        for model in told.supported_models
        if model.model_name
    ]


def _input(ids: Sequence[int]) -> types.ModelInput:
    return types.ModelInput.from_ints(list(ids))


def _datum(one: Datum) -> types.Datum:
    inputs: Any = {
        "target_tokens": list(one.target_ids),
        "logprobs": list(one.logprobs),
        "advantages": list(one.advantages),
    }
    return types.Datum(model_input=_input(one.input_ids), loss_fn_inputs=inputs)


def _stepped(forward: types.ForwardBackwardOutput, step: types.OptimStepResponse) -> Stepped:
    told = step.metrics or {}
    norms = [value for name, value in told.items() if name.rpartition("/")[2].partition(":")[0] == "grad_norm"]
    return Stepped(forward.metrics.get("loss:sum"), norms[0] if norms else None)
