import asyncio
from collections import Counter
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from claas.core.errors import InvalidInput
from claas.core.settings import config_root
from claas.eval.metrics.answer_checks import AnswerCheck, AnyCheck, Python
from claas.eval.metrics.capability import General
from claas.eval.metrics.drawn_cases import TASKS, drawn
from claas.eval.metrics.preference import Form, Preference
from claas.eval.metrics.verifiers import NoEmojiVerifier
from claas.results.estimates import estimate
from claas.results.items import Answers, changes_between
from claas.results.records import Counts
from tests.eval.metrics.subjects import measure, subject
from tests.fakes.stack import FakeStack

SUITE = """
- id: fibonacci
  prompt: code
  check: {kind: python, entry: fibonacci, cases: [[[0], 0], [[7], 13]], docstring: true}
- {id: three_sentences, prompt: three, form: length, check: {kind: sentences, exactly: 3, about: Python}}
- {id: five_benefits, prompt: five, form: length, check: {kind: numbered, at_least: 5}}
- {id: recursion_without_function, prompt: recursion, form: words, check: {kind: avoids, word: function, about: recurs}}
- {id: capital, prompt: capital, check: {kind: contains, any_of: [Paris, "7"]}}
"""
CODE = "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n"
DOCUMENTED = CODE.replace(":\n", ":\n    '''The nth.'''\n", 1)
RIGHT = {
    "code": f"Here it is:\n```python\n{DOCUMENTED}```\nDone.",
    "three": "Python is a language. It is easy to read. Many people use it.",
    "five": "1. Heart\n2. Mood\n3. Sleep\n4. Bones\n5. Memory",
    "recursion": "Recursion means that a thing is defined by a smaller copy of itself.",
    "capital": "That is Paris.",
}


@pytest.fixture
def suite(tmp_path: Path) -> General:
    folder = tmp_path / "capability"
    folder.mkdir()
    (folder / "small.yaml").write_text(SUITE)
    return General.from_suite("small", tmp_path)


def check(answer: str, /, **settings: object) -> bool:
    made: AnswerCheck = TypeAdapter[AnswerCheck](AnyCheck).validate_python(settings)
    result = asyncio.run(made.check(answer))
    assert result.score == float(result.passed)
    return result.passed


def test_right_answers_score_1(suite: General) -> None:
    found = measure(suite, subject(FakeStack(answers=RIGHT)))
    assert found.values == {
        "general": {
            "coding_correct": 1.0,
            "coding_has_docstring": 1.0,
            "ifeval_pass_rate": 1.0,
            "general_score": 1.0,
            "knowledge_pass_rate": 1.0,
            "form_pass_rate": 1.0,
        }
    }
    assert found.counts == {"general": Counts(planned=5, scored=5, errored=0)}
    assert [rollout.temperature for rollout in found.rollouts] == [0.0] * 5


def test_values_are_the_hand_computed_ones(suite: General) -> None:
    answers = RIGHT | {"code": CODE, "three": "Python. Yes.", "capital": "Berlin"}
    assert measure(suite, subject(FakeStack(answers=answers))).values["general"] == {
        "coding_correct": 1.0,
        "coding_has_docstring": 0.0,
        "ifeval_pass_rate": pytest.approx(2 / 3),
        "general_score": pytest.approx(0.5 + 1 / 3),
        "knowledge_pass_rate": 0.0,  # a docstring was asked for
        "form_pass_rate": pytest.approx(2 / 3),
    }


def test_lost_answers_are_counted_and_never_averaged(suite: General) -> None:
    found = measure(suite, subject(FakeStack(answers=RIGHT, lost={"code", "five"}, cut_off={"three"})))
    assert found.values["general"] == {
        "coding_correct": None,
        "coding_has_docstring": None,
        "ifeval_pass_rate": 1.0,
        "general_score": None,
        "knowledge_pass_rate": 1.0,
        "form_pass_rate": 1.0,
    }
    assert found.counts["general"] == Counts(planned=5, scored=3, errored=2, truncated=1)


@pytest.mark.parametrize("answer", ["", ".", "the the the the"])
def test_an_answer_that_says_nothing_passes_nothing(suite: General, answer: str) -> None:
    assert pass_rates(suite, FakeStack(answers=dict.fromkeys(RIGHT, answer))) == (0.0, 0.0)


def test_the_prompt_said_back_passes_nothing(suite: General) -> None:
    assert pass_rates(suite, FakeStack(say=lambda _, prompt, __: prompt)) == (0.0, 0.0)


BRIEF = Preference("brief", "Be brief.", NoEmojiVerifier(), (), ("Hi",), touches=(Form.LENGTH,))


