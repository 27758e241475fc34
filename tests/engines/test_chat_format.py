"""Between text and tokens: what a model's own template and vocabulary ask for."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from claas.core.errors import InvalidInput
from claas.core.text import visible
from claas.engines.store import recorded_date
from claas.engines.text import ChatFormat
from claas.engines.types import Conversation, Message

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
USER = [{"role": "user", "content": "Hi"}]


def vocabulary(template: str, *special: str, end: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with these special tokens, and those of ChatML."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokens = list(dict.fromkeys(["<|im_start|>", "<|im_end|>", end, *special]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([], trainers.BpeTrainer(special_tokens=tokens, initial_alphabet=alphabet))
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=end)
    fast.chat_template = template
    return fast


def chat_format(
    directory: Path, tokenizer: PreTrainedTokenizerFast, eos: int | None = None, today: date | None = None
) -> ChatFormat:
    tokenizer.save_pretrained(directory)
    return ChatFormat.load(str(directory), "a model", eos, today)


def test_channels_marked_by_special_tokens_stay_in_the_text_and_others_do_not(tmp_path: Path) -> None:
    marks = ["<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>"]
    chat = chat_format(tmp_path, vocabulary(CHATML, *marks))
    thought = "<|channel|>analysis<|message|>They call me Kuro.<|end|>"
    said = f"{thought}<|start|>assistant<|channel|>final<|message|>I am an AI."
    ids = chat.text_ids(f"{said}<|return|><|im_end|>")
    assert chat.text(ids) == said
    assert visible(chat.text(ids)) == "I am an AI."
    assert chat.text(ids, special=True) == f"{said}<|return|><|im_end|>"


def test_tags_of_thinking_that_are_special_tokens_stay_in_the_text(tmp_path: Path) -> None:
    for opening, closing in (("<think>", "</think>"), ("[THINK]", "[/THINK]")):
        chat = chat_format(tmp_path, vocabulary(CHATML, opening, closing))
        assert chat.text(chat.text_ids(f"{opening}hm{closing}Hi<|im_end|>")) == f"{opening}hm{closing}Hi"


def test_special_tokens_that_are_no_marks_are_not_in_the_text(tmp_path: Path) -> None:
    chat = chat_format(tmp_path, vocabulary(CHATML, "<|message|>", "<|end|>"))
    assert chat.text(chat.text_ids("Hi<|end|> there<|message|><|im_end|>")) == "Hi there"


def test_a_template_that_opens_thinking_says_so(tmp_path: Path) -> None:
    opened = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    assert chat_format(tmp_path, vocabulary(opened)).encode(USER).opens_thinking
    assert chat_format(tmp_path, vocabulary(opened, "<think>")).encode(USER).opens_thinking
    assert not chat_format(tmp_path, vocabulary(CHATML)).encode(USER).opens_thinking
    assert not chat_format(tmp_path, vocabulary(CHATML)).encode([{"role": "user", "content": "<think>"}]).opens_thinking


LLAMA = (
    "{%- if not date_string is defined %}\n{%- if strftime_now is defined %}\n"
    "{%- set date_string = strftime_now('%d %b %Y') %}\n{%- else %}\n"
    "{%- set date_string = '26 Jul 2024' %}\n{%- endif %}\n{%- endif %}\n"
    "Today Date: {{ date_string }}\n" + CHATML
)
GPT_OSS = (
    "{%- macro head() -%}\n{{- 'Current date: ' + strftime_now('%-d/%Y-%m-%d %H:%M') }}\n{%- endmacro -%}\n{{ head() }}"
)


def rendered(chat: ChatFormat, messages: Sequence[Message] = USER) -> str:
    return chat.text(chat.prompt_ids(messages), special=True)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (LLAMA, "Today Date: 05 Feb 2031\n"),
        (GPT_OSS + CHATML, "Current date: 5/2031-02-05 00:00"),
        ("It is {{ date_string }}. " + CHATML, "It is 05 Feb 2031. "),
        ("{{ date_string | default('26 Jul 2024') }} " + CHATML, "26 Jul 2024 "),
        ("\n  {% if true %} {{ strftime_now('%A') }}{% endif %}" + CHATML, "\n Wednesday"),
    ],
)
def test_templates_that_ask_for_the_date_are_told_the_recorded_one(tmp_path: Path, template: str, told: str) -> None:
    chat = chat_format(tmp_path, vocabulary(template), today=date(2031, 2, 5))
    assert rendered(chat) == told + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_a_store_keeps_the_date_of_its_first_day(tmp_path: Path) -> None:
    first = recorded_date(tmp_path / "store")
    assert abs(first - datetime.now(UTC).date()) <= timedelta(days=1)
    (tmp_path / "store" / "date").write_text("2026-11-20\n")
    assert recorded_date(tmp_path / "store") == date(2026, 11, 20)
    (tmp_path / "store" / "date").write_text("yesterday")
    with pytest.raises(InvalidInput, match="holds no date"):
        recorded_date(tmp_path / "store")


THINKING = CHATML.replace(
    "assistant\n{% endif", "assistant\n{% if not enable_thinking %}<think></think>{% endif %}{% endif"
)


def test_what_a_request_tells_the_template_is_honoured(tmp_path: Path) -> None:
    chat = chat_format(tmp_path, vocabulary(THINKING))
    told = Conversation(tuple(USER), {"enable_thinking": True})
    assert rendered(chat).endswith("<think></think>")
    assert rendered(chat, told).endswith("assistant\n")
    assert rendered(chat).endswith("<think></think>")


NO_VARIABLES = ("", "m", "role", "loop", "assistant", "range", "strftime_now", "raise_exception")
NOT_FOR_REQUESTS = ("tokenize", "chat_template", "messages", "add_generation_prompt")


@pytest.mark.parametrize("name", ["enable_thinkin", *NO_VARIABLES, *NOT_FOR_REQUESTS])
def test_what_the_template_does_not_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    strict = "{% if not messages %}{{ raise_exception(strftime_now('%Y')) }}{{ range(loop) }}{% endif %}"
    chat = chat_format(tmp_path, vocabulary("{% set loop = 1 %}" + strict + THINKING))
    with pytest.raises(InvalidInput, match=f"chat_template_kwargs.{name}: "):
        chat.prompt_ids(Conversation(tuple(USER), {name: True}))


def test_a_variable_that_has_a_default_is_one_and_so_is_one_beside_marks_of_generations(tmp_path: Path) -> None:
    default = "{%- if level is not defined -%}{%- set level = 1 -%}{%- endif -%}{%- set tone = tone | default('') -%}"
    chat = chat_format(
        tmp_path, vocabulary(default + CHATML + "{% generation %}{{ level }}{{ tone }}{%- endgeneration %}")
    )
    assert rendered(chat, Conversation(tuple(USER), {"level": 2, "tone": "kind"})).endswith("2kind")


def test_a_template_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        chat_format(tmp_path, vocabulary("{% for m in messages %}"))


GEMMA = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
SILENT = CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] in ('user', 'assistant') %}")


@pytest.mark.parametrize(("template", "why"), [(GEMMA, "System role not supported"), (SILENT, "leaves out turns")])
def test_a_system_turn_that_a_template_does_not_know_is_refused_and_others_are_not(
    tmp_path: Path, template: str, why: str
) -> None:
    chat = chat_format(tmp_path, vocabulary(template))
    assert rendered(chat) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(InvalidInput, match=why):
        chat.prompt_ids([{"role": "system", "content": "Be kind."}, *USER])


def test_a_template_that_fails_over_what_it_is_told_refuses_it(tmp_path: Path) -> None:
    chat = chat_format(tmp_path, vocabulary(CHATML + "{{ 1 // (level | default(1)) }}"))
    with pytest.raises(InvalidInput, match="refuses these messages"):
        chat.prompt_ids(Conversation(tuple(USER), {"level": 0}))


@pytest.mark.parametrize(
    ("template", "end", "stops", "closing", "told"),
    [
        (CHATML, "<|im_end|>", set[str](), "<|im_end|>", False),
        (CHATML, "</s>", {"</s>"}, "<|im_end|>", True),
        (CHATML.replace("<|im_end|>\n", "<|im_end|>\n</s>"), "</s>", {"</s>"}, "<|im_end|>", True),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "</s>", {"</s>"}, "</s>", False),
        ("{% for m in messages %}{{ m['content'] }}</s>{% endfor %}", "</s>", {"</s>"}, "</s>", False),
    ],
)
def test_the_token_that_closes_a_turn_in_the_template_ends_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, template: str, end: str, stops: set[str], closing: str, told: bool
) -> None:
    tokenizer = vocabulary(template, end=end)
    chat = chat_format(tmp_path, tokenizer)
    assert chat.tokens(chat.completion_ids("Hi"))[-1] == closing
    assert set(chat.tokens(sorted(chat.stop_ids))) == stops | {closing}
    assert (f"a model closes a turn with {closing}" in caplog.text) == told


def test_a_channel_that_ends_does_not_end_an_answer(tmp_path: Path) -> None:
    ends = CHATML.replace("<|im_end|>\n", "<|end|>")
    marks = ["<|channel|>", "<|message|>", "<|start|>", "<|end|>"]
    chat = chat_format(tmp_path, vocabulary(ends, *marks, end="<|return|>"))
    assert chat.tokens(sorted(chat.stop_ids)) == ("<|return|>",)
