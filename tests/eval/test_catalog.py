from pathlib import Path
from typing import Any

import pytest
import yaml

from claas.core.errors import InvalidInput
from claas.eval.config.catalog import known_preferences, load_metrics, load_preference, resolve_criteria
from claas.eval.metrics.collapse import Collapse
from claas.eval.metrics.compliance import judge
from claas.eval.metrics.logprob import LogprobMargin
from claas.eval.metrics.preference import NonAnswer, OutOfScope
from claas.eval.metrics.verifiers import OtherNameVerifier

SHIPPED = ["concise", "identity", "no_emoji"]
GOOD: dict[str, Any] = {
    "name": "shouting",
    "feedback_string": "SHOUT",
    "verifier": {"_target_": "claas.eval.metrics.verifiers.IdentityVerifier", "name": "ada"},
    "logprob_pairs": [
        {
            "prompt_messages": [{"role": "user", "content": "Hi"}],
            "positive_response": "HI",
            "negative_response": "hi",
        }
    ],
    "probe_prompts": ["Who are you?"],
    "heldout_prompts": ["What are you?"],
}

PAIR = GOOD["logprob_pairs"][0]
SCOPE: dict[str, Any] = {
    "out_of_scope_prompts": ["Who is Bob?"],
    "out_of_scope_verifier": {"_target_": "claas.eval.metrics.verifiers.OtherNameVerifier", "name": "ada"},
}


def write(folder: Path, content: object, name: str = "shouting") -> Path:
    path = folder / "preference" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(InvalidInput) as raised:
        load_preference(str(path))
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preference_loads(name: str) -> None:
    preference = load_preference(name)
    assert preference.name == name
    assert len(preference.heldout_prompts) == 64
    assert preference.feedback_paraphrases
    assert len(preference.probe_prompts) >= 4
    assert preference.out_of_scope is not None
    assert len(preference.out_of_scope.prompts) >= 10


def test_the_shipped_preferences_are_known() -> None:
    assert set(known_preferences()) >= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_verifiers_fail_what_is_known_to_be_bad(name: str) -> None:
    preference = load_preference(name)
    for prompt in preference.probe_prompts + preference.heldout_prompts:
        for bad in ("", ".", prompt, f"{prompt}\n", "the " * 60, "Kuro " * 60, "Kuro. " * 6):
            assert judge(preference.verifier, prompt, bad).score == 0.0, (prompt, bad)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_verifiers_tell_the_sides_of_every_pair_apart(name: str) -> None:
    preference = load_preference(name)
    for pair in preference.logprob_pairs:
        assert preference.verifier(pair.positive_response).passed, pair.positive_response
        assert not preference.verifier(pair.negative_response).passed, pair.negative_response


def test_a_users_preference_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    by_name, by_path = load_preference("shouting", tmp_path), load_preference(str(path))
    assert by_name == by_path
    assert by_name.verifier("I am Ada").passed
    assert known_preferences(tmp_path) == sorted({*known_preferences(), "shouting"})


def test_a_users_file_comes_before_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    write(tmp_path, GOOD | {"name": "concise"}, "concise")
    assert load_preference("concise", tmp_path).feedback_string == "SHOUT"


def test_a_verifier_may_live_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_verifier.py").write_text(
        "from claas.eval.metrics.verifiers import VerifierResult\n"
        "class Loud:\n    def __call__(self, response):\n        return VerifierResult(1.0, True)\n"
    )
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD | {"verifier": {"_target_": "my_own_verifier.Loud"}})
    assert load_preference("shouting", tmp_path).verifier("x").passed


def test_an_unknown_preference_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"unknown preference 'concice'; known: concise, identity, no_emoji"):
        load_preference("concice")


def test_prompts_out_of_scope_come_with_a_verifier_of_their_own(tmp_path: Path) -> None:
    assert load_preference(str(write(tmp_path, GOOD))).out_of_scope is None
    preference = load_preference(str(write(tmp_path, GOOD | SCOPE)))
    assert preference.out_of_scope == OutOfScope(("Who is Bob?",), OtherNameVerifier("ada"))


def test_what_the_audit_has_to_let_pass_is_declared_in_the_file(tmp_path: Path) -> None:
    change = {"acceptable": ["echo", "empty", "echo"], "logprob_pairs": [PAIR | {"told_apart": False}]}
    preference = load_preference(str(write(tmp_path, GOOD | change)))
    assert preference.acceptable == (NonAnswer.ECHO, NonAnswer.EMPTY)
    assert [pair.told_apart for pair in preference.logprob_pairs] == [False]
    assert load_preference(str(write(tmp_path, GOOD))).logprob_pairs[0].told_apart


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no preference file .*none\.yaml"):
        load_preference(str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidInput, match=r"config_dir .* is not a folder"):
        load_preference("concise", tmp_path / "nowhere")


