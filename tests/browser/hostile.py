"""Text that tries to be something else, in every place of a run that holds text."""

from claas.results.records import Baseline, History, StepRecord, Transcript
from tests.dashboard.written_runs import few

NASTY = """<img src=x onerror=pwned=1> "'&amp; {{ 7*7 }} {% raw %} שלום\u202eevil 🎉 $(id) """ + "w" * 60
"""As a name of folders: without a slash."""

SCRIPT = "</script></dd></p></textarea><script>window.pwned = 1; alert(1)</script>"
HANDLER = (
    """<img src="https://evil.example/x.png" onerror="window.pwned = 1"><svg onload=pwned=1><iframe src=/v1/eval>"""
)
LINK = """<a href="javascript:pwned=1">link</a><style>* { display: none }</style><meta http-equiv=refresh content=0>"""
TEXTS = (
    f"{SCRIPT} {{{{ 7*7 }}}} {{% raw %}} ${{7*7}}",
    f"{HANDLER} {LINK}",
    "لا تكتب أكثر من ذلك من فضلك " * 8 + "עברית ואנגלית mixed",
    "👩‍👩‍👧‍👦🏳️‍🌈🎉" * 20,
    "nul \x00 bell \x07 escape \x1b[31mred\x1b[0m del \x7f \u202e reversed \u2066 isolated \ufeff",
    "W" * 100_000,
    "long " * 20_000,
    "",
)


def nasty_history() -> History:
    """Every prompt, answer, item, metric, feedback, name and reason is hostile; the last record lost one answer."""
    history = few(NASTY, steps=2)
    assert history.baseline is not None
    steps = tuple(_nasty(step) for step in history.steps)
    steps = tuple(step.model_copy(update=_trained(number)) for number, step in enumerate(steps))
    return History(NASTY, 2, _nasty(history.baseline), steps, failure=f"{HANDLER} {SCRIPT} {'W' * 300}")


def _trained(number: int) -> dict[str, object]:
    return {
        "feedback_given": TEXTS[number],
        "prompts": [TEXTS[1]],
        "responses": [TEXTS[5]],
        "sdpo_metrics": {SCRIPT: 1.0, "total_loss": 0.5},
    }


def _nasty(record: Baseline | StepRecord) -> Baseline | StepRecord:
    rollouts = [_rollout(rollout, number) for number, rollout in enumerate(record.rollouts)]
    return record.model_copy(
        update={
            "rollouts": rollouts,
            "eval": {**record.eval, HANDLER: 0.5},
            "timing_s": {**record.timing_s, HANDLER: 1.0},
            "tokens": {**record.tokens, SCRIPT: 7},
            "adapter": record.adapter.model_copy(update={"lora_id": f"eval/{HANDLER}"}),
        }
    )


def _rollout(rollout: Transcript, number: int) -> Transcript:
    prompt, said = TEXTS[number % len(TEXTS)], TEXTS[(number + 1) % len(TEXTS)]
    changed: dict[str, object] = {"prompt": prompt or "p", "response": said, "item": f"{rollout.item}/{HANDLER}"}
    if rollout.item.startswith("sample/"):
        changed = {"prompt": prompt or "p", "tokens": [SCRIPT] * 10}
    if rollout.item.startswith("heldout/1"):
        changed |= {"response": None, "error": f"{SCRIPT} {HANDLER}", "verdict": None}
    return rollout.model_copy(update=changed)
