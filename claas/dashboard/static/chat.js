// The chat page: a conversation, feedback under its answers, the versions that it made, and the same prompt before and after.
(() => {
  "use strict";

  const MOST_VERSIONS = 50;
  const page = document.getElementById("chat");
  const part = (id) => document.getElementById(id);
  const alias = page.dataset.alias;
  const place = `claas-chat/${alias}`;
  const api = new window.claasChat.Api();
  const { inWords } = window.claasChat;

  // turns: [{prompt, answers: [{text, model, rollout, cut}], lessons: [{feedback, version, seconds, tokens}], pending, failed}]
  // pending, failed: {feedback, key, from, answer}, the lesson that is to be learnt, or may have been and is tried again
  // lessons: feedback by the name of the version that it made
  const kept = read();
  let meaning = null; // what the alias means, null while it means nothing
  let answers = Promise.resolve(); // one after the other
  let answering = 0; // how many are under way or wait for their turn
  const learning = new Set(); // turns

  part("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    send(part("prompt").value.trim());
  });
  part("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    part("ask").requestSubmit();
  });
  part("prompt").addEventListener("input", fit);
  part("fresh").addEventListener("click", () => {
    if (answering || learning.size || kept.turns.some(({ pending }) => pending)) return;
    kept.turns = [];
    part("trouble").hidden = true;
    save();
    show();
    part("prompt").focus();
  });
  for (const offer of page.querySelectorAll(".offer")) offer.addEventListener("click", () => send(offer.textContent));
  part("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.key = part("key").value;
    part("key").value = "";
    start();
  });
  part("versions").open = matchMedia("(min-width: 60rem)").matches;
  show();
  start();

  async function start() {
    const isThere = await attempt("answer", async () => {
      await refresh();
      part("key-form").hidden = true;
      part("prompt").focus({ preventScroll: true });
    }, start);
    if (!isThere) return; // without a key, or without the API, what is pending would be lost
    for (const turn of kept.turns) if (turn.pending) learn(turn); // the page was left while it learnt, or had no key
  }

  async function refresh() {
    meaning = await api.meaning(alias);
    showVersions();
  }

  async function send(prompt) {
    if (!prompt || answering || kept.turns.some(({ answers }) => !answers.length)) return; // one is being asked
    const turn = { prompt, answers: [], lessons: [], pending: null };
    kept.turns.push(turn);
    part("prompt").value = "";
    fit();
    show();
    const done = await attempt("answer", async () => {
      if (meaning === null) await api.begin(alias);
      await ask(turn);
      await refresh();
    }, () => send(prompt));
    if (!done) {
      kept.turns = kept.turns.filter((each) => each !== turn);
      part("prompt").value ||= prompt;
    }
    save();
    show();
  }

  // One more answer to the prompt of a turn, by the version in use, after those that are being given.
  function ask(turn) {
    answering += 1;
    const given = answers.then(() => answer(turn)).finally(() => {
      answering -= 1;
      save();
      show();
      elementOf(turn)?.scrollIntoView({ block: "nearest" });
    });
    answers = given.catch(() => {});
    return given;
  }

  async function answer(turn) {
    const before = kept.turns.slice(0, kept.turns.indexOf(turn));
    const messages = before.flatMap(({ prompt, answers }) => [
      { role: "user", content: prompt },
      { role: "assistant", content: answers.at(-1).text },
    ]);
    messages.push({ role: "user", content: turn.prompt });
    const growing = { text: "", model: null, rollout: null, cut: false };
    turn.answers.push(growing);
    show();
    const onPiece = (text) => {
      const shown = elementOf(turn)?.querySelector('.reply[aria-busy="true"] p');
      growing.text = text;
      if (shown) shown.textContent = text;
    };
    elementOf(turn).querySelector('.reply[aria-busy="true"]').scrollIntoView({ block: "nearest" });
    try {
      Object.assign(growing, await api.answer(alias, messages, onPiece));
    } catch (error) {
      turn.answers.pop();
      throw error;
    }
  }

  function teach(turn, feedback) {
    if (!feedback || turn.pending || answering) return;
    const { failed } = turn;
    const isSame = failed?.feedback === feedback && failed.answer?.rollout === turn.answers.at(-1).rollout;
    turn.pending = isSame ? failed : { feedback, key: newKey() };
    learn(turn);
  }

  // Makes the update that is pending; a second call for the same one makes no second update.
  async function learn(turn) {
    if (learning.has(turn)) return;
    learning.add(turn);
    const since = Date.now();
    const clock = setInterval(() => {
      const seconds = elementOf(turn)?.querySelector(".learning span");
      if (seconds) seconds.textContent = `${Math.round((Date.now() - since) / 1000)} s`;
    }, 1000);
    show();
    const lesson = turn.pending;
    const done = await attempt("teach", async () => {
      if (!meaning?.loraId) await api.begin(alias);
      await refresh();
      if (lesson.from === undefined) lesson.from = meaning.version < meaning.newest ? meaning.version : null;
      lesson.answer ??= turn.answers.at(-1);
      save();
      const made = await api.teach({ ...lesson, loraId: meaning.loraId, prompt: turn.prompt });
      kept.lessons[`${meaning.served}@${made.version}`] = lesson.feedback;
      await refresh();
      if (lesson.from !== null || meaning.version < made.version) await point(made.version);
      turn.lessons.push({ feedback: lesson.feedback, ...made });
      turn.pending = turn.failed = null;
    }, () => {
      turn.pending = lesson;
      learn(turn);
    });
    clearInterval(clock);
    learning.delete(turn);
    if (!done && part("key-form").hidden) { // else it is pending until the key is there
      turn.failed = turn.pending;
      turn.pending = null;
    }
    save();
    show();
    if (done) await attempt("answer", () => ask(turn), () => attempt("answer", () => ask(turn)));
    elementOf(turn)?.querySelector(".teach input")?.focus({ preventScroll: true });
  }

  async function use(version) {
    await attempt("answer", async () => {
      await point(version);
      for (const turn of kept.turns) turn.failed = null; // what is given again after this is a new lesson
      save();
    }, () => use(version));
    show();
  }

  async function point(version) {
    await api.use(alias, version === meaning.newest ? meaning.served : `${meaning.served}@${version}`);
    await refresh();
  }

  // Whether `work` was done. If not the page says why, with a way to do it again.
  async function attempt(doing, work, again) {
    part("trouble").hidden = true;
    try {
      await work();
      return true;
    } catch (error) {
      if (error.status === 401) {
        if (api.key) part("key-why").textContent = inWords(error);
        part("key-form").hidden = false;
        part("key").focus();
        return false;
      }
      const retry = button("Try again", () => again?.());
      part("trouble").replaceChildren(inWords(error, doing), again ? retry : "");
      part("trouble").hidden = false;
      part("trouble").scrollIntoView({ block: "nearest" });
      return false;
    }
  }

  function show() {
    part("welcome").hidden = kept.turns.length > 0;
    const typed = new Map(kept.turns.map((turn) => [turn, elementOf(turn)?.querySelector(".teach input")?.value ?? ""]));
    const focused = document.activeElement?.id;
    part("turns").replaceChildren(...kept.turns.map((turn) => turnOf(turn, typed.get(turn))));
    if (focused) part(focused)?.focus({ preventScroll: true });
    for (const each of part("ask").querySelectorAll("button")) each.setAttribute("aria-disabled", String(answering > 0));
    part("turns").setAttribute("aria-busy", String(answering > 0));
  }

  function elementOf(turn) {
    return part("turns").children[kept.turns.indexOf(turn)];
  }

  function turnOf(turn, typed) {
    const shown = turn.answers.slice(-2);
    const replies = make("div", shown.length > 1 ? "replies two" : "replies");
    const roles = shown.length < 2 ? [""] : isLater(shown[1], shown[0]) ? ["before", "after"] : ["earlier", "now"];
    shown.forEach((answer, index) => replies.append(replyOf(answer, roles[index])));
    const made = make("article", "turn", make("p", "asked", turn.prompt), replies);
    made.setAttribute("aria-label", turn.prompt);
    const earlier = turn.answers.slice(0, -2);
    if (earlier.length) {
      const said = earlier.flatMap((answer) => [make("b", "", nameOf(answer)), make("p", "", answer.text)]);
      made.append(make("details", "earlier", make("summary", "", `${earlier.length} earlier`), ...said));
    }
    for (const lesson of turn.lessons) made.append(lessonOf(lesson));
    if (turn.pending) made.append(learningOf(turn.pending));
    else if (turn.answers.at(-1)?.rollout) made.append(...formsOf(turn, typed));
    return made;
  }

  function replyOf(answer, role) {
    const isGrowing = answer.rollout === null;
    const words = answer.text.split(/\s+/).filter(Boolean).length;
    const name = make("span", "", role ? make("b", "", `${role} `) : "", isGrowing ? "" : nameOf(answer));
    const size = isGrowing ? "" : `${words} ${words === 1 ? "word" : "words"}${answer.cut ? ", cut off" : ""}`;
    const made = make("section", `reply ${role}`, make("h3", "", name, make("span", "", size)), make("p", "", answer.text));
    made.setAttribute("aria-busy", String(isGrowing));
    return made;
  }

  function isLater(answer, other) {
    const [version, before] = [answer, other].map(({ model }) => Number(model?.split("@")[1] ?? meaning?.version ?? 0));
    return version > before;
  }

  function nameOf({ model }) {
    return model.includes("@") ? `version ${model.split("@")[1]}` : model;
  }

  function lessonOf({ feedback, version, seconds, tokens }) {
    const from = tokens ? `, from ${tokens} tokens` : "";
    return make("p", "lesson", make("b", "", "✓ learnt "), `“${feedback}”: version ${version}, ${seconds.toFixed(1)} s${from}`);
  }

  function learningOf({ feedback }) {
    const seconds = make("span", "", "");
    seconds.setAttribute("aria-hidden", "true");
    const made = make("p", "learning", `Learning “${feedback}” … `, seconds);
    made.setAttribute("role", "status");
    return made;
  }

  function formsOf(turn, typed) {
    const isLast = turn === kept.turns.at(-1);
    const id = `teach-${kept.turns.indexOf(turn)}`;
    const input = make("input");
    Object.assign(input, { id, value: typed, required: true, maxLength: 2000, autocomplete: "off" });
    const label = make("label", "", "What should be different?");
    label.htmlFor = id;
    const submit = make("button", "", "Teach");
    submit.type = "submit";
    const row = make("p", "row", input, submit);
    if (!Object.keys(kept.lessons).length) row.append(make("span", "tries", "for example ", button("Be more concise", () => {
      input.value = "Be more concise";
      input.focus();
    })));
    const form = make("form", "teach", label, row);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      teach(turn, input.value.trim());
      input.value = "";
    });
    const forms = [isLast ? form : make("details", "earlier", make("summary", "", "Feedback"), form)];
    const version = meaning?.version ?? null;
    if (version !== null && turn.answers.at(-1).model !== `${meaning.served}@${version}` && !answering) {
      forms.push(make("p", "row", button(`Ask version ${version} the same`, () => attempt("answer", () => ask(turn)))));
    }
    return forms;
  }

  function showVersions() {
    const chip = part("in-use");
    const said = !meaning ? "not taught yet" : meaning.version === null ? meaning.served
      : meaning.version < meaning.newest ? `version ${meaning.version} of ${meaning.newest}` : `version ${meaning.version}`;
    chip.classList.toggle("new", chip.textContent !== "…" && chip.textContent !== said);
    chip.textContent = said;
    const newest = meaning?.newest ?? -1;
    const numbers = Array.from({ length: newest + 1 }, (_, index) => newest - index);
    const listed = numbers.filter((number, index) => index < MOST_VERSIONS || number === 0);
    part("version-list").replaceChildren(...listed.map(versionOf));
    if (!listed.length) part("version-list").append(make("li", "", "none yet"));
  }

  function versionOf(version) {
    const why = kept.lessons[`${meaning.served}@${version}`];
    const said = why ? `“${why}”` : version === 0 ? "before any feedback" : "taught elsewhere";
    const isUsed = version === meaning.version;
    const back = isUsed ? make("span", "mark good", "in use") : button("Use", () => use(version));
    if (!isUsed) back.setAttribute("aria-label", `Use version ${version}`);
    return make("li", "", make("strong", "", `version ${version}`), make("span", "why", said), back);
  }

  function make(tag, className = "", ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  function button(text, onClick) {
    const made = make("button", "soft", text);
    made.type = "button";
    made.addEventListener("click", onClick);
    return made;
  }

  function fit() {
    const prompt = part("prompt");
    prompt.style.height = "auto";
    prompt.style.height = `${prompt.scrollHeight + 2}px`;
  }

  // Not randomUUID, which browsers have at secure addresses only.
  function newKey() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function read() {
    try {
      const found = JSON.parse(localStorage.getItem(place));
      if (Array.isArray(found?.turns)) return found;
    } catch {
      // what another program has put there is no conversation
    }
    return { turns: [], lessons: {} };
  }

  function save() {
    const turns = kept.turns.map((turn) => ({ ...turn, answers: turn.answers.filter(({ rollout }) => rollout !== null) }));
    try {
      localStorage.setItem(place, JSON.stringify({ turns: turns.filter(({ answers }) => answers.length), lessons: kept.lessons }));
    } catch {
      part("unkept").hidden = false;
    }
  }
})();
