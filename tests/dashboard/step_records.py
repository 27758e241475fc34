"""Records of one measurement made by hand, and what a reader of its page sees of them."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from claas.dashboard.step_choice import StepQuery
from claas.dashboard.step_page import StepView, step_page
from claas.results.records import AdapterVersion, Baseline, Counts, StepRecord, Transcript

HOSTILE = """</dd></p><script>alert(1)</script><img src=x onerror=alert(2)>"'&amp;{{ 7 * 7 }}{% raw %}"""
VOID = {"meta", "link", "br", "img", "input"}


def said(item: str, response: str | None = "Yes.", passed: bool | None = None, **changes: Any) -> Transcript:
    """A sampled answer, judged where `passed` says how."""
    verdict = None if passed is None else {"score": float(passed), "passed": passed}
    error = "timed out" if response is None else None
    fields = {"metric": "compliance", "prompt": f"Prompt of {item}?", "temperature": 0.0, "error": error}
    return Transcript(**{**fields, "item": item, "response": response, "verdict": verdict, **changes})


def of_tokens(tokens: list[str], logprobs: list[float], response: str, **changes: Any) -> Transcript:
    return said("heldout/0", response, tokens=tokens, logprobs=logprobs, **changes)


def baseline(*rollouts: Transcript, **changes: Any) -> Baseline:
    return Baseline(**{**_record(0, rollouts), "preference": "calm", **changes})


def step(*rollouts: Transcript, number: int = 4, **changes: Any) -> StepRecord:
    trained = {
        "feedback_given": "Calmer, please",
        "prompts": ["Trained on?"],
        "responses": ["The answer trained on."],
        "rollout_ids": ["rollout-9"],
        "sdpo_metrics": {"total_loss": 0.25},
    }
    record = {**_record(number + 1, rollouts), **trained, "preference": "calm", "step": number}
    return StepRecord(**{**record, **changes})


def links(query: StepQuery) -> str:
    return "/step?" + urlencode({name: value for name, value in query.parameters().items() if value is not None})


def viewed(before: Baseline, now: StepRecord | None, **asked: Any) -> StepView:
    """The view of a measurement in a run of ten steps, five of which are measured."""
    query = StepQuery(0 if now is None else now.step + 1, **asked)
    return StepView("calm", 10, 5, before, now, query, links)


def page(before: Baseline, now: StepRecord | None, **asked: Any) -> str:
    html = step_page(viewed(before, now, **asked), "run", "/run")
    Balanced().feed(html)
    return html


def text_of(html: str) -> str:
    """What the page says, tags taken out."""
    return unescape(re.sub(r"<[^>]*>", "", html))


class Balanced(HTMLParser):
    """Fails where a tag is closed that was not opened last, or has what runs or fetches something."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "img", "iframe", "object", "form"}, tag
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in {"src", "style"}, name
            assert name != "href" or (value or "").startswith(("/", "#", "?")), value
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag, tag


def _record(version: int, rollouts: tuple[Transcript, ...]) -> dict[str, Any]:
    return {
        "timestamp": "2026-01-02T03:04:05.678+00:00",
        "adapter": AdapterVersion(lora_id="eval/calm", version=version, digest=f"{version:064x}"),
        "eval": {},
        "counts": {"compliance": Counts(planned=len(rollouts), scored=len(rollouts), errored=0)},
        "rollouts": list(rollouts),
        "timing_s": {"measure": 1.5},
        "tokens": {"prompt": 10},
    }
