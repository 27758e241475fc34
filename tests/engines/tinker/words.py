"""Tokens of texts, by the embedded model's own tokenizer."""

from functools import cache

from claas.core.settings import EMBEDDED
from claas.engines.model_files import TEXT_FILES, model_directory
from claas.engines.text import Chat


@cache
def chat() -> Chat:
    """The chat format of the embedded model."""
    return Chat.load(str(model_directory(EMBEDDED, TEXT_FILES)), EMBEDDED, None)


def completion_ids(text: str) -> list[int]:
    """The tokens of an answer, end-of-turn token included."""
    return chat().completion_ids(text)
