"""What a preference's verifiers say of answers whose worth is known: non-answers, tricks, and its own logprob pairs.

A verifier that has never failed anything proves nothing."""

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from claas.core.errors import BREAKDOWNS, ExitCode, InvalidInput
from claas.core.output import Done, Parser, ended
from claas.core.terminal import results_console
from claas.eval.config.catalog import known_preferences, load_preference
from claas.eval.metrics.compliance import judge
from claas.eval.metrics.preference import KnowsBadAnswers, LogprobPair, NonAnswer, Preference, Verifier
from claas.results.records import Record


@dataclass(frozen=True)
class Finding:
    """What one verifier said of one known answer or pair.

    `key` is the verifier's in the preference, `about` a `NonAnswer`, `tricks.<name>` or `logprob_pairs.<i>`, `said` its
    score or scores.
    `problem` says on one line what is wrong with that, and the remedy; None where it is as it must be.
    """

    key: str
    about: str
    said: str
    problem: str | None = None


def require_sound(preference: Preference) -> None:
    """`InvalidInput` with the first thing that makes a verifier of this preference unfit to measure with."""
    problems = [finding.problem for finding in audit(preference) if finding.problem is not None]
    if problems:
        others = f" ({len(problems) - 1} more: python -m claas.eval.audit shows all)" if len(problems) > 1 else ""
        raise InvalidInput(f"{problems[0]}{others}")


def audit(preference: Preference) -> Iterator[Finding]:
    """Everything that must hold before the preference is used, scored exactly as a run scores answers.

    `InvalidInput` when a verifier breaks its promise or breaks down.
    """
    own = _Audited(preference.name, "verifier", preference.verifier, preference.acceptable)
    yield from own.non_answers(preference.probe_prompts + preference.heldout_prompts)
    yield from own.tricks(preference.probe_prompts[0])
    for index, pair in enumerate(preference.logprob_pairs):
        yield own.follows(f"logprob_pairs.{index}", pair)
    if preference.out_of_scope is not None:
        opposite = _Audited(preference.name, "out_of_scope_verifier", preference.out_of_scope.verifier)
        yield from opposite.non_answers(preference.out_of_scope.prompts)
        yield from opposite.tricks(preference.out_of_scope.prompts[0])
        for index, pair in enumerate(preference.logprob_pairs):
            yield opposite.opposes(f"logprob_pairs.{index}", pair)
    if preference.opposite is not None:
        turned = _Audited(preference.name, "opposite.verifier", preference.opposite.verifier)
        yield from turned.non_answers(preference.probe_prompts)
        yield from turned.tricks(preference.probe_prompts[0])


_TOKEN = re.compile(r"\w+|[^\w\s]")


def gamed_by(preference: Preference) -> list[str]:
    """The tokens of its own good answers that the preference's verifier accepts when nothing else is said.

    Many a sensible verifier looks for one token, so this refuses none: it says which high score beside a collapse
    alert not to believe.
    """
    own = _Audited(preference.name, "verifier", preference.verifier, preference.acceptable)
    texts = [pair.positive_response for pair in preference.logprob_pairs]
    tokens = dict.fromkeys(token.lower() for text in texts for token in _TOKEN.findall(text))
    return [token for token in tokens if own.score(preference.probe_prompts[0], _repeated(token)) > 0.0]