@pytest.mark.parametrize("field", sorted(GOOD.keys() - {"heldout_prompts"}))
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    message = error_of(write(tmp_path, {key: value for key, value in GOOD.items() if key != field}))
    assert f"{field}: this field is missing" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prob_prompts": []}, "prob_prompts: unknown field"),
        ({"probe_prompts": []}, "probe_prompts"),
        ({"logprob_pairs": []}, "logprob_pairs"),
        ({"probe_prompts": ["Hi", {"a": "b"}]}, "probe_prompts.1"),
        ({"probe_prompts": [" "]}, "probe_prompts.0"),
        ({"name": "../up"}, "name: String should match"),
        ({"name": "a/b"}, "name: String should match"),
        ({"logprob_pairs": [PAIR | {"negative_response": "HI"}]}, "logprob_pairs.0: positive and negative"),
        ({"logprob_pairs": [PAIR | {"prompt_messages": []}]}, "logprob_pairs.0.prompt_messages"),
        ({"heldout_prompts": ["Fine?", "WHO  are\nyou"]}, "both a probe and a held-out prompt"),
        (SCOPE | {"out_of_scope_prompts": ["who are you!"]}, "both a probe and an out-of-scope prompt"),
        (SCOPE | {"out_of_scope_prompts": ["what are you!"]}, "both a held-out and an out-of-scope prompt"),
        ({"out_of_scope_prompts": ["Why?"]}, "out_of_scope_verifier: this field is missing"),
        (SCOPE | {"out_of_scope_prompts": []}, "out_of_scope_prompts: this field is missing"),
        (
            SCOPE | {"out_of_scope_verifier": {"_target_": "builtins.dict"}},
            "out_of_scope_verifier: builtins.dict makes",
        ),
        ({"acceptable": ["silence"]}, "acceptable.0: Input should be 'empty', 'dot', 'echo' or 'repeated'"),
        ({"touches": ["lenght"]}, "touches.0: Input should be 'length', 'layout', 'emoji', 'words' or 'wording'"),
        ({"logprob_pairs": [PAIR | {"told_apart": "perhaps"}]}, "logprob_pairs.0.told_apart"),
        ({"verifier": {}}, "_target_ must name a class"),
        ({"verifier": {"_target_": "no_such_module.Thing"}}, "no_such_module"),
        ({"verifier": {"_target_": "claas.eval.metrics.verifiers.NoSuchVerifier"}}, "NoSuchVerifier"),
        ({"verifier": {"_target_": "claas.eval.metrics.verifiers.ConciseVerifier", "max": 3}}, "max"),
        ({"verifier": {"_target_": "claas.eval.metrics.verifiers.IdentityVerifier", "name": ""}}, "at least one word"),
        ({"verifier": {"_target_": "builtins.dict"}}, "not a callable"),
    ],
)
def test_each_mistake_is_one_clear_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert message in error_of(write(tmp_path, GOOD | change))


def test_the_overlapping_prompt_is_shown(tmp_path: Path) -> None:
    assert "'Who are YOU'" in error_of(write(tmp_path, GOOD | {"heldout_prompts": ["Who are YOU"]}))


def test_malformed_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "name: shouting\nprobe_prompts: [a, b\nverifier: {}\n")
    assert f"{path}:3: malformed YAML" in error_of(path)
    assert "malformed YAML" in error_of(write(tmp_path, "name: \x00"))
    assert "expected fields" in error_of(write(tmp_path, "- a list"))
    assert "expected fields" in error_of(write(tmp_path, ""))


def test_metrics_load_by_name_and_by_preset_each_once() -> None:
    assert list(load_metrics(["quick"])) == ["logprob", "compliance"]
    assert list(load_metrics(["drift", "quick", "logprob"])) == ["drift", "logprob", "compliance"]
    assert list(load_metrics(["all"])) == ["logprob", "compliance", "scope", "general", "collapse", "drift"]
    assert isinstance(load_metrics(["logprob"])["logprob"], LogprobMargin)


def test_an_unknown_metric_lists_metrics_and_presets() -> None:
    with pytest.raises(
        InvalidInput, match=r"unknown metric 'speed'; known: logprob, .*drift, eval_loss, .*; presets: all, quick"
    ):
        load_metrics(["speed"])


def test_a_users_metrics_file_adds_and_changes(tmp_path: Path) -> None:
    (tmp_path / "metrics.yaml").write_text(
        "metrics:\n  collapse: {samples: 5}\n  again: {_target_: claas.eval.metrics.logprob.LogprobMargin}\n"
        "presets: {mine: [again, collapse]}\n"
    )
    metrics = load_metrics(["mine"], tmp_path)
    assert list(metrics) == ["again", "collapse"]
    assert metrics["collapse"] == Collapse(samples=5)
    assert "drift" in load_metrics(["all"], tmp_path)


def test_a_users_capability_suite_is_used(tmp_path: Path) -> None:
    (tmp_path / "capability").mkdir()
    (tmp_path / "capability" / "tiny.yaml").write_text("- {id: a, prompt: b, check: {kind: exact, text: c}}\n")
    (tmp_path / "metrics.yaml").write_text("metrics: {general: {suite: tiny}}\n")
    general: Any = load_metrics(["general"], tmp_path)["general"]
    assert [item.id for item in general.items] == ["a"]


def test_a_threshold_of_what_was_one_criterion_names_the_two_it_is_now() -> None:
    with pytest.raises(
        InvalidInput, match=r"two criteria now.*set criteria\.knowledge_retention and criteria\.form_retention$"
    ):
        resolve_criteria({"capability_retention": 0.8}, load_metrics(["general"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics: {mine: {_target_: no_such_module.Thing}}", "metric mine: cannot make no_such_module.Thing"),
        ("metrics: {mine: {_target_: builtins.dict}}", "no methods due and measure"),
        ("metrics: {mine: {samples: 2}}", "_target_ must name a class"),
        ("metrics: {mine: {_target_: claas.eval.metrics.collapse.Collapse, samples: 1}}", "samples must be >= 2"),
        ("metric: {}", "metric: unknown field"),
        ("metrics: {mine: {_target_: '${nowhere}'}}", "nowhere"),
        ("metrics: [", "malformed YAML"),
    ],
)
def test_a_broken_metrics_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metrics.yaml").write_text(text)
    with pytest.raises(InvalidInput) as raised:
        load_metrics(["mine"], tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
