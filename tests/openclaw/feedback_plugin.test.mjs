// The plugin's parts, with an API that is scripted; run by test_feedback_plugin.py, or by `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { adapterOf } from "../../claas/openclaw/feedback_plugin/adapters.js";
import { Api } from "../../claas/openclaw/feedback_plugin/api.js";
import { command } from "../../claas/openclaw/feedback_plugin/command.js";
import { Conversations } from "../../claas/openclaw/feedback_plugin/conversations.js";
import { Teacher } from "../../claas/openclaw/feedback_plugin/teacher.js";
import { asked, isOurs, refused } from "../../claas/openclaw/feedback_plugin/words.js";

const URL = "http://api/v1";
const SETTINGS = { apiUrl: URL, provider: "vllm", alias: "claas", adapter: "openclaw/claas" };

// The API as far as the plugin asks it, one adapter; `failing` is the status of the next update, `until` what it
// waits for; where `losing`, it is made, and its reply is an error.
class Scripted {
  constructor() {
    Object.assign(this, { newest: null, alias: null, taught: [], keys: new Map(), until: Promise.resolve() });
    Object.assign(this, { failing: null, losing: false, down: false });
  }

  fetch = async (url, { method, headers, body }) => {
    if (this.down) throw new TypeError("fetch failed", { cause: { code: "ECONNREFUSED" } });
    if (headers.Authorization !== "Bearer key") return this.reply(401, { detail: "needs the header" });
    const path = url.slice(URL.length).split("?")[0];
    return this.answer(`${method} ${path}`, body && JSON.parse(body), headers);
  };

  async answer(what, body, headers) {
    switch (what) {
      case "GET /aliases/claas":
        return this.alias === null ? this.reply(404, { detail: "no alias" }) : this.reply(200, { model: this.meant() });
      case "PUT /aliases/claas":
        this.alias = body.target;
        return this.reply(200, {});
      case "GET /lora":
        return this.reply(200, { adapters: this.newest === null ? [] : [this.adapter()] });
      case "POST /lora/init":
        this.newest = 0;
        return this.reply(200, this.adapter());
      case "POST /rollouts/resolve":
        if (body.text === "altered") return this.reply(404, { detail: "no recorded answer showed this text" });
        return this.reply(200, { id: `rollout of ${body.text}`, messages: [{ role: "user", content: body.prompt.trim() }] });
      case "POST /feedback":
        return this.teach(body, headers["Idempotency-Key"]);
      default:
        throw new Error(`unscripted: ${what}`);
    }
  }

  async teach(body, key) {
    await this.until;
    if (this.failing) {
      const status = this.failing;
      this.failing = null;
      return this.reply(status, { detail: "loss was nan" });
    }
    if (!this.keys.has(key)) {
      this.newest += 1;
      this.taught.push(body);
      const receipt = { version: this.newest, timing_ms: { total: 2345 }, distill_result: { metadata: { tokens_processed: 99 } } };
      this.keys.set(key, receipt);
    }
    if (this.losing) {
      this.losing = false;
      return this.reply(504, { detail: "took too long" });
    }
    return this.reply(200, this.keys.get(key));
  }

  adapter() {
    return { lora_id: "openclaw/claas", model: `openclaw-claas@${this.newest}`, version: this.newest };
  }

  meant() {
    return this.alias.includes("@") ? this.alias : `${this.alias}@${this.newest}`;
  }

  reply(status, value) {
    return { status, ok: status === 200, text: async () => JSON.stringify(value) };
  }
}

// A chat: `say` is a message and its answer, `write` a command and what is said in return.
function chat(changes = {}, key = "key") {
  const scripted = new Scripted();
  const conversations = new Conversations();
  const settings = { ...SETTINGS, ...changes };
  const teacher = new Teacher(new Api(URL, key, scripted.fetch), settings);
  const told = [];
  const handler = command(settings, conversations, teacher, (context, session, text) => told.push([session, text]));
  const say = (prompt, text, session = "s") => {
    conversations.asked(session, prompt);
    conversations.answered(session, [text]);
  };
  const write = async (args, session = "s", context = {}) => {
    const given = { args, sessionKey: session, channel: "webchat", commandBody: `/feedback ${args}`, ...context };
    const { text } = await handler(given);
    assert.ok(isOurs([{ type: "text", text }]));
    return text.slice(2);
  };
  return { scripted, conversations, teacher, told, say, write };
}

test("a word alone is a command, and everything else is feedback", () => {
  assert.deepEqual(asked(""), { kind: "help" });
  assert.deepEqual(asked(" Status "), { kind: "status" });
  assert.deepEqual(asked("use 3"), { kind: "use", version: 3 });
  assert.deepEqual(asked("use version 3"), { kind: "use", version: 3 });
  for (const feedback of ["use fewer words", "undo the damage", "now be shorter", "help me more"]) {
    assert.deepEqual(asked(feedback), { kind: "teach", feedback });
  }
});

