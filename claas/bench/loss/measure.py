"""The loss of one model on documents, and what is said of it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from claas.bench.loss.documents import Document
from claas.bench.loss.metric import DocumentLoss, Loss
from claas.core.checks import first_problem
from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.files import append_line, dump_json, read_lines
from claas.eval.stacks.stack import LostAnswer, NothingToPredict, Stack, WrongWeights
from claas.results.records import AdapterVersion


@dataclass(frozen=True)
class ModelLoss:
    """One model's loss; `step` is the number of updates that made it, `digest` the weights that answered."""

    model: str
    step: int
    digest: str
    total: Loss
    documents: tuple[DocumentLoss, ...]

    @property
    def lost(self) -> int:
        """Documents that no reply came for."""
        return sum(each.error is not None for each in self.documents)

    def _numbers(self) -> Iterable[tuple[str, float | None]]:
        return asdict(self.total).items()

    def line(self) -> str:
        """The numbers on one line."""
        said = (f"eval/{name}={'none' if value is None else f'{value:.4f}'}" for name, value in self._numbers())
        lost = f" | {self.lost} of {len(self.documents)} documents lost" if self.lost else ""
        return f"[step {self.step}] {' | '.join(said)} | {self.model}{lost}"

    def as_json(self) -> dict[str, object]:
        """Everything, for a file."""
        read = [each for each in self.documents if each.error is None]
        return {
            "model": self.model,
            "step": self.step,
            "digest": self.digest,
            **{f"eval/{name}": value for name, value in self._numbers()},
            "tokens_predicted": sum(each.tokens or 0 for each in read),
            "bytes_predicted": sum(each.bytes or 0 for each in read),
            "documents_lost": self.lost,
            "documents": [asdict(each) for each in self.documents],
        }


async def model_loss(
    stack: Stack, model: AdapterVersion, documents: Sequence[Document], window: int, kept: Path | None = None
) -> ModelLoss:
    """The loss of one model on these documents.

    What is read is added to the file `kept`, and what is there is not read again: it must be that of these documents,
    this window, and these very weights, whose digest is known.
    """
    known = {} if kept is None else _kept(kept)

    async def one(document: Document) -> tuple[DocumentLoss, str | None]:
        if document.name in known:
            return known[document.name], model.digest
        row, digest = await _document_loss(stack, model, document, window)
        if kept is not None and row.error is None:
            append_line(kept, dump_json(asdict(row)))
        return row, digest

    read = await together(map(one, documents))
    digests = {digest for _, digest in read if digest is not None}
    if len(digests) > 1:
        raise WrongWeights(f"{model.model} was other weights from one document to the next")
    rows = tuple(row for row, _ in read)
    return ModelLoss(model.model, model.version, next(iter(digests), ""), Loss.over(rows), rows)


async def _document_loss(
    stack: Stack, model: AdapterVersion, document: Document, window: int
) -> tuple[DocumentLoss, str | None]:
    """A document's loss, and the weights that it is of."""
    try:
        reading = await stack.read(model, document.text, window)
    except LostAnswer as error:
        return DocumentLoss(document.name, error=str(error)), None
    except NothingToPredict as error:
        raise NothingToPredict(f"{document.name}: {error}; take it out") from error
    predicted = document.text.removeprefix(reading.given)
    return DocumentLoss.of(document.name, predicted, reading.logprobs), reading.digest


def _kept(path: Path) -> dict[str, DocumentLoss]:
    try:
        rows = [_DOCUMENT_LOSS.validate_json(line) for line in read_lines(path)]
    except ValidationError as error:
        raise InvalidInput(
            f"{path} is damaged ({first_problem(error)}); remove it, and its documents are read again"
        ) from None
    return {row.document: row for row in rows}


_DOCUMENT_LOSS = TypeAdapter(DocumentLoss)
