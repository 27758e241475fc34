"""Tokens of texts, by the embedded model's own tokenizer."""

from functools import cache

from claas.core.settings import EMBEDDED
from claas.engines.text import ChatFormat
from claas.models.files import TEXT_FILES, model_directory


@cache
def chat() -> ChatFormat:
    """The chat format of the embedded model."""
    return ChatFormat.load(str(model_directory(EMBEDDED, TEXT_FILES)), EMBEDDED, None)


def completion_ids(text: str) -> list[int]:
    """The tokens of an answer, end-of-turn token included."""
    return chat().completion_ids(text)
