"""`python -m claas.bench.judge a=... b=...`: whose answers does a judge prefer, and can it be trusted?"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from claas.bench.judge.answers import Answered, AnswerPair, Asked, file_name, pairs_of, read_questions, recorded, rows
from claas.bench.judge.asking import AskedModel
from claas.bench.judge.comparison import JudgedPairs, judge_pairs, judged_by
from claas.bench.judge.judge import Judge, judgment_log, open_judge
from claas.bench.judge.prompt import JudgePrompt
from claas.bench.judge.settings import JudgePrices, JudgeSettings, require_priced
from claas.bench.settings import ApiSettings
from claas.core.command_line import Command
from claas.core.concurrency import both, run_until_terminated
from claas.core.configuration import check_limits, setting
from claas.core.errors import ExitCode, InvalidInput
from claas.core.files import working_in, write_atomically
from claas.core.output import Done, say
from claas.core.settings import config_root
from claas.eval.stacks.http_client import HttpClient
from claas.eval.stacks.open_stack import check_stack, open_client
from claas.results.judge_results import JudgeResult
from claas.results.judging import Winner, WinRates
from claas.results.numbers import fixed, span
from claas.results.records import utc_now
from claas.results.reliability import Labels, Reliability, reliability
from claas.results.statistics import Interval

_USAGE = """\
claas bench judge a=SIDE b=SIDE judge.base_url=URL judge.model=NAME [key=value ...]

  claas bench judge a=base b=eval-concise-mine@20 questions=mt_bench store_dir=data/evals/mine/stack \\
      judge.base_url=https://api.openai.com/v1 judge.model=gpt-4.1 prices.prompt=2 prices.completion=8 budget_usd=1
  claas bench judge a=data/evals/mine/concise@0 b=data/evals/mine/concise@20 judge...
  claas bench judge a=results/base b=results/sft judge... reliability=true human=labels.jsonl

A side is a model (base, eval-concise@20), a .jsonl file of rows {prompt, answer} or {id, turns, answers}, the folder of
a benchmark run, or a preference of a run, as it was after so many updates (@20). How often b wins is said. The judge's
key is read from the environment variable JUDGE_API_KEY. The same command again asks nothing that was answered.

"""


@dataclass
class JudgeConfig(ApiSettings):
    """Whose answers are compared, by which judge. The API settings are those of sides that are models."""

    a: str = setting("", "the side that is compared with: base, an adapter's version, a file, or a folder")
    b: str = setting("", "the side whose win rate is found")
    questions: str | None = setting(
        None, "a .jsonl file of rows {id, turns[, reference]}, or mt_bench; null: what a recorded side was asked"
    )
    only: str = setting("", "only questions whose id begins with this, such as compliance/heldout/")
    limit: int | None = setting(None, "the most questions", low=1)
    answer_tokens: int = setting(1024, "bound of each answer of a side that is a model", low=1)
    judge: JudgeSettings = setting(JudgeSettings(), "who judges")
    prices: JudgePrices = setting(JudgePrices(), "what the judge costs")
    budget_usd: float | None = setting(
        None, "stop before the call that would bring judgments.jsonl beyond this; null: no bound", low=0.0, above=True
    )
    reliability: bool = setting(False, "judge everything once more, with another seed, to see whether it agrees")
    human: str | None = setting(None, "a .jsonl file of rows {item, winner: a, b or tie[, person]} to compare with")
    output_dir: str | None = setting(None, "null: results/judge/<b>-over-<a>")

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        default = f"results/judge/{file_name(self.b)}-over-{file_name(self.a)}"
        return Path(self.output_dir or default).expanduser()


COMMAND = Command("claas.bench.judge", JudgeConfig, config_root() / "bench", "judge", _USAGE)


def main(arguments: Sequence[str] | None = None, transport: httpx.AsyncBaseTransport | None = None) -> int:
    """The `ExitCode`, 3 where a call was lost or the budget used up. `transport` stands in for the judge's server."""
    return COMMAND.ended(lambda job: run_until_terminated(_run(job.config, transport)), arguments)


