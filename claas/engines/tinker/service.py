"""Every call of the `tinker` SDK: one session at one service, each call bounded in time by us."""

from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import httpx
import tinker
from tinker import types
from tinker.lib.base_url import resolve_base_url  # pyright: ignore[reportMissingTypeStubs]  # typed in place

from claas.core.concurrency import TEXT_THREADS
from claas.core.errors import StackError
from claas.engines.tinker.calls import BoundedCalls
from claas.engines.tinker.names import ServedModel, require_served
from claas.engines.types import SamplingParams
from claas.engines.versioned import SampledIds, ScoredIds
from claas.training.token_advantages import Datum

T = TypeVar("T")

_SAMPLERS = 256
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_SEEDS = 2**31


@dataclass(frozen=True)
class OptimizerStep:
    """One optimiser step: the sum of the losses of all tokens, and the norm of their gradient, None where unknown."""

    loss_sum: float | None
    grad_norm: float | None


class TrainingRun:
    """One training run at the service: an adapter's weights and their optimiser."""

    def __init__(self, service: "TinkerService", client: tinker.TrainingClient) -> None:
        self._service = service
        self._client = client

    async def train(
        self, data: Sequence[Datum], loss: "LossName", steps: int, learning_rate: float, max_grad_norm: float
    ) -> list[OptimizerStep]:
        """AdamW steps on one batch, all of them submitted before any is waited for; `max_grad_norm` 0 clips nothing."""
        batch = await TEXT_THREADS.run(lambda: [_datum(one, loss) for one in data])
        adam = types.AdamParams(
            learning_rate=learning_rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            eps=_EPSILON,
            weight_decay=0.0,
            grad_clip_norm=max_grad_norm,
        )

        async def submitted() -> list[OptimizerStep]:
            pairs = [(self._client.forward_backward(batch, loss), self._client.optim_step(adam)) for _ in range(steps)]
            return [_optimizer_step(await forward, await step) for forward, step in pairs]

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


