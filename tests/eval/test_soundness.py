"""A verifier that could not fail anything, or cannot see its own preference, is refused before a run."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from claas.core.errors import InvalidInput
from claas.eval.audit import audit, gamed_by, main, require_sound
from claas.eval.config.catalog import load_preference
from claas.eval.metrics.preference import LogprobPair, NonAnswer, OutOfScope, Preference
from claas.eval.metrics.verifiers import DetailedVerifier, NoEmojiVerifier, VerifierResult
from claas.eval.runner import load
from claas.results.settings import EvalConfig

USER = ({"role": "user", "content": "What is gravity?"},)
SHIPPED = ["concise", "identity", "no_emoji"]


@dataclass(frozen=True)
class Judged:
    """A verifier that is one function of the text."""

    rule: Callable[[str], float]

    def __call__(self, response: str) -> VerifierResult:
        score = float(self.rule(response))
        return VerifierResult(score, score >= 1.0)


SHOUTING = Preference(
    name="shouting",
    feedback_string="End every answer with an exclamation mark!",
    verifier=Judged(lambda text: text.rstrip().endswith("!")),
    logprob_pairs=(LogprobPair(USER, "Gravity pulls things together!", "Gravity pulls things together."),),
    probe_prompts=("What is gravity?", "Tell me about bees!"),
    heldout_prompts=("What is a rainbow?",),
)


def refusal(preference: Preference) -> str:
    with pytest.raises(InvalidInput) as raised:
        require_sound(preference)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def judged_by(rule: Callable[[str], float]) -> Preference:
    return replace(SHOUTING, verifier=Judged(rule))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preference_is_sound_and_cannot_be_gamed_by_a_single_token(name: str) -> None:
    preference = load_preference(name)
    require_sound(preference)
    findings = [found for found in audit(preference) if not found.about.startswith("tricks.")]
    assert {(found.key, found.about) for found in findings} == {
        (key, about)
        for key in ("verifier", "out_of_scope_verifier")
        for about in (*NonAnswer, *(f"logprob_pairs.{i}" for i in range(len(preference.logprob_pairs))))
    } | {("opposite.verifier", about) for about in NonAnswer}
    assert gamed_by(preference) == []


def test_shipped_verifiers_are_tried_with_the_tricks_that_fit_them() -> None:
    tried = {found.about for name in SHIPPED for found in audit(load_preference(name)) if found.said == "0"}
    assert {"tricks.denial", "tricks.run-on", "tricks.list on one line", "tricks.emoji asked to be text"} <= tried


@dataclass(frozen=True)
class Gullible(Judged):
    """One that accepts what it names as bad."""

    def known_bad(self) -> dict[str, str]:
        return {"a denial": "I never shout!"}


def test_a_verifier_that_accepts_what_it_names_as_bad_is_refused() -> None:
    message = refusal(replace(SHOUTING, verifier=Gullible(lambda text: text.endswith("!"))))
    assert "gives 1 to the answer 'I never shout!', which it names as bad (a denial); make it score 0" in message


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_out_of_scope_verifier_wants_what_its_preference_does_not(name: str) -> None:
    preference = load_preference(name)
    assert preference.out_of_scope is not None
    for pair in preference.logprob_pairs:
        assert not preference.out_of_scope.verifier(pair.positive_response).passed
        assert preference.out_of_scope.verifier(pair.negative_response).passed


def test_a_verifier_that_looks_for_one_sign_is_sound_and_what_games_it_is_known() -> None:
    require_sound(SHOUTING)
    assert gamed_by(SHOUTING) == ["!"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda text: 1.0, "Judged gives 1 to the answer ''"),
        (lambda text: "🎉" not in text, "Judged gives 1 to the answer ''"),
        (lambda text: 0.25 * (text == ""), "Judged gives 0.25 to the answer ''"),
        (lambda text: text == "." or text.endswith("!"), "gives 1 to the answer '.'"),
        (lambda text: text.endswith(("!", "the")), "gives 1 to the answer 'the the"),
    ],
    ids=["anything", "no answer at all", "a little", "a full stop", "one word over and over"],
)
def test_a_verifier_that_accepts_a_non_answer_is_refused(rule: Callable[[str], float], said: str) -> None:
    message = refusal(judged_by(rule))
    assert message.startswith("preference 'shouting': the verifier Judged gives ")
    assert said in message
    assert "make it score 0, or, if that does show the preference, add `acceptable: [" in message


def test_how_much_more_is_wrong_is_said() -> None:
    assert "(3 more: python -m claas.eval.audit shows all)" in refusal(judged_by(lambda text: 1.0))
    assert "more:" not in refusal(judged_by(lambda text: text == "" or text.endswith("!")))


def test_what_the_preference_declares_may_be_accepted() -> None:
    silent = judged_by(lambda text: "." not in text and "the" not in text)
    assert "acceptable: [empty]" in refusal(silent)
    pair = LogprobPair(USER, "Ha!", "It is the pull.")
    require_sound(replace(silent, acceptable=(NonAnswer.EMPTY,), logprob_pairs=(pair,)))


def test_an_echo_is_scored_as_a_run_scores_it() -> None:
    parrot = replace(judged_by(lambda text: "!" in text or "?" in text), acceptable=(NonAnswer.ECHO,))
    said = {found.about: found.said for found in audit(parrot)}
    assert said[NonAnswer.ECHO] == "1 (acceptable)"
    said = {found.about: found.said for found in audit(replace(parrot, acceptable=()))}
    assert said[NonAnswer.ECHO] == "0"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda text: text.endswith("."), "gives 1 to the answer '.'"),
        (lambda text: text.endswith("her."), "logprob_pairs.0 0 < 1 (positive, negative)"),
        (lambda text: text.startswith("Gravity"), "logprob_pairs.0 1 = 1 (positive, negative)"),
        (lambda text: 0.0, "logprob_pairs.0 0 = 0 (positive, negative)"),
    ],
)
def test_a_verifier_that_cannot_see_the_preference_is_refused(rule: Callable[[str], float], said: str) -> None:
    assert said in refusal(judged_by(rule))


def test_a_pair_that_differs_in_what_the_verifier_does_not_see_can_say_so() -> None:
    tone = LogprobPair(USER, "It pulls, my friend!", "It pulls!")
    assert "logprob_pairs.1 1 = 1" in refusal(replace(SHOUTING, logprob_pairs=(*SHOUTING.logprob_pairs, tone)))
    declared = replace(tone, told_apart=False)
    require_sound(replace(SHOUTING, logprob_pairs=(*SHOUTING.logprob_pairs, declared)))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda text: not text.endswith("!"), "out_of_scope_verifier Judged gives 1 to the answer ''"),
        (lambda text: text.endswith("!"), "logprob_pairs.0 1 > 0 (positive, negative), but the positive one is not"),
    ],
)
def test_the_out_of_scope_verifier_is_audited_too(rule: Callable[[str], float], said: str) -> None:
    message = refusal(replace(SHOUTING, out_of_scope=OutOfScope(("Whisper, please.",), Judged(rule))))
    assert said in message
    assert "acceptable" not in message


def test_an_out_of_scope_verifier_need_not_tell_the_pairs_apart() -> None:
    require_sound(replace(SHOUTING, out_of_scope=OutOfScope(("Write an essay, please.",), DetailedVerifier())))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda text: text.split()[0] == "Yes", "raises IndexError: list index out of range on the answer ''"),
        (lambda text: 2.0, "must return a VerifierResult with a score from 0 to 1"),
    ],
)
def test_a_verifier_that_breaks_down_is_refused_with_the_text_that_broke_it(
    rule: Callable[[str], float], said: str
) -> None:
    message = refusal(judged_by(rule))
    assert message.startswith("preference 'shouting': the verifier Judged")
    assert said in message


def test_a_shipped_verifier_is_refused_where_it_cannot_see_the_preference() -> None:
    assert "logprob_pairs.0 1 = 1" in refusal(replace(SHOUTING, verifier=NoEmojiVerifier()))


VERIFIERS = """
from claas.eval.metrics.verifiers import VerifierResult

