"""Between text and tokens: what a model's own template and vocabulary ask for."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from claas.core.text import visible
from claas.engines.text import ChatFormat

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


def chat_format(directory: Path, tokenizer: PreTrainedTokenizerFast, eos: int | None = None) -> ChatFormat:
    tokenizer.save_pretrained(directory)
    return ChatFormat.load(str(directory), "a model", eos)


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