class TinkerService:
    """One session. There is a sampling client for each checkpoint, so that no two versions ever share one."""

    def __init__(
        self,
        rest: tinker.RestClient,
        session: tinker.ServiceClient,
        base: tuple[str, tinker.SamplingClient],
        calls: BoundedCalls,
    ) -> None:
        self._rest = rest
        self._session = session
        self._base = base[1]
        self._base_model = base[0]
        self._calls = calls
        self._samplers: OrderedDict[str, tinker.SamplingClient] = OrderedDict()

    @classmethod
    def open(
        cls, base_url: str | None, key: str, base_model: str, timeout_s: float
    ) -> tuple["TinkerService", ServedModel]:
        """Check `base_model` against what the service lists, then begin a session. Blocks up to `timeout_s`."""
        calls = BoundedCalls(resolve_base_url(base_url), key, timeout_s)
        calls.require_reachable()

        def begin() -> tuple[TinkerService, ServedModel]:
            rest = tinker.RestClient(base_url=calls.address, api_key=key)
            listed = require_served(base_model, _models(rest.get_server_capabilities().result()))
            session = tinker.ServiceClient(base_url=calls.address, api_key=key)
            base = session.create_sampling_client(base_model=base_model).result()
            return cls(rest, session, (base_model, base), calls), listed

        return calls.in_thread("opening a session", begin)

    @property
    def address(self) -> str:
        """Where the service is."""
        return self._calls.address

    async def within(self, what: str, work: Awaitable[T]) -> T:
        """`work`, within the time limit, its failures as ours."""
        return await self._calls.within(what, work)

    async def models(self) -> list[ServedModel]:
        """What the service can train and sample now."""
        return _models(await self.within("listing its models", self._rest.get_server_capabilities()))

    async def new_run(self, rank: int, seed: int) -> TrainingRun:
        """A new adapter on every linear layer of the base model but its output head."""
        made = self._session.create_lora_training_client(
            self._base_model, rank=rank, seed=seed % _SEEDS, train_unembed=False
        )
        return TrainingRun(self, await self.within("making an adapter", made))

    async def weights_info(self, state_path: str) -> types.WeightsInfoResponse:
        """Of which model a checkpoint is, and its rank. Raises `NotFound` where there is none."""
        return await self.within("reading a checkpoint", self._rest.get_weights_info_by_tinker_path(state_path))

    async def restored_run(self, state_path: str) -> TrainingRun:
        """A run that continues from a checkpoint, optimiser included."""
        made = self._session.create_training_client_from_state_with_optimizer(state_path)
        return TrainingRun(self, await self.within("restoring a checkpoint", made))

    async def sample(
        self, sampler_path: str | None, prompt_ids: Sequence[int], params: SamplingParams, stop_ids: Sequence[int]
    ) -> SampledIds:
        """One answer of a checkpoint, or of the base model. Seeds are folded to the 31 bits that services take."""
        what = "sampling"
        client = await self._sampler(sampler_path)
        asked = types.SamplingParams(
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            seed=None if params.seed is None else params.seed % _SEEDS,
            stop=list(stop_ids),
        )
        reply = client.sample(_input(prompt_ids), 1, asked, topk_sample_logprobs=params.top_logprobs)
        sequence = (await self.within(what, reply)).sequences[0]
        if sequence.logprobs is None or len(sequence.logprobs) != len(sequence.tokens) or not sequence.tokens:
            raise StackError(f"Tinker failed at {what}: the answer came without its tokens or log probabilities")
        top_ids, top_logprobs = _apart(sequence.topk_logprobs or [] if params.top_logprobs else [])
        scores = ScoredIds(sequence.logprobs, top_ids, top_logprobs)
        return SampledIds(sequence.tokens, scores, None, sequence.stop_reason)

    async def logprobs(self, sampler_path: str | None, ids: Sequence[int]) -> list[float]:
        """Log probabilities of all of `ids` but the first, each after those before it."""
        what = "scoring"
        client = await self._sampler(sampler_path)
        reply = await self.within(what, client.compute_logprobs(_input(ids)))
        scored = [logprob for logprob in reply[1:] if logprob is not None]
        if len(reply) != len(ids) or len(scored) != len(ids) - 1:
            raise StackError(f"Tinker failed at {what}: {len(scored)} log probabilities came for {len(ids)} tokens")
        return scored

    async def top_logprobs(
        self, sampler_path: str | None, ids: Sequence[int], top: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        """The `top` likeliest tokens at each of `ids` but the first, and their log probabilities.

        Both are empty where the service does not give them.
        """
        client = await self._sampler(sampler_path)
        params = types.SamplingParams(max_tokens=1, temperature=0.0)
        asked = client.sample(_input(ids), 1, params, include_prompt_logprobs=True, topk_prompt_logprobs=top)
        rows = (await self.within("scoring", asked)).topk_prompt_logprobs
        return _apart(rows[1:] if rows else [])

    async def files(self, external_path: str) -> dict[str, bytes]:
        """The files of an exported checkpoint, by name."""
        what = "downloading an adapter"
        links = await self.within(what, self._rest.get_external_weights_urls(external_path))

        async def downloaded() -> dict[str, bytes]:
            async with httpx.AsyncClient(timeout=self._calls.timeout_s, follow_redirects=True) as client:
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


def _models(reply: types.GetServerCapabilitiesResponse) -> list[ServedModel]:
    return [
        ServedModel(
            model.model_name, model.max_context_length, model.trainable is not False, model.sampleable is not False
        )
        for model in reply.supported_models
        if model.model_name
    ]


def _apart(rows: Sequence[list[tuple[int, float]] | None]) -> tuple[list[list[int]], list[list[float]]]:
    """Rows of tokens with their log probabilities, as rows of the ones and rows of the others."""
    return [[token for token, _ in row or []] for row in rows], [[logprob for _, logprob in row or []] for row in rows]


def _input(ids: Sequence[int]) -> types.ModelInput:
    return types.ModelInput.from_ints(list(ids))


LossName = Literal["importance_sampling", "cross_entropy"]
"""What the service minimises, summed over tokens: -advantage * ratio to the sampler, or -weight * log p."""


def _datum(one: Datum, loss: LossName) -> types.Datum:
    inputs: Any = {"target_tokens": list(one.target_ids)}
    if loss == "cross_entropy":
        inputs["weights"] = list(one.advantages)
    else:
        inputs |= {"logprobs": list(one.logprobs), "advantages": list(one.advantages)}
    return types.Datum(model_input=_input(one.input_ids), loss_fn_inputs=inputs)


def _optimizer_step(forward: types.ForwardBackwardOutput, step: types.OptimStepResponse) -> OptimizerStep:
    norms = [
        value
        for name, value in (step.metrics or {}).items()
        if name.rpartition("/")[2].partition(":")[0] == "grad_norm"
    ]
    return OptimizerStep(forward.metrics.get("loss:sum"), norms[0] if norms else None)
