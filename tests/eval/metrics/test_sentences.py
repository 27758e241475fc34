import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.eval.metrics.text import count_sentences, length_in_sentences, numbered_items

COUNTED = {
    "": 0,
    "---\n😊": 0,
    "No end of sentence here": 1,
    "Dr. Smith went to Washington D.C. yesterday. He met Mr. Jones at 3.5 p.m. and left.": 2,
    "Mr. Brown, approx. 5 ft. tall, arrived at 10 a.m. today.": 1,
    "It weighs 3.14 kg, e.g. as much as a cat. It costs $3.50.": 2,
    "See https://example.com/a.b.html?c=d.e for more. Or ask.": 2,
    "I think... we should go.": 1,
    "Really?! Yes!!! Fine.": 3,
    "No space.Between sentences.Like this.": 3,
    "Hello there! 😊 How are you? 😊": 2,
    'He said "Go away." and left.': 1,
    "Wrapped text goes\non over several\nlines here. Yes.": 2,
    "**Bold.** Then *it.* Done.": 3,
    "Here are tips:\n\n- Eat well. Sleep.\n- Run\n* Walk": 5,
    "1. Apples are red\n2) Pears are green\n   and round\n(3) Plums": 3,
    "1. Apples 2. Pears 3. Plums": 3,
    "• one • two • three": 3,
    "# Rain\n\nIt falls. It stops.": 3,
    "Call it:\n```python\ndef f():\n    return 1. or. 2.\n\n# One. Two.\n```\nIt works.": 3,
    "```\nnever closed. but still. one": 1,
    "~~~\na. b.\n~~~\nOr `a. B. c.` and `f(1.5)`. Done.": 3,
    "Call `foo.bar()`! Then `x.` stops.": 2,
    "I think… we should go. It rains… It pours.": 3,
    "The U.S. economy grew. He has a Ph.D. in physics.": 2,
    "J. R. R. Tolkien and J.R.R. Tolkien are one. No. 5 is alive.": 2,
    "Apples, pears, etc. are fruit. We left at 5 p.m. We slept.": 3,
    "Version 2.0.1 costs 1,000.50 dollars at -3.5 °C. Brr.": 2,
    "The value is .5 or 0.5. Sales rose 3.5%.": 2,
    "Mail a.b@example.com, or open main.py and Node.js. Visit www.example.com.": 2,
    "See (https://a.b/c). [Docs](https://a.b/c.html) help. Go.": 3,
    "Steps:\n1. Mix. Stir.\n2. Bake.\n  - hot\n  - long": 6,
    "- [ ] Task one\n- [x] Task two": 2,
    "a) Mix\nb) Bake\niii. Eat": 3,
    "> Quoted text. More.": 2,
    '"Stop!" he said. (See below.) Yahoo! is a company.': 3,
    "| city | rain |\n|---|---|\n| Oslo | yes |": 2,
    "ok. cool. fine.": 3,
    "Yan et al. [2004] analysed it.": 1,
    "Mix 1 tsp. salt with 2 tbsp. sugar. Stir.": 2,
    "Das ist z. B. ein Hund. Er bellt.": 2,
    "Am 3. Mai kam er an. Es regnete.": 2,
    "Mme. Dupont est arrivée. Elle chante.": 2,
    "El Sr. García llegó. La Sra. Ruiz no. Fin.": 3,
    "Это рис, т. е. еда. Он белый. Да.": 3,
    "Come work in 'S-Hertogenbosch. You check quality. Apply via the ''apply'' button.": 3,
    "It ends here.[1] It goes on.[2]": 2,
    "<p>One.</p><p>Two.</p>": 2,
    "I. Introduction\nII. Methods\nIII. Results": 3,
    "My grade is A. Yours is B.": 2,
    "यह एक है। यह दो है। यह तीन है।": 3,
    "یہ ایک ہے۔ یہ دو ہے۔ یہ تین ہے۔": 3,
    "Սա մեկն է։ Սա երկուսն է։": 2,
    "Τι κάνεις; Καλά. Εσύ;": 3,
    "كيف حالك؟ أنا بخير. شكرا.": 3,
    "今天很好。我们去公园。": 2,
    "彼は「行くよ。」と言った。雨だ。": 2,
    "안녕하세요. 저는 쿠로입니다. 반갑습니다!": 3,
    "Здравствуйте! Как дела? Хорошо.": 3,
    "Hola. ¿Qué tal? ¡Bien!": 3,
    "Bonjour ! Ça va ? Oui.": 3,
    'Python is great; it has lists. It has "a. b. c. d. e." and (f. g. h.). End.': 3,
    "Python, created by G. van Rossum in v. 1.0, is nice. It runs on e.g. Linux. Try it at python.org.": 3,
    "1) tea 2) coffee 3) milk": 3,
    "● tea ● coffee ● milk": 3,
    "a) tea b) milk": 2,
    "(i) tea (ii) milk (iii) pie": 3,
    "1️⃣ tea 2️⃣ milk": 2,
    "① tea ② milk": 2,
    "→ a thing\n→ b thing\n→ c thing": 3,
    "Nets learn by (1) guessing, (2) measuring, and (3) adjusting.": 1,
    "Nets learn thus: (1) they guess (2) they measure (3) they adjust": 4,
    "Water → steam → cloud → rain → river": 1,
    "Rain falls。It fills rivers。It feeds us。": 3,
    "Spánek je důležitý, tzn. upevňuje paměť. Spěte ok. 8 h.": 2,
    "Beans → coffee here.": 1,
    "The plan is b. It works.": 2,
    "iPhone is nice. eBay too.": 2,
    "ភាសាខ្មែរ។ ពីរ។": 2,
    "It rains.<br>It pours<br/>Wind": 3,
    "He works at Acme Inc. She does not.": 2,
    '"Go!" "No!" "Why?"': 3,
    "See Fig. 3 and No. 5. Then go.": 2,
}


