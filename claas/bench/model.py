"""One model of a run, however it is asked, and the tokenizer that it is read with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from claas.bench.adapters import PeftFolder, place_of
from claas.core.errors import InvalidInput, MissingExtra
from claas.core.files import dump_json
from claas.core.settings import EMBEDDED
from claas.core.text import one_line

Tell = Callable[[str], None]
"""Says one line to whoever waits."""


def nobody(line: str) -> None:
    """Nobody waits."""


def warn_of_cpu(model: str, tell: Tell) -> None:
    """Say what it means that a model is not on a GPU, unless it is the embedded one, which is made for that."""
    if model != EMBEDDED:
        tell(f"{model} is on a CPU, where a suite can take days: begin with a limit, or find a GPU")


SPELLED = "The 7 quick-brown foxes said: don't."
"""A text that two tokenizers hardly cut alike."""


class Tokenizer(Protocol):
    """What is needed of one of transformers."""

    eos_token: str
    eos_token_id: int
    bos_token: str | None
    bos_token_id: int | None
    chat_template: str | None
    name_or_path: str

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The tokens of a text."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **settings: Any) -> Any:
        """A conversation as the model reads it."""
        ...


@dataclass(frozen=True)
class NamedTokenizer:
    """A tokenizer by the name under which it was found: of the base model, of an adapter, or as it was set."""

    name: str
    place: str
    tokenizer: Tokenizer

    @property
    def mark(self) -> str:
        """What of it decides what is asked and where an answer ends."""
        its = self.tokenizer
        return dump_json([its.chat_template, its.bos_token, its.eos_token, its.encode(SPELLED)])


@dataclass(frozen=True)
class Model:
    """One model of a run. `name` is that of its very weights, whose content has `digest`.

    `adapter` is None for the base model. `mark` is what else decides its numbers. `lm` makes what lm-eval asks.
    """

    name: str
    adapter: str | None
    digest: str
    named: NamedTokenizer
    mark: tuple[Any, ...]
    lm: Callable[[], Any]

    @property
    def has_template(self) -> bool:
        """Whether it can be asked as in a chat."""
        return self.named.tokenizer.chat_template is not None


def base_tokenizer(name: str) -> NamedTokenizer:
    """The tokenizer that is set, or the base model's. `InvalidInput` where there is none."""
    return _tokenizer(name, place_of(name))


def adapter_tokenizer(adapter: PeftFolder, base: NamedTokenizer) -> NamedTokenizer:
    """The adapter's own where it brings one with a chat template, else that of the base model."""
    if adapter.tokenizer is None:
        return base
    own = _tokenizer(adapter.name, str(adapter.tokenizer))
    return base if own.tokenizer.chat_template is None else own


def _tokenizer(name: str, place: str) -> NamedTokenizer:
    try:
        transformers = import_module("transformers")
    except ModuleNotFoundError as error:
        raise MissingExtra("transformers", "local") from error
    try:
        return NamedTokenizer(name, place, transformers.AutoTokenizer.from_pretrained(place))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"there is no tokenizer {place!r} ({one_line(error)}); set tokenizer to its folder or hub id"
        ) from error