def test_forms_that_the_preference_is_about_are_over_applied_and_not_lost(suite: General) -> None:
    answers = RIGHT | {"three": "Python.", "recursion": "A function."}
    found = measure(suite, subject(FakeStack(answers=answers), BRIEF))
    values = found.values["general"]
    assert isinstance(values, dict)
    assert values["form_pass_rate"] == 0.0, "of words to avoid alone"
    assert values["form_over_application_rate"] == 0.5, "three sentences were asked for, and not given"
    assert [rollout.item for rollout in found.rollouts] == [
        "knowledge/fibonacci/0",
        "out_of_scope/three_sentences/0",
        "out_of_scope/five_benefits/0",
        "form/recursion_without_function/0",
        "knowledge/capital/0",
    ]


def test_only_what_the_suite_has_items_of_is_judged(suite: General, tmp_path: Path) -> None:
    path = tmp_path / "facts.yaml"
    path.write_text("- {id: a, prompt: b, check: {kind: exact, text: c}}\n")
    assert criteria(General.from_suite(str(path)), BRIEF) == ["knowledge_retention"]
    assert criteria(suite, BRIEF) == criteria(suite, subject(FakeStack()).preference)
    rates = [key.key for key in suite.keys_for(BRIEF) if key.items is not None]
    assert rates == ["general.knowledge_pass_rate", "general.form_pass_rate", "general.form_over_application_rate"]


def criteria(metric: General, preference: Preference) -> list[str]:
    return [key.criterion.name for key in metric.keys_for(preference) if key.criterion is not None]


def test_wordings_of_one_fact_are_one_item(tmp_path: Path) -> None:
    """Two facts, of which one is known in one of its three wordings alone after training: 1.33 of 2, not 2 of 4."""
    path = tmp_path / "facts.yaml"
    path.write_text(
        "- {id: norway, prompt: a, other_wordings: [b, c], check: {kind: contains, any_of: [Oslo]}}\n"
        "- {id: japan, prompt: d, check: {kind: contains, any_of: [Tokyo]}}\n"
    )
    metric = General.from_suite(str(path))
    known = dict.fromkeys("abc", "Oslo.") | {"d": "Tokyo."}
    before = measure(metric, subject(FakeStack(answers=known)))
    after = measure(metric, subject(FakeStack(answers=known | {"b": "Bergen.", "c": "Bergen."})))
    values = after.values["general"]
    assert isinstance(values, dict)
    assert values["knowledge_pass_rate"] == pytest.approx((1 / 3 + 1) / 2)
    key = next(key for key in metric.keys if key.key == "general.knowledge_pass_rate")
    found = estimate(key, after.rollouts, before.rollouts, 0.9, 0.95)
    assert (found.n, found.value) == (2, pytest.approx(2 / 3))
    assert key.items is not None
    changed = changes_between(before.rollouts, after.rollouts, key.items)
    assert (changed.n, changed.lost, changed.mcnemar_p) == (2, ["knowledge/norway"], 1.0)
    assert changed.answers["knowledge/norway"] == Answers(prompt="b", before="Oslo.", after="Bergen.")


def pass_rates(metric: General, stack: FakeStack) -> tuple[object, object]:
    values = measure(metric, subject(stack)).values["general"]
    assert isinstance(values, dict)
    return values["knowledge_pass_rate"], values["form_pass_rate"]


def test_contains_matches_whole_words_in_any_case() -> None:
    assert check("It's PARIS.", kind="contains", any_of=["paris", "Rome"])
    assert not check("A parish", kind="contains", any_of=["paris"])
    assert check("river\ncastle lemon", kind="contains", any_of=["river castle lemon"])


def test_numbers_are_compared_as_numbers_in_any_digits_and_of_any_length() -> None:
    right = ["5", "5.0", "five", "\u0665", "5!", "**5**", "2 + 3 = 5"]
    wrong = [
        "4.5",
        "-5",
        "5,000",
        "1/5",
        "0.5",
        "5/6",
        "fifty",
        "five hundred",
        "5th",
        "6, not 5",
        "5" * 5000,
        "5," * 5000,
    ]
    assert [answer for answer in right if not check(answer, kind="contains", any_of=["5", "five"])] == []
    assert [answer for answer in wrong if check(answer, kind="contains", any_of=["5", "five"])] == []
    assert check("There are 24 hours, or 1,440 minutes.", kind="contains", any_of=["24"])
    assert check("twenty four", kind="contains", any_of=["twenty-four"])


def test_exact_is_the_wording_and_nothing_else() -> None:
    assert check(" garden piano\n", kind="exact", text="garden piano")
    assert check("**Garden piano.**", kind="exact", text="garden piano")
    assert not check("Sure: garden piano", kind="exact", text="garden piano")