@pytest.mark.parametrize(("text", "count"), COUNTED.items(), ids=range(len(COUNTED)))
def test_sentences_are_counted_as_a_person_would(text: str, count: int) -> None:
    assert count_sentences(text) == count


ONE_EACH = [
    "The rain falls on the hills.",
    "Dr. Smith met Mr. Jones, e.g. at noon.",
    "It weighs 3.14 kg and costs $3.50!",
    "Is https://example.com/a.b.html the page?",
    "I think... we should go.",
    "Call `a. B. c.` then stop.",
    "He said 😊 hello.",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(ONE_EACH), min_size=1, max_size=12), st.sampled_from([" ", "\n", "\n\n"]))
def test_sentences_add_up(sentences: list[str], between: str) -> None:
    assert count_sentences(between.join(sentences)) == len(sentences)


@settings(deadline=None)
@given(st.integers(1, 12), st.sampled_from(["- item", "* Item.", "• item", "{}. Item", "{}) item"]))
def test_every_list_item_counts(n: int, item: str) -> None:
    assert count_sentences("\n".join(item.format(i + 1) for i in range(n))) == n


@settings(deadline=None)
@given(st.text(alphabet="aB1.!?…,;:'\"()[]\n\t -*#`~|•©😊é\u200d\\", max_size=200))
def test_no_text_is_too_odd_to_be_counted(text: str) -> None:
    assert 0 <= count_sentences(text) <= len(text)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_no_unicode_is_too_odd_to_be_counted(text: str) -> None:
    assert count_sentences(text) >= 0


@pytest.mark.parametrize(
    "token", ["a. b. ", "a!?", "i. ii. iii. ", "a) b. ", "`a. ", "```a", "<a", "((", "!a", "①", "。あ", "'"]
)
def test_20_kb_of_garbage_are_counted_in_reasonable_time(token: str) -> None:
    started = time.process_time()
    length_in_sentences(token * (20_000 // len(token)))
    assert time.process_time() - started < 1.0  # measured below 0.2


def test_a_run_on_sentence_is_as_long_as_its_words_are_worth() -> None:
    assert [length_in_sentences("rain " * words) for words in (1, 40, 41, 51, 170)] == [1, 1, 2, 3, 10]
    assert [length_in_sentences("雨" * characters) for characters in (80, 102)] == [1, 3]
    assert [length_in_sentences("ฝน" * clusters) for clusters in (80, 102)] == [1, 3]
    assert [length_in_sentences("rain; " * n + "snow") for n in (1, 3, 4, 15)] == [1, 1, 2, 7]
    assert length_in_sentences("It rains. " * 5) == count_sentences("It rains. " * 5) == 5


def test_numbered_items_are_read_without_their_numbers() -> None:
    assert numbered_items("Sure:\n1. **Health**\n 2) Mood\n(3) Sleep\n- not this\n2024 was good") == [
        "**Health**",
        "Mood",
        "Sleep",
    ]
