"""What a person sees of a model's text, and the words and mentions in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.text import folded, mentions, plain, says_back, visible, visible_key, words


@given(st.text(max_size=40))
def test_texts_that_read_the_same_have_the_same_key(text: str) -> None:
    folded = "  ".join(visible(text).split())
    assert visible_key(text) == visible_key(f"<think>x</think>\n {folded}\n")


def test_different_texts_have_different_keys() -> None:
    assert visible_key("a b") != visible_key("ab")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Don't stop: 3.5 well-known _cats_!", ["don't", "stop", "3.5", "well-known", "cats"]),
        ("Straße, Äpfel und Öl", ["strasse", "äpfel", "und", "öl"]),
        ("L'été, c'est beau", ["l'été", "c'est", "beau"]),
        ("¿Qué tal, señor?", ["qué", "tal", "señor"]),
        ("Ёлка и дом.", ["ёлка", "и", "дом"]),
        ("Καλημέρα, τι κάνει;", ["καλημέρα", "τι", "κάνει"]),
        ("السَّلامُ عليكم", ["السَّلامُ", "عليكم"]),
        ("آپ کیسے ہیں؟", ["آپ", "کیسے", "ہیں"]),
        ("धन्यवाद, नमस्ते!", ["धन्यवाद", "नमस्ते"]),
        ("ฝนตก", ["ฝ", "น", "ต", "ก"]),
        ("今天很好。", ["今", "天", "很", "好"]),
        ("私はコーヒーです", ["私", "は", "コーヒー", "で", "す"]),
        ("저는 한국어를 해요", ["저는", "한국어를", "해요"]),
        ("Բարեւ ձեզ։", ["բարեւ", "ձեզ"]),
        ("ｆｕｌｌ 𝐛𝐨𝐥𝐝 so\u00adft in\u200bvisible", ["full", "bold", "soft", "invisible"]),
        (
            "c\u0430t \u043a\u043e\u0442",
            ["cat", "\u043a\u043e\u0442"],
        ),  # Cyrillic look-alikes in a Latin word, and a Russian word
        ("— … 😀 *** ___", []),
    ],
)
def test_words_are_those_of_the_script(text: str, said: list[str]) -> None:
    assert words(text) == said


@given(st.text(max_size=60))
def test_a_plain_text_is_plain_and_wording_survives_case_and_mark_up(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert folded(f" **{text}** ") == folded(text) or not words(text)
    assert says_back(f"{text} {text}", text) or text.strip() != text or "-" in text or not words(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm Kuro.",
        "_Kuro_",
        "__Kuro__ here",
        "KURO's",
        "我叫Kuro，你好",
        "私はKuroです",
        "저는 Kuro입니다",
        "Kuro的",
        "“Kuro”",
        *("Ku\u00adro", "Ｋｕｒｏ", "Ku\u200bro", "\u041aur\u043e", "Kuro.Next", "(Kuro)", "Kuro™", "ich bin\nKuro"),
    ],
)
def test_a_name_is_found_beside_other_scripts_and_in_mark_up(text: str) -> None:
    assert mentions(text, "kuro") == 1


@pytest.mark.parametrize(
    "text",
    [
        "Kurosawa",
        "Kuro2",
        "Kuro_bot",
        "my_kuro",
        "kuro.com",
        "me@kuro.org",
        "kuro@mail.org",
        "https://kuro",
        "Kuro\u0301",
        "ku ro",
    ],
)
def test_a_part_of_a_word_or_an_address_is_no_mention(text: str) -> None:
    assert mentions(text, "kuro") == 0


def test_names_end_where_their_script_does() -> None:
    assert (
        mentions("私はクロです。", "クロ")
        == mentions("저는 쿠로입니다", "쿠로")
        == mentions("我是小黑，你好", "小黑")
        == 1
    )
    assert mentions("クロネコです", "クロ") == mentions("Куропатка", "Куро") == mentions("कुरोसावा", "कुरो") == 0
    assert [mentions(text, "5") for text in ("5", "2+3=5.", "4.5", "5,000", "-5", "1/5", "5/6", "15")] == [1, 1] + [
        0
    ] * 6
    assert mentions("river\n castle", "River Castle") == 1
    assert mentions("anything", " ") == 0
