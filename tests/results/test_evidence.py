"""How alike answers are, in the words of any script."""

from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.results.evidence import self_rouge_l


@pytest.mark.parametrize(
    ("one", "alike", "different"),
    [
        ("Rain falls on the hills.", "rain falls on the hills!", "A cat sleeps by a window."),
        ("Der Regen fällt heute.", "Der Regen fällt, heute", "Eine Katze schläft dort."),
        ("L'été est beau.", "L’été est beau !", "Un chat dort ici."),
        ("La lluvia cae hoy.", "¡La lluvia cae hoy!", "Un gato duerme aquí."),
        ("Дождь идёт в горах.", "дождь идёт в горах!", "Кошка спит на окне."),
        ("Βρέχει στα βουνά.", "βρέχει στα βουνά", "Μια γάτα κοιμάται."),
        ("المطر ينزل اليوم.", "المطر ينزل اليوم!", "قطة تنام هنا."),
        ("بارش ہو رہی ہے۔", "بارش ہو رہی ہے", "ایک بلی سوتی تھی"),
        ("वर्षा हो रही है।", "वर्षा हो रही है", "बिल्ली सोती थी"),
        ("ฝนตก", "ฝนตก!", "แม"),
        ("今天天气很好，我们去公园。", "今天天气很好，我们去公园！", "猫睡着了"),
        ("雨がふる。", "雨がふる！", "ねこ"),
        ("비가 내려요.", "비가 내려요!", "고양이는 자요."),
        ("Անձրև է գալիս։", "անձրև է գալիս", "Կատուն քնած"),
        ("😀🎉", "😀 🎉", "🐈"),
    ],
)
def test_likeness_is_seen_in_every_script(one: str, alike: str, different: str) -> None:
    assert self_rouge_l([one, alike]) == 1.0
    assert self_rouge_l([one, different]) == 0.0


def test_half_of_a_chinese_answer_in_common_is_half_alike() -> None:
    assert self_rouge_l(["今天下雨", "今天刮风"]) == pytest.approx(0.5)


def test_likeness_takes_two_answers() -> None:
    assert self_rouge_l([]) is self_rouge_l(["今天"]) is None
    assert self_rouge_l(["", ""]) == 1.0, "answers that say nothing are alike"
    assert self_rouge_l(["", "rain"]) == 0.0


def test_likeness_is_the_f1_of_the_longest_common_subsequence() -> None:
    f1 = 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)  # "the sat", of three words and of four
    assert self_rouge_l(["the cat sat on", "the dog sat"]) == f1


@given(st.lists(st.sampled_from(["a", "b", "c", "don't"]), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_likeness_is_what_the_package_rouge_score_says(one: list[str], other: list[str]) -> None:
    scorer = import_module("rouge_score.rouge_scorer").RougeScorer(["rougeL"], tokenizer=SplitAtSpaces())
    texts = " ".join(one), " ".join(other)
    expected = 1.0 if one == other else scorer.score(*texts)["rougeL"].fmeasure
    assert self_rouge_l(texts) == expected


class SplitAtSpaces:
    """What RougeScorer asks for the words of a text."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()