test("feedback is learnt from the last answer, and the receipt says what came of it", async () => {
  const { scripted, say, write } = chat();
  say("What is gravity?", "A force.");
  say("[Fri 21:58 UTC] And rain?", "Water.");
  const receipt = await write("be shorter");
  assert.equal(receipt, "Learnt “be shorter”: version 1, 2.3 s, from 1 answer (99 tokens). /feedback undo takes it back.");
  const [{ requests, from_version }] = scripted.taught;
  assert.equal(from_version, null);
  const about = { lora_id: "openclaw/claas", prompt: "[Fri 21:58 UTC] And rain?", response: "Water.", rollout_id: "rollout of Water." };
  assert.deepEqual(requests, [{ ...about, feedback: "be shorter", training: { steps_per_batch: 8 } }]);
  assert.equal(scripted.alias, "openclaw-claas");
});

test("two people in one channel who say the same at once are two, and each may say it twice", async () => {
  const { scripted, conversations, say, write } = chat({ batch: 4 });
  for (const [session, sender] of [["group", "ada"], ["group", "ben"]]) {
    conversations.heard(session, { channel: "irc", places: ["#room"], sender, content: "/feedback be shorter" });
  }
  say("What is gravity?", "A force.", "group");
  const from = (senderId) => write("be shorter", undefined, { channel: "irc", sessionKey: undefined, from: "#room", senderId });
  const said = await Promise.all(["ada", "ben", "ada", "ben"].map(from));
  assert.match(said.at(-1), /^Noted, 2 of 4/);
  await write("now", "group");
  assert.deepEqual(scripted.taught[0].requests.map(({ feedback }) => feedback), ["be shorter", "be shorter"]);
});

test("a command without a session key is of the session in which its person was heard", () => {
  const conversations = new Conversations();
  for (const sender of ["ada", "ben"]) {
    conversations.heard(`chat of ${sender}`, { channel: "irc", places: [], sender, content: "/feedback be shorter" });
  }
  const given = { channel: "irc", commandBody: "/feedback be shorter" };
  for (const sender of ["ada", "ben"]) assert.equal(conversations.sessionOf({ ...given, senderId: sender }), `chat of ${sender}`);
  assert.equal(conversations.sessionOf(given), "chat of ben", "the last to have heard it");
});

test("a message that comes twice is learnt once", async () => {
  const { scripted, say, write } = chat();
  say("Hi", "Hello.");
  const [first, second] = await Promise.all([write("be shorter"), write("be shorter")]);
  assert.equal(await write("be shorter"), first);
  assert.equal(second, first);
  assert.equal(scripted.taught.length, 1);
});

test("feedback is gathered until there is enough, or somebody says now", async () => {
  const { scripted, say, write } = chat({ batch: 3 });
  assert.equal(await write("now"), "No feedback waits.");
  say("Hi", "Hello.");
  assert.match(await write("be shorter"), /^Noted, 1 of 3/);
  say("Bye", "Farewell.");
  assert.match(await write("be kinder"), /^Noted, 2 of 3/);
  assert.match(await write("status"), /2 of 3 feedbacks wait/);
  assert.match(await write("now"), /^Learnt “be shorter; be kinder”: version 1, .* from 2 answers/);
  assert.equal(scripted.taught[0].requests.length, 2);
  assert.match(await write("status"), /No feedback waits/);
});

test("what was undone is not in what is learnt next", async () => {
  const { scripted, say, write } = chat();
  assert.match(await write("undo"), /nothing to undo/);
  say("Hi", "Hello.");
  await write("one");
  await write("two");
  assert.match(await write("undo"), /^I answer as version 1 now\. \/feedback use 2 goes forward again\.$/);
  assert.equal(scripted.alias, "openclaw-claas@1");
  assert.match(await write("status"), /^I answer as version 1 \(of 2; what you teach now begins at 1\)/);
  await write("three");
  assert.deepEqual(scripted.taught.map(({ from_version }) => from_version), [null, null, 1]);
  assert.equal(scripted.alias, "openclaw-claas");
  assert.match(await write("undo"), /^I answer as version 1 now/, "version 3 was made from 1");
  assert.match(await write("use 3"), /^I answer as version 3 now\.$/);
});

test("a lesson that takes long is announced, and its receipt is told in that chat while others go on", async () => {
  const { scripted, told, say, write } = chat({ waitSeconds: 0 });
  say("Hi", "Hello.");
  let finish;
  scripted.until = new Promise((resolve) => (finish = resolve));
  assert.match(await write("be shorter"), /^Learning “be shorter” …/);
  assert.match(await write("status", "another"), /Learning “be shorter” …/);
  assert.deepEqual(told, []);
  finish();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(told.length, 1);
  assert.equal(told[0][0], "s");
  assert.match(told[0][1], /^✎ Learnt “be shorter”: version 1/);
});

test("a failure is one line that says what to do, and what waited still waits", async () => {
  const { scripted, say, write } = chat();
  assert.match(await write("be shorter"), /ask something first/);
  say("Hi", "altered");
  assert.match(await write("be shorter"), /does not have my last answer on record\. Ask again/);
  say("Hi", "Hello.");
  scripted.failing = 500;
  assert.match(await write("be shorter"), /failed or was lost \(loss was nan\): whether I learnt it is not known\. \/feedback now tries again/);
  scripted.failing = 409;
  assert.match(await write("now"), /^✗ Something else is changing me/);
  assert.match(await write("now"), /^Learnt “be shorter”: version 1/);
  scripted.down = true;
  assert.equal(await write("status"), "✗ The CLaaS API at http://api/v1 does not answer (ECONNREFUSED). Start it, then try again.");
});

