"""A scan: every checkpoint on every entry and document, each base model loaded once. Needs lm-eval."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from claas.bench.catalogue import Chosen
from claas.bench.convert.__main__ import ConvertConfig, convert
from claas.bench.convert.sources import Kind
from claas.bench.loss.documents import Document, digest_of
from claas.bench.loss.measure import ModelLoss, model_loss
from claas.bench.model import Model, Tell
from claas.bench.models import models_at
from claas.bench.run import run_models, run_name
from claas.bench.scan.checkpoints import Checkpoint, checkpoints_in
from claas.bench.scan.settings import ScanConfig
from claas.bench.scan.table import MeasuredCheckpoint
from claas.bench.suite import Suite, prepare
from claas.core.checks import served_name, versioned_name
from claas.core.errors import InvalidInput, NotFound
from claas.eval.stacks.http_client import HttpClient
from claas.eval.stacks.http_stack import HttpStack
from claas.eval.stacks.open_stack import check_stack, open_client
from claas.eval.stacks.stack import ServedBase
from claas.results.benchmarks import BenchmarkFiles, EvalResult
from claas.results.records import AdapterVersion
from claas.wire.adapters import LoraList


async def measure(config: ScanConfig, asked: Chosen | None, tell: Tell) -> list[MeasuredCheckpoint]:
    """Measure every checkpoint, in order of training; what an earlier call has measured is not asked again."""
    BenchmarkFiles(config.output_folder).read_runs()  # what is wrong with it is said before anything is asked
    found = [] if config.checkpoints is None else await asyncio.to_thread(checkpoints_in, config.checkpoints)
    whole = [each for each in found if each.kind is not Kind.ADAPTER]
    adapters = [each for each in found if each.kind is Kind.ADAPTER]
    if whole and config.claas_url is not None:
        raise InvalidInput(f"{whole[0].path} is a model of its own, which an API here has to load: leave out claas_url")
    check_stack(config.stack())
    for line in asked.left_out if asked else ():
        tell(line)
    questions = await asyncio.to_thread(_Questions.of, config, asked)
    measured: list[MeasuredCheckpoint] = []
    with_base = config.include_base and (config.base_model is not None or not whole)
    if config.adapter is not None or config.adapters or adapters or with_base:
        async with open_client(config.stack(), Path(config.store_dir)) as client:
            names = await _adapters(client, config, adapters)
            settings = _one_api(config, adapters=list(names), include_base=with_base)
            measured += await questions.put(client, settings, [*[(config.model, 0)] * with_base, *names.values()], tell)
    for checkpoint in whole:
        folder = await asyncio.to_thread(_folder, checkpoint, config, tell)
        name = served_name(f"{config.name}-{checkpoint.name}" if config.name else checkpoint.name)
        settings = _one_api(config, base_model=str(folder), adapters=[], include_base=True, name=name)
        async with open_client(settings.stack(), Path(config.store_dir)) as client:
            measured += await questions.put(client, settings, [(checkpoint.name, checkpoint.step)], tell)
    return sorted(measured, key=lambda each: each.step)


async def _adapters(
    client: HttpClient, config: ScanConfig, folders: Sequence[Checkpoint]
) -> dict[str, tuple[str, int]]:
    """By the name that each is asked by, what it is called and its step."""
    versions = {} if config.adapter is None else {name: (name, step) for name, step in await _versions(client, config)}
    named = {name: (name, step) for step, name in enumerate(config.adapters, start=1)}
    return versions | named | {str(each.path): (each.name, each.step) for each in folders}


async def _versions(client: HttpClient, config: ScanConfig) -> list[tuple[str, int]]:
    assert config.adapter is not None
    listed = (await client.get("/v1/lora", LoraList)).adapters
    named = {served_name(each.lora_id): each.version for each in listed}
    if (newest := named.get(served_name(config.adapter))) is None:
        known = f"it has {', '.join(sorted(named)[:10])}" if named else "it has none: set store_dir, or claas_url"
        raise NotFound(f"the API has no adapter {config.adapter!r}; {known}")
    if beyond := [version for version in config.versions if version > newest]:
        raise InvalidInput(f"{config.adapter} has no version {beyond[0]}; its newest is {newest}")
    every = [version for version in range(1, newest + 1) if version % config.every == 0 or version == newest]
    if not (chosen := config.versions or every):
        raise InvalidInput(f"{config.adapter} has never been trained: there is no version to scan but the base model")
    return [(versioned_name(config.adapter, version), version) for version in sorted(chosen)]


def _folder(checkpoint: Checkpoint, config: ScanConfig, tell: Tell) -> Path:
    """Of a checkpoint that an engine loads; made where it is of another kind, which is done once."""
    if checkpoint.kind is Kind.MODEL:
        return checkpoint.path
    return convert(ConvertConfig(source=str(checkpoint.path), config=config.config, rotary=config.rotary), tell)


def _one_api(config: ScanConfig, **changes: Any) -> ScanConfig:
    """The settings of the checkpoints that one API answers for."""
    return replace(config, adapter=None, versions=[], every=1, checkpoints=None, **changes)


@dataclass(frozen=True)
class _Questions:
    """What every checkpoint is asked."""

    asked: Chosen | None
    suite: Suite | None
    documents: tuple[Document, ...]

    @classmethod
    def of(cls, config: ScanConfig, asked: Chosen | None) -> "_Questions":
        suite = None if asked is None else prepare(asked.entries, config.datasets_folder, config.include_folder)
        return cls(asked, suite, config.documents(config.most_documents) if config.reads_text else ())

    async def put(
        self, client: HttpClient, settings: ScanConfig, called: Sequence[tuple[str, int]], tell: Tell
    ) -> list[MeasuredCheckpoint]:
        """Ask the models of one API, which are `called` by these names and steps, in order."""
        models = await models_at(client, settings, tell)
        results: list[EvalResult | None] = [None] * len(models)
        if self.asked is not None and self.suite is not None:
            results = [*await run_models(settings, self.asked, self.suite, models, tell)]
        losses = [await self._loss(client, settings, model) for model in models] if self.documents else results
        return [
            MeasuredCheckpoint(
                name=name,
                step=step,
                model=model.name,
                base_model=settings.model,
                digest=model.digest,
                run=run_name(settings, model, len(models)),
                result=result,
                loss=loss if isinstance(loss, ModelLoss) else None,
            )
            for model, (name, step), result, loss in zip(models, called, results, losses, strict=True)
        ]

    async def _loss(self, client: HttpClient, settings: ScanConfig, model: Model) -> ModelLoss:
        mark = f"loss-{model.digest[:16]}-{digest_of(self.documents)[:16]}-{settings.loss_window}"
        kept = settings.output_folder / "responses" / f"{mark}.jsonl"
        if not settings.resume:
            kept.unlink(missing_ok=True)
        return await model_loss(HttpStack(client), _weights(model), self.documents, settings.loss_window, kept)


def _weights(model: Model) -> AdapterVersion:
    if model.adapter is None:
        return ServedBase(name=model.name, digest=model.digest)
    lora_id, _, version = model.name.rpartition("@")
    return AdapterVersion(lora_id=lora_id, version=int(version), digest=model.digest)
