"""What the tables of `claas.results` have in their columns, by the table's name; docs/reference.md is made of it."""

from dataclasses import dataclass

FRAMES_VERSION = 1
"""Grows when a column goes or means something else; a column more is no new version."""


@dataclass(frozen=True)
class Column:
    """One column: `kind` is its pandas dtype, `meaning` what stands in it and what an empty cell means."""

    name: str
    kind: str
    meaning: str


_TEXT, _WHOLE, _NUMBER, _FLAG, _TIME = "str", "Int64", "float64", "boolean", "datetime64[ns, UTC]"

_RUN = (
    Column("run", _TEXT, "the run's folder, as below the folder that was named"),
    Column("seed", _WHOLE, "of the run"),
    Column("protocol", _TEXT, "isolated, sequential, mixed, flip, or a function of one's own"),
)

_TRACK = (
    *_RUN,
    Column("arm", _TEXT, "what the adapter was told: feedback, or the rule of a control"),
    Column("control_of", _TEXT, "of a control the track that it is beside; empty of a track that is judged"),
    Column("track", _TEXT, "the folder of its records; in most runs the preference's name"),
)

_VERSION = (
    Column("update", _WHOLE, "updates of this track so far: 0 is the baseline, k + 1 what step k of steps.jsonl made"),
    Column("version", _WHOLE, "of the adapter; of tracks on one adapter it goes on where `update` starts anew"),
    Column("digest", _TEXT, "what identifies these weights"),
)

_TAUGHT = Column(
    "taught",
    _TEXT,
    "the preference whose feedback made this version, `not <preference>` once its user has changed their mind, and "
    "`a, b` of several at once; empty at baseline and of arms that say something else",
)

RUNS = (
    *_RUN,
    Column("arm", _TEXT, "what the run's own adapters were told: `feedback` unless it is an arm by itself"),
    Column("controls", _TEXT, "other arms beside the run"),
    Column("state", _TEXT, "complete, running, stopped (the same command continues it), failed, unreadable or foreign"),
    Column("problem", _TEXT, "why it is unreadable or failed, or what of it could not be read; empty when all is well"),
    Column("verdict", _TEXT, "pass, fail or inconclusive; empty before the run is complete"),
    Column("mode", _TEXT, "the engine that answered and learned"),
    Column("base_model", _TEXT, "what the adapters are on"),
    Column("preferences", _TEXT, "their names"),
    Column("updates", _WHOLE, "made so far, controls included"),
    Column("planned_updates", _WHOLE, "of all tracks"),
    Column("tokens", _WHOLE, "read, sampled and trained on"),
    Column("seconds", _NUMBER, "for which it was worked on, pauses left out"),
    Column("busy_seconds", _NUMBER, "for which its tracks were, one by one: more where they are trained side by side"),
    Column("cost", _NUMBER, "in the currency of the run's prices; empty where it has none"),
    Column("tags", _TEXT, "what a person calls it: `claas results tag`"),
    Column("note", _TEXT, "what a person noted"),
    Column("archived", _FLAG, "whether lists leave it out"),
    Column("created", _TIME, "when it was started"),
    Column("claas_version", _TEXT, "the version of this project that started it"),
    Column("git_commit", _TEXT, "of a source checkout"),
    Column("run_id", _TEXT, "its name in adapters and idempotency keys"),
    Column("path", _TEXT, "of its folder"),
)
"""After these comes a column for every setting that is not the same in all runs, by its dotted name."""

STEPS = (
    *_TRACK,
    Column("preference", _TEXT, "the one that the number is about; `mixed` of several at once"),
    _TAUGHT,
    *_VERSION,
    Column("timestamp", _TIME, "when the record was written"),
    Column("source", _TEXT, "where the key stands in the record: eval, counts, sdpo_metrics, timing_s or tokens"),
    Column("key", _TEXT, "the number's name there, dotted: logprob_margin.margin; of counts heldout.scored"),
    Column("value", _NUMBER, "empty where it was due and lost; where it was not due there is no row"),
    Column("low", _NUMBER, "lower end of the interval that pages and plots draw; empty where they draw none"),
    Column("high", _NUMBER, "its upper end"),
)

SAMPLES = (
    *_TRACK,
    Column("preference", _TEXT, "the one that the track is measured by; `mixed` of several at once"),
    _TAUGHT,
    *_VERSION,
    Column("metric", _TEXT, "what it was asked for; `sample` of the answers that feedback was given on"),
    Column("item", _TEXT, "which of the metric's items: heldout/12"),
    Column("prompt", _TEXT, "what was asked"),
    Column("response", _TEXT, "the answer, or the text that was scored; empty where it was lost"),
    Column("score", _NUMBER, "the verifier's, in [0, 1]; empty where none judged it"),
    Column("passed", _FLAG, "the verifier's strict reading"),
    Column("error", _TEXT, "why it was lost"),
    Column("trained", _FLAG, "whether this answer is one that the update was made of"),
    Column("feedback", _TEXT, "what its user said of it"),
    Column("finish_reason", _TEXT, "stop or length"),
    Column("temperature", _NUMBER, "as asked for"),
    Column("sampling_seed", _WHOLE, "as asked for"),
    Column("prompt_tokens", _WHOLE, "read"),
    Column("completion_tokens", _WHOLE, "sampled or scored"),
    Column("logprob", _NUMBER, "of the whole response, nats: the sum over its tokens"),
    Column("mean_entropy", _NUMBER, "nats per token"),
    Column("rollout_id", _TEXT, "by which the API knows the answer"),
    Column("verdict", _TEXT, "all that the verifier said, as JSON"),
)

CRITERIA = (
    *_TRACK,
    Column("preference", _TEXT, "what is judged; empty of a criterion of the run as a whole"),
    Column("criterion", _TEXT, "its name, as in criteria.margin_gain=3"),
    Column("key", _TEXT, "of the number that it judges; empty where the run does not tell"),
    Column("update", _WHOLE, "the last measurement of that number, which is what it is judged at"),
    Column("value", _NUMBER, "the estimate; empty where nothing was measured"),
    Column("low", _NUMBER, "lower end of its interval"),
    Column("high", _NUMBER, "upper end of its interval"),
    Column("confidence", _NUMBER, "of that interval"),
    Column("relation", _TEXT, "what must hold between estimate and threshold: >=, > or <"),
    Column("threshold", _NUMBER, "as the run was asked for"),
    Column("n", _WHOLE, "items, pairs or prompts behind the interval"),
    Column("p", _NUMBER, "one-sided, of the criterion being met: small when it is not"),
    Column("p_holm", _NUMBER, "it, adjusted over the criteria of the run"),
    Column("verdict", _TEXT, "pass, fail or inconclusive; inconclusive, too, before the track is complete"),
    Column("complete", _FLAG, "whether every step of the track is on record"),
    Column("note", _TEXT, "what has to be said of it"),
    Column("formula", _TEXT, "what is estimated"),
)

TABLES = {"runs": RUNS, "steps": STEPS, "samples": SAMPLES, "criteria": CRITERIA}