test("a lesson whose reply was lost is learnt once, also when more was said since", async () => {
  const { scripted, say, write } = chat();
  say("Hi", "Hello.");
  scripted.losing = true;
  assert.match(await write("be shorter"), /whether I learnt it is not known/);
  assert.match(await write("status"), /1 of 1 feedbacks wait/);
  assert.match(await write("be kinder"), /^Learnt “be shorter”: version 1, .*\nLearnt “be kinder”: version 2, /);
  assert.deepEqual(scripted.taught.map(({ requests }) => requests.map(({ feedback }) => feedback)), [["be shorter"], ["be kinder"]]);
  assert.match(await write("undo"), /^I answer as version 1 now/);
});

test("a lesson given again after an undo is a new lesson, and the alias means what it made", async () => {
  const { scripted, say, write } = chat();
  say("Hi", "Hello.");
  await write("one");
  for (const version of [2, 3, 4, 5]) {
    assert.match(await write(version % 2 ? "three" : "two"), new RegExp(`: version ${version}, `));
    assert.equal(scripted.alias, "openclaw-claas");
    assert.match(await write("undo"), /^I answer as version 1 now/);
  }
  assert.deepEqual(scripted.taught.map(({ from_version }) => from_version), [null, null, 1, 1, 1]);
});

test("a lesson that is tried again after others taught is the one in use", async () => {
  const { scripted, say, write } = chat();
  say("Hi", "Hello.");
  await write("one");
  await write("two");
  await write("undo");
  scripted.losing = true;
  assert.match(await write("three"), /whether I learnt it is not known/);
  scripted.newest += 1; // somebody else's
  assert.match(await write("now"), /^Learnt “three”: version 3, /);
  assert.equal(scripted.alias, "openclaw-claas@3");
});

test("a failure of what teaches nothing says nothing of learning", () => {
  const line = refused(Object.assign(new Error("busy"), { status: 503, mayHaveLearnt: false }), URL);
  assert.equal(line, "✗ The CLaaS API failed (busy). Try again, or see its log.");
});

test("a wrong key is named", async () => {
  const { write } = chat({}, "none");
  assert.match(await write("status"), /wants a key\. Set CLAAS_API_KEY where the gateway is started/);
});

test("every failure is one line", () => {
  for (const status of [undefined, null, 400, 401, 403, 404, 409, 422, 500, 503]) {
    const line = refused(Object.assign(new Error("several\nlines\nof it ".repeat(50)), { status }), URL);
    assert.match(line, /^✗ [^\n]{20,400}$/);
  }
});

test("everyone, each conversation, or each user has an adapter", () => {
  const of = (adapterPer, session, sender) => adapterOf({ ...SETTINGS, adapterPer }, session, sender).id;
  assert.equal(of("everyone", "a", "x"), "openclaw/claas");
  assert.notEqual(of("conversation", "a", "x"), of("conversation", "b", "x"));
  assert.equal(of("user", "a", "x"), of("user", "b", "x"));
  assert.notEqual(of("user", "a", "x:1"), of("user", "a", "x-1"), "names that read alike are not the same");
  assert.equal(of("user", "a", undefined), of("conversation", "a", undefined));
  const { id, alias } = adapterOf({ ...SETTINGS, adapterPer: "user" }, "a", "telegram:+49 170/5");
  assert.match(id, /^openclaw\/claas\/telegram-49-170-5-[0-9a-f]{8}$/);
  assert.match(alias, /^claas-telegram-49-170-5-[0-9a-f]{8}$/);
});

test("a command belongs to the session that heard it, else to the last from its place", () => {
  const conversations = new Conversations();
  const heard = (session, channel, place, content) => conversations.heard(session, { channel, places: [place], content });
  heard("first", "webchat", undefined, "/feedback be shorter");
  heard("second", "webchat", undefined, "Hi");
  heard("dm", "telegram", "telegram:5", "Hi");
  heard("topic", "telegram", "telegram:-7#12", "Hi");
  const of = (context) => conversations.sessionOf({ commandBody: "/feedback be shorter", ...context });
  assert.equal(of({ channel: "webchat" }), "first");
  assert.equal(of({ channel: "telegram", to: "telegram:5" }), "dm");
  assert.equal(of({ channel: "telegram", to: "telegram:-7", messageThreadId: 12 }), "topic");
  assert.equal(of({ channel: "telegram", to: "telegram:9" }), undefined);
  assert.equal(of({ channel: "telegram", sessionKey: "told" }), "told");
});

test("old sessions are forgotten", () => {
  const conversations = new Conversations();
  for (let number = 0; number < 1500; number += 1) conversations.asked(`s${number}`, "Hi");
  assert.equal(conversations.sessions.size, 1000);
});
