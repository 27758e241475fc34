from random import Random

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from claas.tiny import WEIGHTS_DIR
from claas.tiny.corpus.conversation import Message, sample
from claas.tiny.tokens import batches, encode


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(WEIGHTS_DIR)


def test_training_sees_what_the_chat_template_writes(tokenizer: PreTrainedTokenizerBase) -> None:
    """Up to the template's last newline, which is never generated."""
    rng = Random(0)
    for _ in range(100):
        messages = sample(rng)
        chat = [{"role": message.role, "content": message.text} for message in messages]
        written = tokenizer.apply_chat_template(chat, tokenize=False)
        assert tokenizer.decode(encode([messages], tokenizer)[0].ids) == written.removesuffix("\n")


def test_a_prompt_is_tokenized_alike_in_training_and_in_use(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [Message("system", "Be kind."), Message("user", "Hi!"), Message("assistant", "Hello there!", 0)]
    chat = [{"role": message.role, "content": message.text} for message in messages[:-1]]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    encoded = encode([messages], tokenizer)[0]
    assert encoded.ids[: len(prompt)] == prompt
    assert encoded.learnt[: len(prompt)] == [False] * len(prompt)


def test_only_the_assistants_words_and_their_end_are_learnt(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = Random(1)
    for _ in range(200):
        messages = sample(rng)
        encoded = encode([messages], tokenizer)[0]
        learnt = [token for token, is_learnt in zip(encoded.ids, encoded.learnt, strict=True) if is_learnt]
        wanted = "".join(m.text[m.learnt_from :] + "<|im_end|>" for m in messages if m.learnt_from is not None)
        assert tokenizer.decode(learnt) == wanted


def test_a_batch_holds_no_more_tokens_than_allowed_and_learns_no_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    stream = batches("0", tokenizer, max_tokens=2048, chunk=300)
    for _ in range(20):
        ids, learnt = next(stream)
        assert ids.numel() <= 2048
        assert ids.shape == learnt.shape
        assert not learnt[ids == tokenizer.pad_token_id].any()
