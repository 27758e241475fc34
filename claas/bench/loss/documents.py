"""Held-out documents: texts of a file or a data set, each with a name by which it can be found again."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, cast

from claas.core.configuration import setting
from claas.core.errors import InvalidInput
from claas.core.files import dump_json, open_file, read_rows, read_text
from claas.core.text import one_line
from claas.wire.tokens import MOST_TEXT_BYTES

SHIPPED = Path(__file__).with_name("conversations.jsonl")
"""Conversations of the embedded model's own kind: drawn by the generator of its corpus, with a seed of their own."""


@dataclass(frozen=True)
class Document:
    """One text; `name` says where it is from (`notes.jsonl:3`)."""

    name: str
    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InvalidInput(f"{self.name} is an empty text, of which nothing can be predicted; take it out")
        if (size := len(self.text.encode())) > MOST_TEXT_BYTES:
            raise InvalidInput(
                f"{self.name} has {size} bytes, and an API takes {MOST_TEXT_BYTES} at most; split it or take it out"
            )


@dataclass
class HeldOutText:
    """Which text to read."""

    data: str | None = setting(
        None, "a .txt or .md file (one document), or .jsonl or .parquet (one a row); null: text that ships with CLaaS"
    )
    hf_dataset_name: str | None = setting(None, "a data set of the Hugging Face hub, in place of data")
    hf_dataset_config: str | None = setting(None, "the part of that data set, such as wikitext-103-raw-v1")
    hf_dataset_split: str = setting("validation", "the split of that data set")
    text_field: str = setting("text", "the field of a row that holds its text")

    def require_one(self) -> None:
        """Raise `InvalidInput` where two texts are named."""
        if self.data is not None and self.hf_dataset_name is not None:
            raise InvalidInput("give data or hf_dataset_name, not both")

    @property
    def source(self) -> str:
        """What the text is from."""
        return self.hf_dataset_name or self.data or str(SHIPPED)

    def documents(self, limit: int | None = None) -> tuple[Document, ...]:
        """The texts to read, the first `limit` of them."""
        if self.hf_dataset_name is None:
            return documents_of(Path(self.source).expanduser(), self.text_field, limit)
        name, part, split = self.hf_dataset_name, self.hf_dataset_config, self.hf_dataset_split
        return hub_documents(name, part, split, self.text_field, limit)


def digest_of(documents: Iterable[Document]) -> str:
    """sha256 of their texts."""
    return hashlib.sha256(dump_json([each.text for each in documents]).encode()).hexdigest()


def documents_of(path: Path, text_field: str = "text", limit: int | None = None) -> tuple[Document, ...]:
    """The documents of a file, the first `limit` of them; `InvalidInput` names the first that is none.

    A text file is one document; a row of a .jsonl or .parquet file is one, with its text in `text_field`.
    """
    read = _READERS.get(path.suffix)
    if read is None:
        raise InvalidInput(f"{path}: held-out text is a file that ends with {', '.join(_READERS)}")
    return _first(read(path, text_field), limit, str(path))


def hub_documents(
    name: str, config: str | None, split: str, text_field: str = "text", limit: int | None = None
) -> tuple[Document, ...]:
    """The documents of a data set of the Hugging Face hub, rows without a text left out."""
    datasets = _package("datasets", f"hf_dataset_name={name}")
    try:
        rows = datasets.load_dataset(name, config, split=split, streaming=limit is not None)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"the data set {name} cannot be read ({one_line(error)}); give data the path of a file instead"
        ) from error
    texts = ((f"{name}:{number}", _text(row, text_field, f"{name}:{number}")) for number, row in enumerate(rows, 1))
    return _first((Document(where, text) for where, text in texts if text.strip()), limit, name)


def _first(documents: Iterable[Document], limit: int | None, source: str) -> tuple[Document, ...]:
    chosen = tuple(islice(documents, limit))
    if not chosen:
        raise InvalidInput(f"{source} has no documents")
    return chosen


def _whole(path: Path, text_field: str) -> Iterator[Document]:
    yield Document(path.name, read_text(path))


def _rows_of_jsonl(path: Path, text_field: str) -> Iterator[Document]:
    for where, row in read_rows(path):
        yield Document(where, _text(row, text_field, where))


def _rows_of_parquet(path: Path, text_field: str) -> Iterator[Document]:
    parquet = _package("pyarrow.parquet", str(path))
    try:
        with open_file(path) as file:
            rows = parquet.read_table(file).to_pylist()
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {one_line(error)}") from error
    for number, row in enumerate(rows, start=1):
        yield Document(f"{path.name}:{number}", _text(row, text_field, f"{path.name}:{number}"))


_READERS: Mapping[str, Callable[[Path, str], Iterator[Document]]] = {
    ".txt": _whole,
    ".md": _whole,
    ".jsonl": _rows_of_jsonl,
    ".parquet": _rows_of_parquet,
}


def _text(row: object, field: str, where: str) -> str:
    known = cast(Mapping[str, object], row if isinstance(row, Mapping) else {})
    if not isinstance(text := known.get(field), str):
        has = ", ".join(map(str, known)) or "none"
        raise InvalidInput(f"{where} has no text in a field {field!r}; its fields: {has}; set text_field to the one")
    return text


def _package(module: str, wanted_for: str) -> Any:
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{wanted_for} needs the package {package}: pip install {package}") from error
