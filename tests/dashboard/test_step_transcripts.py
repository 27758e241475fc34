"""One transcript on the page: beside the baseline's answer, with what is lost, cut or unknown said so."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.dashboard.step_choice import StepQuery
from claas.dashboard.step_page import StepView, step_fragment
from claas.dashboard.transcript import Excerpts
from claas.wire.feedback import Sampling
from tests.dashboard.step_records import HOSTILE, baseline, links, of_tokens, page, said, step, text_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_two_answers_stand_side_by_side_with_their_differences_marked() -> None:
    html = page(baseline(said("probe/0", "It is a big red dog.")), step(said("probe/0", "It is a small dog.")))
    assert "It is a<del> big red</del> dog." in html
    assert "It is a<ins> small</ins> dog." in html


def test_an_answer_to_the_letter_the_same_is_shown_once() -> None:
    html = page(baseline(said("probe/0", "Quite the same.")), step(said("probe/0", "Quite the same.")))
    assert html.count("Quite the same.") == 1
    assert "same as baseline" in html


def test_verdicts_and_flips_of_both_times_are_told() -> None:
    before = said("probe/0", "Long.", verdict={"score": 0.25, "passed": False, "words": 90.0, "why": "long"})
    now = said("probe/0", "Short.", verdict={"score": 1.0, "passed": True, "words": 3.0, "echo": False})
    text = text_of(page(baseline(before), step(now)))
    for part in ("failed 0.25", "passed 1", "0 → 1", "words 90", "why long", "words 3", "echo no"):
        assert part in text, part


@pytest.mark.parametrize("before", [None, "Once."])
def test_a_lost_answer_is_shown_as_lost_with_its_reason(before: str | None) -> None:
    html = page(baseline(said("probe/0", before)), step(said("probe/0", None, error="HTTP 500: out of memory")))
    assert "Lost: HTTP 500: out of memory" in html
    assert html.count("Lost: timed out") == (before is None)
    assert '<span class="mark bad">lost</span>' in html
    assert "passed" not in text_of(html).split("Transcripts")[1]


def test_an_answer_that_could_not_be_judged_shows_both_it_and_why() -> None:
    html = page(baseline(), step(said("probe/0", "def f(): pass", error="the sandbox did not start")))
    assert "Lost: the sandbox did not start" in html
    assert "def f(): pass" in html


def test_an_empty_answer_is_said_to_be_empty() -> None:
    assert "The answer is empty." in page(baseline(), step(said("probe/0", "")))
    assert "The answer is empty." in page(baseline(), step(of_tokens(["<end>"], [-0.5], "")))


def test_facts_are_those_that_are_known() -> None:
    known = said(
        "probe/0",
        finish_reason="length",
        rollout_id="rollout-1",
        temperature=0.7,
        seed=7,
        sampled_with=Sampling(temperature=1.0, top_p=0.9, seed=None, max_tokens=24),
        truncated_prompt_tokens=11,
        completion_tokens=3,
        logprobs=[-1.0, -2.0, -0.5],
        mean_entropy=0.25,
        entropy_is_lower_bound=True,
    )
    html = page(baseline(), step(known))
    text = text_of(html)
    for part in (
        "finish length",
        "truncated",
        "rollout rollout-1",
        "temperature 0.7",
        "seed 7",
        "sampled with temperature 1.0, top_p 0.9, seed None, max_tokens 24",
        "cut from the prompt 11 tokens",
        "tokens 3",
        "mean logprob -1.167 nats",
        "entropy at least 0.25 nats/token",
    ):
        assert part in text, part
    bare = page(baseline(), step(said("probe/0")))
    for absent in ("seed", "entropy", "mean logprob", "cut from", "sampled with", "finish"):
        assert absent not in text_of(bare).split("Transcripts")[1]


def test_a_record_without_token_texts_is_plain_text_with_a_note() -> None:
    html = page(baseline(), step(said("probe/0", "An older answer.", logprobs=[-0.5, -1.5])))
    assert "An older answer." in html
    assert "does not have the texts of its tokens" in html
    assert "mean logprob</span> -1 nats" in html
    assert 'title="' not in html.split('id="transcripts"')[1]
    assert "Tokens by probability" not in html, "a legend of nothing"


def test_a_scored_text_is_shaded_and_set_against_its_baseline() -> None:
    before = of_tokens(["No", " way"], [-0.2, -3.0], "No way", temperature=None)
    html = page(baseline(before), step(of_tokens(["No", " way"], [-0.2, -5.0], "No way", temperature=None)))
    assert 'title="-5 nats, 0.67 %"> way</span>' in html
    assert re.search(r"<code>␣way</code></th><td>2</td><td>0.67 %</td><td>-5.000</td><td>-3.000</td>", html)
    assert "mean logprob at baseline</span> -1.6 nats" in html
    assert "Tokens by probability" in html
    assert "<ins" not in html


def test_long_texts_are_cut_and_counted_and_whole_on_a_page_of_their_own() -> None:
    long, words = "x" * 100_000, "so on and " * 10_000
    before = baseline(said("probe/0", words), said("probe/1", long))
    now = step(said("probe/0", words + "more", prompt=long), said("probe/1", long, verdict={"score": 0.5, "why": long}))
    html = page(before, now)
    assert len(html) < 40_000
    assert text_of(html).count("… 98500 more characters") == 2, "the long answer, now and at baseline"
    assert text_of(html).count("… 99500 more characters") == 1, "the long prompt"
    assert text_of(html).count("… (99500 more characters)") == 1, "the verifier's long reason"
    whole = page(before, now, item="probe/0")
    assert "more characters" not in whole
    assert text_of(whole).count(words) == 2
    assert "words at the ends of these texts were not compared" in whole


def test_many_tokens_are_cut_and_counted() -> None:
    now = step(of_tokens(["a "] * 10_000, [-0.5] * 10_000, "a " * 10_000))
    html = page(baseline(), now)
    assert html.count('class="p2" title=') == 300
    assert "… 9700 more tokens" in html
    whole = page(baseline(), now, item="heldout/0")
    assert "… 5000 more tokens" in whole


@given(prompt=TEXTS, before=TEXTS, now=TEXTS)
def test_any_text_is_shown_as_it_is_and_never_as_markup(prompt: str, before: str, now: str) -> None:
    html = page(
        baseline(said("probe/0", HOSTILE + before)), step(said("probe/0", HOSTILE + now, prompt=prompt + HOSTILE))
    )
    text = text_of(html)
    for part in (HOSTILE + before, HOSTILE + now, prompt + HOSTILE):
        assert _signs(part) in text


@pytest.mark.parametrize("text", ["שלום עולם", "مرحبا", "👩‍👩‍👧 ok 🏳️‍🌈", "tab\tand\nline", "a\x00b\x1b[31mc\r\nd\x7f"])
def test_any_script_is_readable_in_its_own_direction(text: str) -> None:
    html = page(baseline(), step(said("probe/0", text)))
    assert f'<div class="text" dir="auto">{_signs(text)}</div>' in html


def test_every_transcript_of_the_page_leads_to_itself() -> None:
    html = page(baseline(), step(said("probe/0")))
    assert '<a href="/step?updates=5&amp;metric=compliance&amp;item=probe%2F0#transcripts">' in html


def _signs(text: str) -> str:
    return "".join(chr(0x2400 + ord(each)) if ord(each) < 32 and each not in "\t\n" else each for each in text).replace(
        "\x7f", "\u2421"
    )


def test_a_page_with_less_room_has_less_of_each_and_counts_the_rest() -> None:
    now = step(of_tokens(["so ", "it ", "goes"], [-0.5] * 3, "so it goes", prompt="Why?"))
    bounds = Excerpts(prompt=2, characters=5, tokens=0)
    html = step_fragment(StepView("calm", 10, 5, baseline(), now, StepQuery(5), links, listed=bounds))
    for part in ("Wh <", "… 2 more characters", "so it <", "… 5 more characters", "… 3 more tokens"):
        assert part in html, part
