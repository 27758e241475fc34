"""Loss on held-out text: the numbers, and the metric that measures them in a run."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

from claas.bench.loss.documents import SHIPPED, Document, documents_of
from claas.core.checks import in_range
from claas.core.concurrency import together
from claas.eval.metrics.metric import Measurement, Subject, counted
from claas.results.keys import Key
from claas.results.records import Transcript

WINDOW = 1024
"""Tokens that are read at once, where nothing else is said."""

_MOST_NATS = 20.0


@dataclass(frozen=True)
class DocumentLoss:
    """What a model predicted of one document: `tokens` of them, which stand for `bytes`, at a cost of `nats`.

    `error` says why it was lost; the numbers are then None.
    """

    document: str
    nats: float | None = None
    tokens: int | None = None
    bytes: int | None = None
    error: str | None = None

    @classmethod
    def of(cls, document: str, predicted: str, logprobs: Sequence[float]) -> Self:
        """That of a text as it was predicted, given the log probabilities of its tokens."""
        return cls(document, -math.fsum(logprobs), len(logprobs), len(predicted.encode()))


@dataclass(frozen=True)
class Loss:
    """Over all documents that were read, token by token: None where none was.

    `loss` is in nats per predicted token, `perplexity` exp(min(loss, 20)). `bits_per_byte` does not depend on how a
    tokenizer cuts text, so that it compares models with different ones.
    """

    loss: float | None
    perplexity: float | None
    bits_per_byte: float | None

    @classmethod
    def over(cls, documents: Iterable[DocumentLoss]) -> Self:
        """That of documents together; those that were lost count for nothing."""
        read = [(each.nats, each.tokens or 0, each.bytes or 0) for each in documents if each.nats is not None]
        nats, tokens = math.fsum(nats for nats, _, _ in read), sum(tokens for _, tokens, _ in read)
        n_bytes = sum(n_bytes for _, _, n_bytes in read)
        loss = nats / tokens if tokens else None
        return cls(
            loss=loss,
            perplexity=None if loss is None else math.exp(min(loss, _MOST_NATS)),
            bits_per_byte=nats / (n_bytes * math.log(2)) if n_bytes else None,
        )


@dataclass(frozen=True)
class EvalLoss:
    """Loss on held-out text: the mean over its predicted tokens, in nats, as `python -m claas.bench.loss` finds it.

    A document's first token has nothing before it, and is not predicted. `perplexity` is exp(min(loss, 20)), and
    `bits_per_byte` is over the bytes that were predicted. A document longer than `window` tokens is read in windows, so
    that each of its tokens is predicted once: every window but the first begins with tokens of the one before. At
    baseline and at every `interval`-th update; a document that was lost is left out of the numbers and counted.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="eval_loss.loss",
            title="Loss on held-out text",
            unit="nats per token",
            limits=(0.0, None),
            better="lower",
            heading="eval/loss",
            form=".4f",
        ),
        Key(
            key="eval_loss.perplexity",
            title="Perplexity of held-out text",
            limits=(1.0, None),
            better="lower",
            heading="eval/perplexity",
            form=".4f",
        ),
        Key(
            key="eval_loss.bits_per_byte",
            title="Bits per byte of held-out text",
            unit="bits per byte",
            limits=(0.0, None),
            better="lower",
        ),
        Key(key="eval_loss.window", title="Tokens of held-out text read at once", unit="tokens", limits=(2.0, None)),
    )

    documents: tuple[Document, ...]
    interval: int = 1
    window: int = WINDOW

    def __post_init__(self) -> None:
        in_range("interval", self.interval, 1)
        in_range("window", self.window, 2)

    @classmethod
    def from_file(
        cls,
        dataset_path: str | None = None,
        interval: int = 1,
        window: int = WINDOW,
        documents: int | None = None,
        text_field: str = "text",
    ) -> Self:
        """The metric over the first `documents` of a file (.txt, .md, .jsonl, .parquet), all of them where it is None.

        Without a path, over conversations of the embedded model's own kind.
        """
        if documents is not None:
            in_range("documents", documents, 1)
        path = SHIPPED if dataset_path is None else Path(dataset_path).expanduser()
        return cls(documents_of(path, text_field, documents), interval, window)

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline and after every `interval`-th update; step 0 makes the first."""
        return step is None or (step + 1) % self.interval == 0

    async def measure(self, subject: Subject) -> Measurement:
        """Read every document."""
        read = await together(subject.read("eval_loss", each.name, each.text, self.window) for each in self.documents)
        loss = Loss.over(map(_loss_of, read))
        values = {**asdict(loss), "window": float(self.window)}
        return Measurement({"eval_loss": values}, {"eval_loss": counted(read)}, tuple(read))


def _loss_of(read: Transcript) -> DocumentLoss:
    if read.error is not None:
        return DocumentLoss(read.item, error=read.error)
    return DocumentLoss.of(read.item, read.response or "", read.logprobs or ())
