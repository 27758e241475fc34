"""A model's chat template: its variables, and tokenising conversations with it."""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Protocol, cast

from jinja2 import Environment, TemplateError
from jinja2.meta import find_undeclared_variables
from transformers import PreTrainedTokenizerBase

from claas.core.errors import InvalidInput

MARK = "kwyjibo"
"""A word that no template contains."""

_NOT_OPTIONS = frozenset(inspect.signature(cast(Any, PreTrainedTokenizerBase).apply_chat_template).parameters) | {
    "messages",
    "raise_exception",
}
_WHAT_TEMPLATES_RAISE = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class TemplatedTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here; its own types are loose."""

    chat_template: Any

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> list[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...


class ChatTemplate:
    """The chat template of a tokenizer, with the date fixed to `today`: prompts must not change overnight."""

    def __init__(self, tokenizer: TemplatedTokenizer, today: date) -> None:
        self._tokenizer = tokenizer
        text = json.dumps(tokenizer.chat_template)  # a template, or several by name
        self._given: dict[str, Any] = {}
        if "date_string" in text and "strftime_now" not in text and not _DEFAULT_DATE.search(text):
            self._given["date_string"] = today.strftime("%d %b %Y")
        if "strftime_now" in text:
            tokenizer.chat_template = _dated(tokenizer.chat_template, today)
        self._variables = _variables(tokenizer.chat_template)
        self._left_out = {role for role in ("system", "tool") if self._leaves_out(role)}

    def ids(
        self,
        turns: Sequence[Mapping[str, str]],
        options: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """The tokens of a conversation. `options` are variables of the template, such as `enable_thinking`.

        Raises `InvalidInput` where the template refuses the turns, would leave some out, or does not read an option.
        """
        if not turns:
            raise InvalidInput("messages is empty: there is nothing to answer")
        for role in sorted({turn["role"] for turn in turns} & self._left_out):
            raise InvalidInput(
                f"the model's chat template leaves out turns of the role {role!r}; say it in a turn of the user"
            )
        for name in options or {}:
            self._require_read(name)
        try:
            return self._render(turns, dict(options or {}), add_generation_prompt=add_generation_prompt)
        except _WHAT_TEMPLATES_RAISE as error:
            raise InvalidInput(f"the model's chat template refuses these messages: {error}") from error

    def _render(
        self, turns: Sequence[Mapping[str, str]], options: Mapping[str, Any], *, add_generation_prompt: bool
    ) -> list[int]:
        return self._tokenizer.apply_chat_template(
            [dict(turn) for turn in turns],
            add_generation_prompt=add_generation_prompt,
            return_dict=False,
            sanitize_control_tokens=True,  # text that looks like the end of a turn is text (transformers >= 5.23)
            **{**self._given, **options},
        )

    def _require_read(self, name: str) -> None:
        if name in _NOT_OPTIONS:
            raise InvalidInput(f"chat_template_kwargs.{name}: this is not for a request to say")
        if name not in self._variables:
            raise InvalidInput(
                f"chat_template_kwargs.{name}: the model's chat template does not read it, so that it would have no "
                "effect; leave it out"
            )

    def _leaves_out(self, role: str) -> bool:
        """Whether the template renders a conversation with such a turn as if it were not there."""
        said = {"role": role, "content": MARK}
        user, assistant = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}
        turns = [user, assistant, said] if role == "tool" else [said, user]
        try:
            ids = self._render(turns, {}, add_generation_prompt=True)
        except _WHAT_TEMPLATES_RAISE:
            return False
        return MARK not in self._tokenizer.decode(ids, skip_special_tokens=False)


_GENERATION = re.compile(r"\{%[-+]?\s*(?:end)?generation\s*[-+]?%\}")
"""Marks of transformers around what an assistant says, which Jinja does not know."""


def _variables(template: Any) -> frozenset[str]:
    """The variables that a template, or any of several, reads from its input."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    names: set[str] = set()
    for each in [template] if isinstance(template, str) else template.values():
        try:
            names |= find_undeclared_variables(environment.parse(_GENERATION.sub("", each)))
        except TemplateError as error:
            raise InvalidInput(f"the model's chat template cannot be read: {error}") from error
    return frozenset(names)


_DEFAULT_DATE = re.compile(r"date_string\s*(?:is\s+(?:not\s+)?defined|\|\s*default)")
_DIRECTIVES = [f"%{dash}{letter}" for dash in ("", "-") for letter in "aAbBcdDeFfGHIjmMpRSTuUVwWxXyYzZ"]


def _dated(template: Any, today: date) -> Any:
    """The template, or each of several, with a `strftime_now` that ignores the clock."""
    if not isinstance(template, str):
        return {name: _dated(each, today) for name, each in template.items()}
    now = datetime.combine(today, time(), UTC)
    replaced = "".join(f" | replace({directive!r}, {now.strftime(directive)!r})" for directive in _DIRECTIVES)
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n{template}"