async def _run(config: JudgeConfig, transport: httpx.AsyncBaseTransport | None) -> Done:
    _require_complete(config)
    labels = None if config.human is None else _labels(config.human)
    taken = f"another process is at work in {config.folder}; wait for it, or give this one another output_dir"
    with working_in(config.folder, ".lock", taken):
        log = judgment_log(config.folder / "judgments.jsonl")
        async with open_judge(
            config.judge, log, prices=config.prices, budget_usd=config.budget_usd, transport=transport
        ) as judge:
            pairs, unpaired = await _pairs(config, judge)
            _require_of_items(labels, pairs)
            found = await judge_pairs(judge, pairs, config.judge.seed)
            again = await judge_pairs(judge, pairs, config.judge.seed + 1) if config.reliability else None
        trust = reliability(found.items, found.calls, None if again is None else again.items, labels)
        passes = [found] if again is None else [found, again]
        result = _result(config, judge, passes, trust, unpaired)
        write_atomically(config.folder / "judge.json", result.model_dump_json(indent=1) + "\n")
    print("\n".join(_lines(result)))
    print(f"results: {config.folder}")
    if judge.budget.refused is not None:
        say("claas.bench.judge", judge.budget.refused)
    elif result.lost_calls:
        say("claas.bench.judge", f"{result.lost_calls} calls were lost, the first: {result.reason}; run it again")
    return Done(ExitCode.RESUMABLE if judge.budget.refused or result.lost_calls else ExitCode.COMPLETE, result)


def _require_complete(config: JudgeConfig) -> None:
    """`InvalidInput` on what is wrong with the command, before anything is asked."""
    if not config.a or not config.b:
        raise InvalidInput("give two sides, as in a=base b=eval-concise@20")
    if config.a == config.b:
        raise InvalidInput(f"a and b are both {config.a}: nothing is to be compared")
    config.judge.endpoint()
    JudgePrompt.from_file(config.judge.prompt)
    require_priced(config.budget_usd, config.prices)


def _require_of_items(labels: Labels | None, pairs: Sequence[AnswerPair]) -> None:
    items = {pair.asked.id for pair in pairs}
    if labels is not None and not any(items & said.keys() for said in labels.values()):
        raise InvalidInput(f"human: no label is of an item that is compared; those are called like {pairs[0].asked.id}")


async def _pairs(config: JudgeConfig, judge: Judge) -> tuple[list[AnswerPair], int]:
    """What is judged, and how many answers have no counterpart. No model is asked while the judge cannot be reached."""
    a, b = recorded(config.a), recorded(config.b)
    asked = None if config.questions is None else read_questions(config.questions)
    if asked is None:
        if a is None and b is None:
            raise InvalidInput("both sides are models: give questions, a .jsonl file or mt_bench, to ask them")
        asked = list({each.asked.turns: each.asked for each in [*(b or []), *(a or [])]}.values())
    asked = [each for each in asked if each.id.startswith(config.only)]
    if not asked:
        raise InvalidInput(f"no question has an id that begins with {config.only!r}")
    if a is None or b is None:
        asked = asked[: config.limit]
        check_stack(config.stack())
        await judge.endpoint.require_reached()
        async with open_client(config.stack(), Path(config.store_dir)) as client:
            a, b = await both(_side(config, client, config.a, a, asked), _side(config, client, config.b, b, asked))
    pairs, unpaired = pairs_of(a, b, asked)
    return pairs[: config.limit], unpaired


async def _side(
    config: JudgeConfig, client: HttpClient, name: str, known: list[Answered] | None, asked: Sequence[Asked]
) -> list[Answered]:
    """The answers on record, else those that the model gives now."""
    if known is not None:
        return known
    path = config.folder / f"answers.{file_name(name)}.jsonl"
    model = AskedModel(client, name, config.model, config.answer_tokens, path)
    answers = await model.answers(asked)
    for question, reason in list(model.lost.items())[:1]:
        say("claas.bench.judge", f"{len(model.lost)} answers of {name} were lost, the first {question}: {reason}")
    if model.truncated:
        say(
            "claas.bench.judge", f"{model.truncated} answers of {name} were cut off at answer_tokens={model.max_tokens}"
        )
    return answers


