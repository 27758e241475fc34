"""The simulated user: speaks by rule or is played by a model, falls silent, and is asked nothing twice."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput, StackError
from claas.dashboard.report import write_report
from claas.eval.protocols.chosen import tracks_of
from claas.eval.run.plan import plan_of
from claas.eval.run.user import LONGEST_FEEDBACK, SimulatedUser, asking, open_user, opinion_in
from claas.eval.runner import prepare, run_harness
from claas.results.aggregating import aggregate
from claas.results.records import SampledBatch, Transcript
from claas.results.seed_runs import read_seed_run, settings_of
from claas.results.settings import EvalConfig, Prices, ProtocolConfig, recorded_config
from claas.results.summary import RunResults, estimated_cost
from claas.results.user import UserConfig
from tests.eval.metrics.subjects import subject
from tests.eval.protocol_runs import SHIPPED, config, on, on_record
from tests.eval.recomputing import require_recomputable
from tests.eval.scripted_run import Halting, until_halted
from tests.fakes.chat_endpoint import FakeEndpoint, Killed
from tests.fakes.stack import FakeStack

SMILE = "🙂"


def dislikes_emoji(answer: str, body: dict[str, Any]) -> str:
    """What somebody says who wants no emoji, and gives his word for it."""
    said = {"satisfied": SMILE not in answer, "feedback": "No faces, please." if SMILE in answer else ""}
    return f"<think>Let me see.</think>```json\n{json.dumps(said)}\n```"


@dataclass
class PlayedByRule(FakeEndpoint):
    """Plays the user by `rule`, which gets the answer that a message quotes, and the request."""

    rule: Callable[[str, dict[str, Any]], str] = dislikes_emoji

    def said(self, body: dict[str, Any]) -> str:
        """What the user says."""
        message = body["messages"][0]["content"]
        return self.rule(message.partition("the assistant's answer\n")[2].partition("\n#")[0], body)


def smiling(until: int) -> FakeStack:
    """Answers of the first versions have an emoji where the seed is odd, those from version `until` on have none."""
    return FakeStack(
        say=lambda adapter, prompt, seed: (
            f"It is {prompt} {seed}" + (f" {SMILE}" if adapter.version < until and seed % 2 else "")
        ),
        shift=0.1,
    )


PLAYED: dict[str, Any] = {"kind": "llm", "base_url": "http://user/v1", "model": "person", "retry_for_s": 0.0}


def asked_for(folder: Path, kind: str = "isolated", user: dict[str, Any] | None = None, **changes: Any) -> EvalConfig:
    chosen = {"preferences": ["calm"], "num_steps": 9, "batch_size": 3, "controls": [], **changes}
    return config(folder, kind, user=UserConfig(**(user or PLAYED)), **chosen)


def ran(asked: EvalConfig, stack: Any, endpoint: FakeEndpoint | None = None) -> RunResults:
    """The run, whose records agree with themselves however it ended."""
    results = asyncio.run(run_harness(asked, open_stack=on(stack), open_user=played_by(endpoint)))
    require_recomputable(results.run_dir)
    return results


def played_by(endpoint: FakeEndpoint | None) -> Any:
    return partial(open_user, transport=None if endpoint is None else httpx.ASGITransport(app=endpoint))


def complaints(results: RunResults, name: str = "calm") -> list[int]:
    return [len(step.responses) for step in results.preferences[name].steps]


def test_a_model_plays_the_user_from_a_persona_and_the_answer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAAS_USER_API_KEY", "hush-hush")
    prices, endpoint = Prices(user_prompt=2.0, user_completion=10.0), PlayedByRule()
    results = ran(asked_for(tmp_path, prices=prices), smiling(until=1), endpoint)
    said = complaints(results)
    assert said[0] > 0 == sum(said[-3:])
    assert len(said) < 9
    history, found = results.preferences["calm"], results.summary.preferences["calm"]
    assert {step.feedback_given for step in history.steps if step.responses} == {"No faces, please."}
    assert len(endpoint.bodies) == 3 * len(said)
    for body in endpoint.bodies:
        message = body["messages"][0]["content"]
        assert body["temperature"] == 0.0
        assert "What you want of every answer: Please be calm" in message
        assert not any(hidden in message for hidden in ("Verifier", "What is wind?", "What is ice?", "score"))
    assert len({body["seed"] for body in endpoint.bodies}) == len(endpoint.bodies)
    assert set(endpoint.keys) == {"Bearer hush-hush"}
    assert not any(b"hush-hush" in path.read_bytes() for path in results.run_dir.rglob("*") if path.is_file())
    read = sum(len(body["messages"][0]["content"]) // 4 for body in endpoint.bodies)
    assert (found.tokens["user_prompt"], found.tokens["user_completion"]) == (read, 10 * len(endpoint.bodies))
    assert results.summary.cost == pytest.approx((2.0 * read + 100.0 * len(endpoint.bodies)) / 1e6)
    assert found.user is not None
    assert (found.user.asked, found.user.lost) == (len(endpoint.bodies), 0)
    assert (found.user.precision.value, found.user.recall.value) == (1.0, 1.0)
    assert found.user.precision.n == found.user.recall.n == sum(said)
    write_report(results.run_dir, ended=True)
    assert "dissatisfied with precision 1.00" in (results.run_dir / "report.html").read_text()


def test_how_well_the_user_agrees_with_the_verifier_is_counted_from_what_could_be_read(tmp_path: Path) -> None:
    """Of answers with an odd seed, which the verifier does not pass, every second one is complained of."""

    def careless(answer: str, body: dict[str, Any]) -> str:
        number = int(answer.split()[-1 if SMILE not in answer else -2])
        if number % 5 == 0:
            return "I cannot say."
        return json.dumps({"satisfied": number % 4 != 1, "feedback": "Hm." if number % 4 == 1 else ""})

    asked = asked_for(tmp_path, user={**PLAYED, "patience": None})
    planned = asyncio.run(plan_of(*prepare(asked)))
    results = ran(asked, smiling(until=99), PlayedByRule(rule=careless))
    sampled = [
        (each, int((each.response or "").removesuffix(f" {SMILE}").split()[-1]))
        for step in results.preferences["calm"].steps
        for each in step.rollouts
        if each.metric == "sample"
    ]
    read = [(SMILE in (each.response or ""), number % 4 == 1) for each, number in sampled if number % 5]
    violated, complained = sum(bad for bad, _ in read), sum(said for _, said in read)
    found = results.summary.preferences["calm"].user
    assert found is not None
    assert (found.asked, found.lost) == (len(sampled), sum(number % 5 == 0 for _, number in sampled))
    assert (found.precision.n, found.recall.n) == (complained, violated)
    assert (found.precision.value, found.recall.value) == (1.0, complained / violated)
    low, high = found.recall.ci or (0, 0)
    assert low < complained / violated < high
    counts = results.summary.preferences["calm"].counts["user"]
    assert (counts.planned, counts.errored) == (found.asked, found.lost)
    assert planned.requests["user"] == found.asked


def test_what_cannot_be_read_is_lost_and_is_neither_a_complaint_nor_content(tmp_path: Path) -> None:
    results = ran(asked_for(tmp_path, num_steps=5), smiling(until=1), PlayedByRule(rule=lambda answer, body: "Nice!"))
    assert complaints(results) == [0] * 5, "nobody leaves who was not understood"
    found = results.summary.preferences["calm"].user
    assert found is not None
    assert (found.asked, found.lost, found.precision.value, found.recall.value) == (15, 15, None, None)


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ('{"satisfied": true, "feedback": ""}', (True, None)),
        ('{"satisfied": true}', (True, None)),
        ('Well. {"feedback": "Shorter!", "satisfied": false, "why": [1]} There.', (False, "Shorter!")),
        ('<think>{"satisfied": true}</think>{"satisfied": false, "feedback": " Shorter! "}', (False, "Shorter!")),
        (json.dumps({"satisfied": False, "feedback": "x" * 999}), (False, "x" * LONGEST_FEEDBACK)),
        ('{"satisfied": false}', None),
        ('{"satisfied": false, "feedback": "\\u200b \\n"}', None),
        ('{"satisfied": false, "feedback": "\\ud83d"}', None),
        ('{"satisfied": "false", "feedback": "no"}', None),
        ('{"satisfied": 1}', None),
        ('{"satisfied": null}', None),
        ('[true, "no"]', None),
        ('{"satisfied": false, "feedback": "cut', None),
        ('{"satisfied": ' + "[" * 100_000, None),
        ("", None),
    ],
)
def test_a_reply_is_read_or_lost(reply: str, read: tuple[bool, str | None] | None) -> None:
    found = opinion_in(Transcript(metric="user", item="0", prompt="", response=reply))
    assert (None if found is None else (found.satisfied, found.said)) == read


@given(st.text(), st.booleans(), st.text())
@settings(max_examples=60, deadline=None)
def test_whatever_is_said_is_bounded_and_can_be_written(before: str, satisfied: bool, feedback: str) -> None:
    reply = f"{before}{json.dumps({'satisfied': satisfied, 'feedback': feedback})}"
    found = opinion_in(Transcript(metric="user", item="0", prompt="", response=reply))
    if found is not None and found.said is not None:
        assert 0 < len(found.said.encode().decode()) <= LONGEST_FEEDBACK
        assert found.said.strip()


@given(st.lists(st.text(max_size=40), min_size=4, max_size=4), st.sampled_from(["concise", "no_emoji", "identity"]))
@settings(max_examples=40, deadline=None)
def test_the_rule_user_never_speaks_to_a_passing_answer(answers: list[str], name: str) -> None:
    preference = next(each for each in SHIPPED if each.name == name)
    track = tracks_of(EvalConfig(num_steps=1), [preference])[0]
    asked = [item.prompt for item in track.rounds[0]]
    batch = SampledBatch(
        step=0,
        transcripts=[
            Transcript(metric="sample", item=str(place), prompt=prompt, response=answer)
            for place, (prompt, answer) in enumerate(zip(asked, answers, strict=True))
        ],
    )
    user = SimulatedUser(UserConfig(kind="when_violated"))
    for remark in asyncio.run(user.remarks(subject(FakeStack()), track, batch, [])):
        passed = preference.verifier((remark.answer.response or "").strip()).passed
        assert not (passed and remark.feedback is not None) or remark.answer.response == remark.answer.prompt


def test_a_content_user_falls_silent_and_the_preference_ends(tmp_path: Path) -> None:
    asked = asked_for(
        tmp_path, user={"kind": "when_violated"}, num_steps=20, metrics=["quick", "collapse"], checkpoints=[1, 19]
    )
    results = ran(asked, smiling(until=1))
    said, history = complaints(results), results.preferences["calm"]
    last = len(said) - 1
    assert [bool(number) for number in said[-4:]] == [True, False, False, False]
    assert [step.fell_silent for step in history.steps] == [False] * last + [True]
    assert history.steps[-1].adapter.version == sum(map(bool, said))
    assert history.last_due("collapse.mean_entropy") == last + 1, "what is due at the end is measured at its end"
    found = results.summary.preferences["calm"]
    assert (found.status, found.steps_done, found.steps_planned) == ("complete", last + 1, last + 1)
    assert found.notes[-1] == f"its user fell silent: it ended after {last + 1} of 20 rounds"
    assert ran(asked, smiling(until=1)).new_steps == 0


@pytest.mark.parametrize("patience", [1, None])
def test_patience_is_the_rounds_without_a_complaint(tmp_path: Path, patience: int | None) -> None:
    user = {"kind": "when_violated", "patience": patience}
    said = complaints(ran(asked_for(tmp_path, user=user, num_steps=6), smiling(until=1)))
    silent = next(place for place in range(len(said)) if not any(said[place:]))
    assert len(said) == (6 if patience is None else silent + patience)


def test_each_stage_ends_when_its_user_has_nothing_to_say_and_the_next_one_goes_on(tmp_path: Path) -> None:
    asked = asked_for(
        tmp_path, "sequential", user={"kind": "when_violated"}, preferences=["calm", "warm"], checkpoints=[]
    )
    results = ran(asked, smiling(until=1))
    assert complaints(results, "warm") == [0, 0, 0], "the first stage has taught what both want"
    first = results.preferences["calm"].steps
    assert [bool(step.eval.get("across")) for step in first] == [False] * (len(first) - 1) + [True]
    transfer = results.summary.transfer
    assert transfer is not None
    assert transfer.matrix[1][1].value == 1.0


def test_nobody_leaves_before_they_have_changed_their_mind_and_who_says_nothing_at_all_does_not_leave(
    tmp_path: Path,
) -> None:
    protocol = ProtocolConfig(kind="flip", steps_before=5)
    asked = asked_for(tmp_path, "flip", user={"kind": "when_violated"}, protocol=protocol, num_steps=9)
    said = complaints(ran(asked, smiling(until=1)))
    assert said[1:] == [0, 0, 0, 0, 3, 3, 3, 3], "from then on an emoji is asked for"
    asked = asked_for(tmp_path / "other", user={"kind": "when_violated"}, controls=["placebo"], num_steps=5)
    assert complaints(ran(asked, smiling(until=1)), "calm.placebo") == [0] * 5


def test_an_endpoint_out_of_reach_ends_the_run_resumably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAAS_USER_API_KEY", "hush-hush")
    whole = ran(asked_for(tmp_path / "whole"), smiling(until=1), PlayedByRule())
    asked, stack = asked_for(tmp_path / "broken"), smiling(until=1)
    away: dict[str, Any] = {**PLAYED, "base_url": "http://127.0.0.1:9/v1"}
    unreached = re.escape(
        "the user, person at http://127.0.0.1:9/v1, does not answer: nothing answers at http://127.0.0.1:9/v1"
    )
    with pytest.raises(StackError, match=f"{unreached}.*then run the same command again"):
        ran(replace(asked, user=UserConfig(**away)), stack)
    locked = PlayedByRule(lists=401)
    with pytest.raises(StackError, match=r"set CLAAS_USER_API_KEY to it \(.*no, Bearer \[key\]"):
        ran(asked, stack, locked)
    assert stack.asked == [], "nothing was measured for a user who is not there"
    assert locked.bodies == []
    refusing = ran(asked, stack, PlayedByRule(refuse=lambda body: 401))
    assert "set CLAAS_USER_API_KEY to it" in refusing.failures["calm"]
    assert "no, Bearer [key]" in refusing.failures["calm"], "it says the key back"
    boasting = b'{"choices": [{"message": {}}], "usage": {"prompt_tokens": %d}}' % (10**400)
    assert "usage.prompt_tokens: Input" in ran(asked, stack, PlayedByRule(broken=boasting)).failures["calm"]
    refusing = ran(asked, stack, PlayedByRule(refuse=lambda body: 400))
    assert refusing.failures["calm"].startswith("step 0: all 3 replies of the user were lost: /v1/chat/completions was")
    assert not any(b"hush-hush" in path.read_bytes() for path in refusing.run_dir.rglob("*") if path.is_file())
    assert not ran(asked, stack, PlayedByRule()).failures
    assert on_record(tmp_path / "broken" / "run") == on_record(whole.run_dir)


@pytest.mark.parametrize(
    "kill_at", [5, pytest.param(2, marks=pytest.mark.faults), pytest.param(9, marks=pytest.mark.faults)]
)
def test_nothing_is_asked_twice_after_a_kill(tmp_path: Path, kill_at: int) -> None:
    endpoint, whole = PlayedByRule(), PlayedByRule()
    ran(asked_for(tmp_path / "whole"), smiling(until=1), whole)
    asked, stack = asked_for(tmp_path / "killed"), smiling(until=1)
    asked = replace(asked, user=replace(asked.user, max_concurrency=1))
    endpoint.kill_at = kill_at
    with pytest.raises(Killed):
        ran(asked, stack, endpoint)
    endpoint.kill_at = None
    del endpoint.bodies[kill_at - 1 :]  # they were not answered
    ran(asked, stack, endpoint)
    bodies = [json.dumps(body, sort_keys=True) for body in endpoint.bodies]
    assert sorted(bodies) == sorted(json.dumps(body, sort_keys=True) for body in whole.bodies)
    assert on_record(tmp_path / "killed" / "run") == on_record(tmp_path / "whole" / "run")


@pytest.mark.faults
@pytest.mark.parametrize("halt_at", [15, 40, 60])
def test_a_run_that_is_killed_goes_on_to_the_same_end(tmp_path: Path, halt_at: int) -> None:
    ran(asked_for(tmp_path / "whole"), smiling(until=1), PlayedByRule())
    asked, endpoint, stack = asked_for(tmp_path / "killed"), PlayedByRule(), smiling(until=1)
    dying = Halting(stack, halt_at=halt_at)
    work = run_harness(asked, open_stack=on(dying), open_user=played_by(endpoint))
    assert asyncio.run(until_halted(dying, work))
    ran(asked, stack, endpoint)
    assert len({json.dumps(body) for body in endpoint.bodies}) == len(endpoint.bodies)
    assert on_record(tmp_path / "killed" / "run") == on_record(tmp_path / "whole" / "run")


def test_a_budget_that_is_used_up_ends_the_run_and_a_raised_one_goes_on(tmp_path: Path) -> None:
    prices = Prices(user_prompt=1.0, user_completion=1000.0)
    endpoint, stack = PlayedByRule(), smiling(until=1)
    asked = asked_for(tmp_path, user={**PLAYED, "budget": 0.05, "max_tokens": 20}, prices=prices)
    said = ran(asked, stack, endpoint).failures["calm"]
    assert said.startswith("user.budget=0.05 leaves no room for the next call, of up to 0.010")
    assert said.endswith("raise it and run the same command again, which asks nothing twice")
    spent = estimated_cost(
        {
            "user_prompt": sum(len(body["messages"][0]["content"]) // 4 for body in endpoint.bodies),
            "user_completion": 10 * len(endpoint.bodies),
        },
        prices,
    )
    assert 0.03 < spent <= 0.05
    assert not ran(replace(asked, user=replace(asked.user, budget=9.0)), stack, endpoint).failures
    assert len({json.dumps(body) for body in endpoint.bodies}) == len(endpoint.bodies)


def test_one_who_says_a_thing_once_says_no_more_and_one_who_escalates_is_told_what_they_said(tmp_path: Path) -> None:
    once = ran(asked_for(tmp_path / "once", user={**PLAYED, "temper": "once"}), smiling(until=99), PlayedByRule())
    said = complaints(once)
    first = next(place for place, number in enumerate(said) if number)
    assert said[first + 1 :] == [0, 0, 0]
    endpoint = PlayedByRule()
    ran(asked_for(tmp_path / "loud", user={**PLAYED, "temper": "escalates"}, num_steps=4), smiling(until=99), endpoint)
    told = ["Be more insistent now" in body["messages"][0]["content"] for body in endpoint.bodies]
    assert told[: 3 * first + 3] == [False] * (3 * first + 3)
    assert all(told[3 * first + 3 :])
    assert '"No faces, please."' in endpoint.bodies[-1]["messages"][0]["content"]


@given(st.text(), st.text())
@settings(max_examples=40, deadline=None)
def test_no_answer_ends_its_own_quotation(prompt: str, answer: str) -> None:
    asked = Transcript(metric="sample", item="0", prompt=prompt, response=answer)
    message = asking(UserConfig(), "Less.", asked, [])
    mark = message.partition("lines that begin with ")[2].split()[0]
    assert message.count(mark) == 4
    assert mark not in prompt + answer


@pytest.mark.parametrize(
    ("user", "changes", "said"),
    [
        ({"kind": "llm"}, {}, "the user's base_url is not set: it is a model behind an OpenAI-compatible endpoint"),
        ({**PLAYED, "model": None}, {}, "the user's model is not set"),
        ({**PLAYED, "base_url": "http://me:key@user/v1"}, {}, "must not carry a key"),
        ({**PLAYED, "wish": "Hm."}, {"preferences": ["calm", "warm"]}, "user.wish is one person's"),
        (PLAYED, {"controls": ["neutral"]}, "the arms neutral have texts of their own"),
    ],
)
def test_a_user_whom_nobody_can_play_is_refused_before_anything_starts(
    tmp_path: Path, user: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        prepare(asked_for(tmp_path, user=user, **changes))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "robot"}, "unknown user.kind 'robot'; known: always, llm, when_violated"),
        ({"kind": "when_violated", "model": "x"}, "user.model is no setting of user=when_violated"),
        ({"patience": 0}, "user.patience must be >= 1, got 0"),
        ({"temper": "angry"}, "unknown user.temper 'angry'; known: escalates, once, repeats"),
    ],
)
def test_a_user_that_cannot_be_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        UserConfig(**settings)


def test_a_budget_needs_prices() -> None:
    spending: dict[str, Any] = {**PLAYED, "budget": 1.0}
    with pytest.raises(InvalidInput, match=r"user\.budget needs prices per million tokens"):
        EvalConfig(user=UserConfig(**spending))


def test_a_run_whose_user_was_a_plain_word_reads_and_goes_on_as_it_was(tmp_path: Path) -> None:
    asked = asked_for(tmp_path, user={"kind": "when_violated", "patience": None}, num_steps=5)
    stack = smiling(until=1)
    ran(asked, stack)
    path = tmp_path / "run" / "config.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["user"] = "when_violated"
    path.write_text(json.dumps(manifest))
    require_recomputable(tmp_path / "run")
    later = asked_for(tmp_path, user={"kind": "when_violated"}, num_steps=7)
    assert [ran(later, stack).new_steps for _ in range(2)] == [2, 0]


def test_one_who_never_leaves_is_the_same_whether_or_not_a_record_knows_of_patience() -> None:
    assert recorded_config({"user": "always"}).user == UserConfig()


def test_over_seeds_one_who_fell_silent_keeps_what_was_learned(tmp_path: Path) -> None:
    runs: list[Path] = []
    for seed, until in ((1, 1), (2, 3)):
        asked = asked_for(tmp_path / str(seed), user={"kind": "when_violated"}, seed=seed, num_steps=20)
        runs.append(ran(asked, smiling(until)).run_dir)
    by, grouped = settings_of([read_seed_run(folder) for folder in runs])
    found = aggregate(by, grouped).settings[0].preferences["calm"]
    curve = found.curves["heldout_compliance"]
    lengths = [len(read_seed_run(folder).histories["calm"].steps) for folder in runs]
    assert lengths[0] < lengths[1]
    assert curve.by_seed["1"][-1] == curve.by_seed["1"][lengths[0]] is not None
    assert found.to_criterion is not None
    assert found.to_criterion.restricted_to == 60, (
        "what nobody complains of does not change in the rounds that are left"
    )


def test_a_request_that_is_refused_is_a_lost_reply(tmp_path: Path) -> None:
    refused: list[int] = []

    def too_long(body: dict[str, Any]) -> int | None:
        refused.append(body["seed"])
        return 413 if len(refused) == 2 else None

    found = ran(asked_for(tmp_path, num_steps=1), smiling(until=1), PlayedByRule(refuse=too_long))
    user = found.summary.preferences["calm"].user
    assert user is not None
    assert (user.asked, user.lost) == (3, 1)
    assert found.preferences["calm"].status == "complete"
