"""Which items the training turned right or wrong, with both answers, and nothing cut without saying so."""

import io
from pathlib import Path

from rich.console import Console

from claas.eval.reporters.verdict_table import verdict_report
from claas.results.items import ItemChanges
from claas.results.records import History, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import build_summary
from claas.results.verdict import judge
from tests.results.synthetic_runs import World, make_history
from tests.results.test_verdict import at_last_step, lost


def changed(history: History) -> dict[str, ItemChanges]:
    return judge(history, {}).changed_items


def answering(text: str, passed: bool, score: float | None = None) -> dict[str, object]:
    return {"response": text, "verdict": {"score": float(passed) if score is None else score, "passed": passed}}


def with_changes(rollout: Transcript) -> Transcript:
    if rollout.item in ("capability/0", "capability/1"):
        return rollout.model_copy(update=answering("wrong now", False))
    if rollout.item == "capability/39":
        return rollout.model_copy(update=answering("right now", True))
    return lost(rollout) if rollout.item == "capability/5" else rollout


def test_items_lost_and_gained_are_listed_by_id_with_both_answers() -> None:
    items = changed(at_last_step(make_history(), with_changes))["capability"]
    assert (items.n, items.lost, items.gained) == (40, ["capability/0", "capability/1"], ["capability/39"])
    assert items.unmeasured == ["capability/5"]
    assert items.mcnemar_p == 1.0
    assert list(items.answers) == ["capability/0", "capability/1", "capability/39"]
    answers = items.answers["capability/1"]
    assert (answers.prompt, answers.before, answers.after) == ("p", "r", "wrong now")


def test_held_out_and_probe_prompts_are_sets_of_their_own() -> None:
    found = changed(make_history())
    assert list(found) == ["capability", "heldout", "probe"]
    assert (len(found["heldout"].gained), found["heldout"].lost) == (61, [])
    assert found["heldout"].mcnemar_p == 2 / 2**61
    assert set(found["probe"].gained) <= {f"probe/{i}" for i in range(8)}


def test_out_of_scope_prompts_are_a_set_where_they_were_asked() -> None:
    def scoped(passed: bool) -> Transcript:
        return Transcript(metric="scope", item="out_of_scope/0", prompt="p", **answering("r", passed))

    history = make_history()
    assert history.baseline is not None
    values, last = {"over_application_rate": 1.0}, history.steps[-1]
    baseline = history.baseline.model_copy(update={"rollouts": [*history.baseline.rollouts, scoped(True)]})
    step = last.model_copy(update={"rollouts": [*last.rollouts, scoped(False)], "eval": {**last.eval, **values}})
    found = changed(History("concise", 6, baseline, (*history.steps[:-1], step)))
    assert found["out_of_scope"].lost == ["out_of_scope/0"]


def test_a_score_between_0_and_1_does_not_pass() -> None:
    """The verifier's own strict reading decides: from 1 to 0.8 is lost, and from 0.2 to 0.8 is no change."""

    def nearly(rollout: Transcript) -> Transcript:
        return rollout.model_copy(update=answering("r", False, 0.8)) if rollout.metric == "general" else rollout

    assert len(changed(at_last_step(make_history(), nearly))["capability"].lost) == 36


def test_a_long_answer_says_how_much_of_it_is_left_out() -> None:
    def long(rollout: Transcript) -> Transcript:
        return rollout.model_copy(update=answering("x" * 1000, False)) if rollout.item == "capability/0" else rollout

    after = changed(at_last_step(make_history(), long))["capability"].answers["capability/0"].after
    assert after == "x" * 400 + " … [600 more characters in the records]"


def test_a_run_that_changes_no_item_lists_none() -> None:
    class Steady(World):
        heldout = probe = staticmethod(lambda t: 0.5)

    for items in changed(make_history(Steady())).values():
        assert (items.lost, items.gained, items.answers, items.mcnemar_p) == ([], [], {}, 1.0)


def test_before_the_first_step_nothing_can_have_changed() -> None:
    assert changed(make_history(done=0)) == {}


def test_the_end_of_a_run_shows_which_items_changed_and_not_what_was_said() -> None:
    page = Console(file=io.StringIO(), width=200)
    histories = {"concise": at_last_step(make_history(), with_changes)}
    page.print(verdict_report(build_summary("r", EvalConfig(preferences=["concise"]), histories), Path("a")))
    assert isinstance(page.file, io.StringIO)
    shown = page.file.getvalue()
    assert "capability items: 2 of 40 lost, 1 of 40 gained, McNemar exact p = 1" in shown
    assert "heldout items: none lost, 61 of 64 gained, McNemar exact p = " in shown
    assert "wrong now" not in shown
