// What a person writes after /feedback, and what is said in return: a line each.

const LONGEST = 160;
const MARK = "✎ ";

// A text as this plugin says it, to be told from what the assistant says.
export function marked(text) {
  return MARK + text;
}

// Whether a message's content is something that this plugin said.
export function isOurs(content) {
  const text = typeof content === "string" ? content : (content?.[0]?.text ?? "");
  return text.startsWith(MARK);
}

export const HELP = [
  "/feedback <what should be different>: I learn it from my last answer",
  "/feedback status: what I have learnt, and what waits",
  "/feedback now: learn what waits",
  "/feedback undo: answer again as before the last lesson",
  "/feedback use <number>: answer as that version",
  "/feedback help: this",
].join("\n");

// What is asked: {kind: "help" | "status" | "now" | "undo"}, {kind: "use", version}, or {kind: "teach", feedback}.
export function asked(args) {
  const text = (args ?? "").trim();
  if (text === "") return { kind: "help" };
  const word = text.toLowerCase();
  if (["help", "status", "now", "undo"].includes(word)) return { kind: word };
  const use = /^use (?:version )?(\d+)$/.exec(word);
  return use ? { kind: "use", version: Number(use[1]) } : { kind: "teach", feedback: text };
}

export function learnt({ version, seconds, tokens, answers, feedback }) {
  const from = `from ${answers} ${answers === 1 ? "answer" : "answers"}${tokens ? ` (${tokens} tokens)` : ""}`;
  return `Learnt ${quoted(feedback)}: version ${version}, ${seconds.toFixed(1)} s, ${from}. /feedback undo takes it back.`;
}

export function learning(feedback) {
  return `Learning ${quoted(feedback)} … I will say when it is done; /feedback status says how it goes.`;
}

export function noted(waiting, batch) {
  return `Noted, ${waiting} of ${batch}. I learn when there are ${batch}, or with /feedback now.`;
}

export function status({ inUse, newest, waiting, batch, underWay, last }) {
  const rolledBack = inUse < newest ? ` (of ${newest}; what you teach now begins at ${inUse})` : "";
  const lines = [`I answer as version ${inUse}${rolledBack}.`];
  if (underWay) lines.push(`Learning ${quoted(underWay)} …`);
  lines.push(waiting ? `${waiting} of ${batch} feedbacks wait.` : "No feedback waits.");
  if (last) lines.push(`Last lesson: ${last}`);
  return lines.join("\n");
}

export function wentTo(version, newest) {
  const rest = version < newest ? ` /feedback use ${newest} goes forward again.` : "";
  return `I answer as version ${version} now.${rest}`;
}

export const NOTHING_TO_UNDO = "There is nothing to undo: I answer as I did before any feedback.";
export const NOTHING_WAITS = "No feedback waits.";
export const NO_ANSWER = "I have given no answer in this chat yet, at least none since I was started: ask something first.";

// A failure in one line, with what to do.
export function refused(error, url) {
  const said = quoted(error.message, "");
  switch (true) {
    case error.status === undefined:
      return `✗ The plugin has failed (${said}). The gateway's log may say more.`;
    case error.mayHaveLearnt:
      return `✗ The CLaaS API at ${url} failed or was lost (${said}): whether I learnt it is not known. /feedback now tries again, and learns it only once.`;
    case error.status === null:
      return `✗ The CLaaS API at ${url} does not answer (${said}). Start it, then try again.`;
    case error.status === 401:
      return "✗ The CLaaS API wants a key. Set CLAAS_API_KEY where the gateway is started, and start it again.";
    case error.status === 404 && /recorded answer|this text|on record|rollout/.test(error.message):
      return "✗ The API does not have my last answer on record. Ask again, then give feedback on the new answer.";
    case error.status === 404:
      return `✗ The API does not know that (${said}).`;
    case error.status === 409:
      return `✗ Something else is changing me at the moment (${said}). Try again in a little while.`;
    case error.status >= 500:
      return `✗ The CLaaS API failed (${said}). Try again, or see its log.`;
    default:
      return `✗ The API refuses it: ${said}`;
  }
}

function quoted(text, mark = "”") {
  const line = text.replace(/\s+/g, " ").trim();
  const short = line.length > LONGEST ? `${line.slice(0, LONGEST - 1)}…` : line;
  return mark ? `“${short}${mark}` : short;
}