@dataclass(frozen=True)
class _Audited:
    """One verifier of a preference, and the key that it stands under."""

    preference: str
    key: str
    verifier: Verifier
    acceptable: Collection[NonAnswer] = ()

    def score(self, prompt: str, text: str) -> float:
        """The score that a run would give."""
        try:
            return judge(self.verifier, prompt, text, self.acceptable).score
        except InvalidInput as error:
            raise InvalidInput(f"{self._named}: {error}") from error
        except BREAKDOWNS as error:
            raised = " ".join(f"{type(error).__name__}: {error}".split())
            raise InvalidInput(f"{self._named} raises {raised} on {_shown(text)}; it must score any text") from error

    def non_answers(self, prompts: Sequence[str]) -> Iterator[Finding]:
        """Each kind of non-answer, an echo of every prompt among them, scores 0 unless it is acceptable."""
        answers = {
            NonAnswer.EMPTY: [(prompts[0], "")],
            NonAnswer.DOT: [(prompts[0], ".")],
            NonAnswer.ECHO: [(prompt, said) for prompt in prompts for said in (prompt, f"{prompt} {prompt}")],
            NonAnswer.REPEATED: [(prompts[0], _repeated("the"))],
        }
        for kind, asked in answers.items():
            score, text = max((self.score(prompt, said), said) for prompt, said in asked)
            if kind in self.acceptable:
                yield Finding(self.key, kind, f"{score:g} (acceptable)")
            else:
                yield Finding(self.key, kind, f"{score:g}", self._accepts(kind, text, score) if score > 0 else None)

    def tricks(self, prompt: str) -> Iterator[Finding]:
        """Each answer that the verifier itself knows to be bad scores 0."""
        verifier: object = self.verifier
        if not isinstance(verifier, KnowsBadAnswers):
            return
        for name, text in verifier.known_bad().items():
            score = self.score(prompt, text)
            problem = (
                f"{self._named} gives {score:.3g} to {_shown(text)}, which it names as bad ({name}); make it score 0"
            )
            yield Finding(self.key, f"tricks.{name}", f"{score:g}", problem if score > 0 else None)

    def follows(self, about: str, pair: LogprobPair) -> Finding:
        """The positive response scores higher, where the two are meant to be told apart."""
        positive, negative = self._scores(pair)
        said = _compared(positive, negative)
        if not pair.told_apart:
            return Finding(self.key, about, f"{said} (not told apart)")
        problem = (
            f"{self._named} scores the responses of {about} {said} (positive, negative), but the positive one must "
            "score higher; correct the verifier or the pair, or, if it is not meant to tell these two apart, add "
            "`told_apart: false` to the pair"
        )
        return Finding(self.key, about, said, None if positive > negative else problem)

    def opposes(self, about: str, pair: LogprobPair) -> Finding:
        """The positive response does not score higher: this verifier wants what the preference does not."""
        positive, negative = self._scores(pair)
        said = _compared(positive, negative)
        problem = (
            f"{self._named} scores the responses of {about} {said} (positive, negative), but the positive one is not "
            "what users want who ask for the opposite of the preference; correct the verifier"
        )
        return Finding(self.key, about, said, problem if positive > negative else None)

    def _scores(self, pair: LogprobPair) -> tuple[float, float]:
        prompt = pair.prompt_messages[-1]["content"]
        return self.score(prompt, pair.positive_response), self.score(prompt, pair.negative_response)

    def _accepts(self, kind: NonAnswer, text: str, score: float) -> str:
        remedy = "make it score 0"
        if self.key == "verifier":
            remedy += f", or, if that does show the preference, add `acceptable: [{kind}]` to the preference"
        return f"{self._named} gives {score:.3g} to {_shown(text)}, which answers nothing; {remedy}"

    @property
    def _named(self) -> str:
        return f"preference {self.preference!r}: the {self.key} {type(self.verifier).__name__}"


def _compared(positive: float, negative: float) -> str:
    sign = ">" if positive > negative else "=" if positive == negative else "<"
    return f"{positive:.3g} {sign} {negative:.3g}"


_TIMES = 40


def _repeated(token: str) -> str:
    return " ".join([token] * _TIMES)


def _shown(text: str) -> str:
    return f"the answer {text!r}" if len(text) <= 60 else f"the answer {text[:50]!r}..."


UNSOUND = 1


class AuditedPreference(Record):
    """What the audit says of a preference. `findings` are empty where a verifier broke down; `also_satisfied_by` are
    tokens that its verifier accepts over and over."""

    sound: bool
    findings: list[Finding]
    also_satisfied_by: list[str]