def test_numbered_items_must_differ() -> None:
    assert check("1. Heart\n2. Mood", kind="numbered", at_least=2)
    assert not check("1. Heart\n2. heart!", kind="numbered", at_least=2)
    assert not check("- Heart\n- Mood", kind="numbered", at_least=2)
    assert not check("1.\n2.\n", kind="numbered", at_least=1)
    assert not check("1. a\n2. b", kind="numbered", at_least=1), "letters say nothing"
    assert not check("1. None\n2. No idea", kind="numbered", at_least=1), "nor do shrugs"
    assert not check("1. Heart\n1. Mood", kind="numbered", at_least=2), "the numbers count up"
    assert check("1\ufe0f\u20e3 Heart\n2\ufe0f\u20e3 Mood", kind="numbered", at_least=2)
    assert check("Here: 1. Heart 2. Mood 3. Sleep", kind="numbered", at_least=3)


def test_sentences_must_be_that_many_and_on_the_subject() -> None:
    assert check(RIGHT["three"], kind="sentences", exactly=3, about="Python")
    assert not check(RIGHT["three"], kind="sentences", exactly=3, about="Rust")
    assert not check("Python is fun.", kind="sentences", exactly=3, about="Python")
    assert not check("Python is fun. " * 3, kind="sentences", exactly=3, about="Python"), "one sentence, three times"


@pytest.mark.parametrize("used", ["A function recurs.", "Recursive Functions.", "Functional recursion."])
def test_avoiding_a_word_is_avoiding_its_forms(used: str) -> None:
    assert not check(used, kind="avoids", word="function", about="recurs")
    assert check("A recursive step calls itself again.", kind="avoids", word="function", about="recurs")
    assert not check("Recursion, briefly.", kind="avoids", word="function", about="recurs"), "too few words to explain"
    assert not check("Something else.", kind="avoids", word="function", about="recurs")


def test_wrong_code_fails() -> None:
    assert not check(CODE.replace("return a", "return b"), kind="python", entry="fibonacci", cases=[[[0], 0]])
    assert not check("I can't code.", kind="python", entry="fibonacci", cases=[[[0], 0]])
    assert not check(CODE.replace("return a", "return float(a)"), kind="python", entry="fibonacci", cases=[[[7], 13]])


def test_a_table_of_the_written_cases_fails_those_that_are_drawn() -> None:
    table = "def fibonacci(n):\n    for _ in range(1):\n        return {0: 0, 7: 13}.get(n, 1)"
    recursive = "def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)"
    written = [[[0], 0], [[7], 13]]
    assert check(table, kind="python", entry="fibonacci", cases=written)
    assert not check(table, kind="python", entry="fibonacci", cases=written, draw=3)
    assert check(CODE, kind="python", entry="fibonacci", cases=written, draw=3, iterative=True)
    assert not check(recursive, kind="python", entry="fibonacci", cases=written, iterative=True)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    assert drawn("gcd", 5, 1) == drawn("gcd", 5, 1) != drawn("gcd", 5, 2)
    with pytest.raises(ValidationError, match="no cases can be drawn for 'mine'; known: fibonacci, "):
        check("", kind="python", entry="mine", cases=[[[0], 0]], draw=1)


def test_shipped_code_items_have_ten_cases_and_some_drawn() -> None:
    checks = [item.check for item in General.from_suite().items if isinstance(item.check, Python)]
    assert {check.entry for check in checks} == TASKS.keys()
    for shipped in checks:
        assert len(shipped.cases) >= 10
        assert shipped.draw >= 5
        assert all(TASKS[shipped.entry].solve(*arguments) == returns for arguments, returns in shipped.cases)


def test_the_shipped_suite_loads_and_has_the_items_that_scores_are_made_of() -> None:
    ids = [item.id for item in General.from_suite().items]
    assert ids[:4] == ["fibonacci", "three_sentences", "five_benefits", "recursion_without_function"]
    items = General.from_suite().items
    by_form = Counter(item.form for item in items)
    assert by_form[None] >= 101, "of facts and abilities, four may be lost and the rest still passes"
    assert set(by_form) == {None, Form.LENGTH, Form.LAYOUT, Form.WORDS, Form.WORDING}
    prompts = [prompt for item in items for prompt in (item.prompt, *item.other_wordings)]
    assert len(set(prompts)) == len(prompts)
    assert (config_root() / "capability" / "default.yaml").is_file()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", "items"),
        ("- {id: a, prompt: b}", "items.0.check: this field is missing"),
        ("- {id: a, prompt: b, check: {kind: magic}}", "magic"),
        ("- {id: a, prompt: b, check: {kind: exact, text: c, more: d}}", "more: unknown field"),
        ("- {id: a, prompt: b, check: {kind: exact, text: c}}\n" * 2, "same id"),
    ],
)
def test_a_broken_suite_is_refused_with_its_file_and_field(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=error) as raised:
        General.from_suite(str(path))
    assert str(path) in str(raised.value)


def test_an_unknown_suite_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"unknown capability 'no'; known: .*default"):
        General.from_suite("no")