def _labels(source: str) -> Labels:
    """What people say, from a file."""
    found: dict[str, dict[str, Winner]] = {}
    for where, row in rows(Path(source).expanduser()):
        item, said, person = row.get("item", row.get("id")), row.get("winner", row.get("label")), row.get("person", "")
        if item is None or said not in ("a", "b", "tie"):
            raise InvalidInput(f"{where} must have an item and a winner, which is a, b or tie")
        of_one = found.setdefault(str(person), {})
        if str(item) in of_one:
            raise InvalidInput(f"{where}: {item} has a label already by {str(person) or 'the same person'}")
        of_one[str(item)] = said
    if not found:
        raise InvalidInput(f"{source} has no labels")
    return found


def _result(
    config: JudgeConfig, judge: Judge, passes: Sequence[JudgedPairs], trust: Reliability, unpaired: int
) -> JudgeResult:
    calls = [call for each in passes for call in each.calls]
    lost = [reason for each in passes for reason in each.lost]
    read = sum(call.prompt_tokens or 0 for call in calls)
    written = sum(call.completion_tokens or 0 for call in calls)
    return JudgeResult(
        **WinRates.over(passes[0].items).model_dump(),
        timestamp=utc_now(),
        a=config.a,
        b=config.b,
        judge=judged_by(judge, calls),
        reliability=trust,
        calls=len(calls),
        lost_calls=len(lost),
        reason=lost[0] if lost else None,
        unasked=passes[0].unasked,
        unpaired=unpaired,
        prompt_tokens=read,
        completion_tokens=written,
        cost_usd=config.prices.cost_usd(read, written) if config.prices.known else None,
        items=passes[0].items,
    )


def _lines(result: JudgeResult) -> list[str]:
    """The result, for a person."""
    ci = span(Interval(*result.ci) if result.ci else None, 3)
    cost = "" if result.cost_usd is None else f", {result.cost_usd:.4f} USD"
    left = [
        f"{count} {what}"
        for count, what in (
            (result.unreadable, "unreadable"),
            (result.lost, "without a reply"),
            (result.unasked, "not asked"),
            (result.unpaired, "without a counterpart"),
        )
        if count
    ]
    return [
        f"{result.b} over {result.a}: win rate {fixed(result.win_rate, 3)} (95 % CI {ci}), "
        f"length-controlled {fixed(result.length_controlled, 3)}",
        f"  of {result.n} items {result.wins} won, {result.losses} lost, {result.ties} tied ({result.flipped} flipped "
        f"with the order, {result.identical} identical){'; left out: ' + ', '.join(left) if left else ''}",
        f"  judged by {result.judge.model}, prompt {result.judge.prompt} ({result.judge.prompt_sha256[:8]}): "
        f"{result.calls} calls, {result.prompt_tokens} tokens read, {result.completion_tokens} written{cost}",
        "can the judge be trusted?",
        *_lines_of_trust(result.reliability),
    ]


def _lines_of_trust(trust: Reliability) -> list[str]:
    first = span(Interval(*trust.first_position_ci) if trust.first_position_ci else None, 2)
    lines = [
        f"  same winner in both orders   {fixed(trust.position_consistency, 2)} of {trust.n} items",
        f"  prefers what stands first    {fixed(trust.first_position_share, 2)} ({first})",
        f"  replies with a verdict       {fixed(trust.readable, 2)}",
    ]
    if trust.self_disagreement is not None:
        lines.append(f"  otherwise when asked again   {fixed(trust.self_disagreement, 2)} of {trust.repeated} items")
    if trust.human is not None:
        human = trust.human
        lines.append(
            f"  agrees with people           {fixed(human.agreement, 2)} of {human.n} labels, kappa "
            f"{fixed(human.cohen_kappa, 2)}, alpha {fixed(human.krippendorff_alpha, 2)}"
        )
    return [*lines, *(f"  NO: {warning}" for warning in trust.warnings)]


if __name__ == "__main__":
    sys.exit(main())