class Anything:
    def __call__(self, response):
        return VerifierResult(1.0, True)

class Shouting:
    def __call__(self, response):
        shouts = response.rstrip().endswith("!")
        return VerifierResult(float(shouts), shouts)

class Careless:
    def __call__(self, response):
        return VerifierResult(float(response.split()[-1] == "done!"), True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config folder with a sound preference (shouting), one that accepts anything and one that breaks down."""
    (tmp_path / "audited_verifiers.py").write_text(VERIFIERS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "preference").mkdir(parents=True)
    for name in ("Shouting", "Anything", "Careless"):
        content: dict[str, Any] = {
            "name": name.lower(),
            "feedback_string": SHOUTING.feedback_string,
            "verifier": {"_target_": f"audited_verifiers.{name}"},
            "logprob_pairs": [
                {"prompt_messages": list(USER), "positive_response": "Pull!", "negative_response": "Pull."}
            ],
            "probe_prompts": list(SHOUTING.probe_prompts),
            "heldout_prompts": list(SHOUTING.heldout_prompts),
        }
        (tmp_path / "mine" / "preference" / f"{name.lower()}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "mine"


def test_a_run_refuses_what_cannot_be_measured_with_before_it_starts(folder: Path) -> None:
    load(EvalConfig(preferences=["shouting"], config_dir=str(folder)))
    with pytest.raises(InvalidInput, match="preference 'anything': the verifier Anything gives 1 to the answer ''"):
        load(EvalConfig(preferences=["concise", "anything"], config_dir=str(folder)))


def test_the_command_prints_every_score_and_exits_with_0_when_all_are_sound(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    for name in SHIPPED:
        assert name in shown
    for verifier in ("ConciseVerifier", "NoEmojiVerifier", "IdentityVerifier", "DetailedVerifier", "EmojiVerifier"):
        assert verifier in shown
    better, worse = (re.findall(rf"{said} ×(\d+)", shown) for said in (r"1 > 0(?:\.5)?", r"(?:0|0\.5) < 1"))
    assert sum(map(int, better)) == sum(map(int, worse)) == 36
    assert shown.count("yes") == 9
    assert main(["--config-dir", str(folder), "shouting"]) == 0
    assert "note: shouting is also satisfied by '!' over and over" in capsys.readouterr().out


def test_the_command_names_every_problem_and_exits_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config-dir", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "NO" in shown
    assert "1 = 1" in shown
    problems = [line for line in shown.splitlines() if line.startswith("preference '")]
    assert len(problems) == 5
    assert problems[-1].startswith("preference 'careless': the verifier Careless raises IndexError")
    assert main(["--config-dir", str(folder), "concise"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["concice"], "unknown preference 'concice'; known: concise, identity, no_emoji"),
        (["no/such.yaml"], "there is no preference file no/such.yaml"),
        (["--config-dir", "nowhere"], "config_dir nowhere is not a folder"),
    ],
)
def test_a_users_mistake_is_one_line_and_exits_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"claas.eval.audit: {said}\n"
