"""`python -m claas.bench.loss [key=value ...]`: the loss of the base model and of adapters on held-out text."""

import asyncio
import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from claas.bench.loss.documents import SHIPPED, Document, documents_of, hub_documents
from claas.bench.loss.metric import WINDOW, DocumentLoss, Loss
from claas.bench.settings import ApiSettings, require_models
from claas.core.command_line import Command
from claas.core.concurrency import together
from claas.core.configuration import check_limits, setting
from claas.core.errors import ExitCode, InvalidInput
from claas.core.files import dump_json
from claas.core.settings import config_root
from claas.eval.stacks.open_stack import check_stack, open_stack
from claas.eval.stacks.stack import LostAnswer, NothingToPredict, ServedBase, Stack, WrongWeights
from claas.results.records import AdapterVersion

_USAGE = """\
python -m claas.bench.loss [key=value ...]

  python -m claas.bench.loss data=notes.jsonl                               the embedded model on texts of yours
  python -m claas.bench.loss data=notes.jsonl 'adapters=[eval-concise@20]' store_dir=data/evals/mine/stack
  python -m claas.bench.loss data=notes.jsonl claas_url=http://127.0.0.1:8080 base_model=Qwen/Qwen3-8B

A line for each model, and a JSON object with everything as the last line.

--cfg job             print the settings that would be used, and run nothing
"""


@dataclass
class LossConfig(ApiSettings):
    """Which models read which text."""

    adapters: list[str] = setting([], "versions of adapters beside the base model, such as eval-concise@20")
    include_base: bool = setting(True, "measure the base model, too")
    data: str | None = setting(
        None, "a .txt or .md file (one document), or .jsonl or .parquet (one a row); null: text that ships with CLaaS"
    )
    hf_dataset_name: str | None = setting(None, "a data set of the Hugging Face hub, in place of data")
    hf_dataset_config: str | None = setting(None, "the part of that data set, such as wikitext-103-raw-v1")
    hf_dataset_split: str = setting("validation", "the split of that data set")
    text_field: str = setting("text", "the field of a row that holds its text")
    limit: int | None = setting(None, "the most documents", low=1)
    window: int = setting(WINDOW, "tokens that are read at once; a longer document is read in several windows", low=2)

    def __post_init__(self) -> None:
        check_limits(self)
        if self.data is not None and self.hf_dataset_name is not None:
            raise InvalidInput("give data or hf_dataset_name, not both")
        require_models(self.include_base, self.adapters)
        self.models()

    @property
    def source(self) -> str:
        """What the text is from."""
        return self.hf_dataset_name or self.data or str(SHIPPED)

    def models(self) -> list[AdapterVersion]:
        """The base model and the adapters."""
        base = ServedBase(name=self.model)
        return [base] * self.include_base + [_version(name) for name in self.adapters]

    def documents(self) -> tuple[Document, ...]:
        """The texts to read."""
        if self.hf_dataset_name is None:
            return documents_of(Path(self.source).expanduser(), self.text_field, self.limit)
        name, part, split = self.hf_dataset_name, self.hf_dataset_config, self.hf_dataset_split
        return hub_documents(name, part, split, self.text_field, self.limit)


def _version(name: str) -> AdapterVersion:
    lora_id, _, version = name.partition("@")
    if not lora_id or not version.isdecimal():
        raise InvalidInput(f"adapters must name versions, as in adapters=[eval-concise@20], got {name!r}")
    return AdapterVersion(lora_id=lora_id, version=int(version), digest="")


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


async def model_loss(stack: Stack, model: AdapterVersion, documents: Sequence[Document], window: int) -> ModelLoss:
    """The loss of one model on these documents."""
    read = await together(_document_loss(stack, model, document, window) for document in documents)
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


COMMAND = Command("claas.bench.loss", LossConfig, config_root() / "bench", "loss", _USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`, 3 also where a document was lost."""
    return COMMAND.ended(lambda config: asyncio.run(_run(config)), arguments)


async def _run(config: LossConfig) -> ExitCode:
    check_stack(config.stack())
    documents = config.documents()
    async with open_stack(config.stack(), Path(config.store_dir)) as stack:
        measured: list[ModelLoss] = []
        for model in config.models():
            measured.append(await model_loss(stack, model, documents, config.window))
            print(measured[-1].line(), flush=True)
    found = {
        "data": config.source,
        "text_sha256": hashlib.sha256(dump_json([each.text for each in documents]).encode()).hexdigest(),
        "window": config.window,
        "models": [each.as_json() for each in measured],
    }
    print(dump_json(found))
    return ExitCode.RESUMABLE if any(each.lost for each in measured) else ExitCode.COMPLETE


if __name__ == "__main__":
    sys.exit(main())