class Audit(Record):
    """What the audit says of preferences by name, and each problem in a line."""

    preferences: dict[str, AuditedPreference]
    problems: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 all sound, 1 some not, 2 the user's mistake."""
    return ended("claas.eval.audit", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    asked = _parser().parsed(arguments)
    names = asked.preferences or known_preferences(asked.config_dir)
    return _report([load_preference(name, asked.config_dir) for name in names])


def _parser() -> Parser:
    parser = Parser(
        "claas audit",
        "Score known answers with the verifiers of preferences, and say which cannot be measured with.",
    )
    parser.add_argument("preferences", nargs="*", metavar="PREFERENCE", help="names or paths; without any: all known")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of yours with preference/*.yaml")
    return parser


def _report(preferences: Sequence[Preference]) -> Done:
    """Print the table, every problem, and what is worth knowing of the sound ones."""
    audited: dict[str, tuple[Preference, list[Finding]]] = {}
    said: dict[str, AuditedPreference] = {}
    problems, notes = list[str](), list[str]()
    for preference in preferences:
        try:
            findings, tokens = list(audit(preference)), gamed_by(preference)
        except InvalidInput as error:  # a verifier broke down: there are no scores to show
            problems.append(str(error))
            said[preference.name] = AuditedPreference(sound=False, findings=[], also_satisfied_by=[])
            continue
        audited[preference.name] = (preference, findings)
        unsound = [finding.problem for finding in findings if finding.problem is not None]
        problems += unsound
        said[preference.name] = AuditedPreference(sound=not unsound, findings=findings, also_satisfied_by=tokens)
        if not preference.heldout_prompts:
            judged = "judged on prompts that were trained on; no held-out prompts given"
            notes.append(f"note: compliance of {preference.name} is {judged}")
        if tokens and not unsound:
            notes.append(f"note: {preference.name} is also satisfied by {', '.join(map(repr, tokens))} over and over")
    console = results_console()
    if audited:
        console.print(audit_table(audited))
    for line in problems:
        console.print(Text(line, style="red"), soft_wrap=True)
    for line in notes:
        console.print(Text(line), soft_wrap=True)
    return Done(UNSOUND if problems else ExitCode.COMPLETE, Audit(preferences=said, problems=problems))


def audit_table(audited: Mapping[str, tuple[Preference, Sequence[Finding]]]) -> Table:
    """A row per verifier: its score of each kind of non-answer, of the trick it likes best, and of each pair's two."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("preference", "verifier", *NonAnswer, "tricks", "pairs", "sound"):
        table.add_column(heading, overflow="fold")
    for name, (preference, findings) in audited.items():
        rows = {"verifier": preference.verifier}
        if preference.out_of_scope is not None:
            rows["out_of_scope_verifier"] = preference.out_of_scope.verifier
        if preference.opposite is not None:
            rows["opposite.verifier"] = preference.opposite.verifier
        for key, verifier in rows.items():
            about = {finding.about: finding for finding in findings if finding.key == key}
            sound = all(finding.problem is None for finding in about.values())
            non_answers = [about.pop(kind) for kind in NonAnswer]
            tricks = [about.pop(name) for name in list(about) if name.startswith("tricks.")]
            best_trick = [max(tricks, key=lambda trick: float(trick.said))] if tricks else []
            table.add_row(
                Text(name),
                Text(type(verifier).__name__),
                *(_cell([finding]) for finding in non_answers),
                _cell(best_trick),
                _cell(list(about.values())),
                Text("yes" if sound else "NO", style="" if sound else "bold red"),
            )
    return table


def _cell(findings: Sequence[Finding]) -> Text:
    """A line for each different thing that is said, with how often it is."""
    said = Counter((finding.said, "red" if finding.problem else "") for finding in findings)
    lines = [Text(f"{words} ×{times}" if times > 1 else words, style) for (words, style), times in said.items()]
    return Text("\n").join(lines)


if __name__ == "__main__":
    sys.exit(main())
