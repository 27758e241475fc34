// Feedback on answers, gathered in batches and learnt one after the other; and the way back.

import { createHash } from "node:crypto";

import { learnt } from "./words.js";

const MOST_REMEMBERED = 1000;

export class Teacher {
  constructor(api, { batch = 1, steps = 8 }) {
    this.api = api;
    this.batch = batch;
    this.steps = steps;
    this.pupils = new Map(); // by alias
  }

  // Lets the pupil's alias mean its adapter, unless it means something.
  async begin(pupil) {
    if (this.pupils.get(pupil.alias)?.begun) return;
    if ((await this.api.meaning(pupil.alias)) === null) {
      await this.api.use(pupil.alias, (await this.api.newest(pupil.adapter)).served);
    }
    this.of(pupil).begun = true;
  }

  // Notes feedback on an answer: {waiting, lesson}, how many wait, and its lesson where it has one already.
  async note(pupil, { prompt, text }, feedback) {
    const rollout = await this.api.rollout(text, prompt);
    const said = rollout.messages.filter(({ role }) => role === "user").at(-1).content;
    const about = { lora_id: pupil.adapter, prompt: said, response: text, rollout_id: rollout.id, feedback };
    const { waiting, lessons } = this.of(pupil);
    const name = nameOf(about);
    if (!lessons.has(name)) {
      waiting.push({ ...about, training: { steps_per_batch: this.steps } });
      lessons.set(name, null);
      if (lessons.size > MOST_REMEMBERED) lessons.delete(lessons.keys().next().value);
    }
    return { waiting: waiting.length, lesson: lessons.get(name) };
  }

  // Learns what waits, after what is being learnt; resolves to the receipt in words. What failed waits again.
  learn(pupil) {
    const state = this.of(pupil);
    const taken = state.waiting.splice(0);
    if (!taken.length) return state.lesson;
    const lesson = state.lesson.catch(() => {}).then(() => this.update(pupil, taken));
    const remember = (what) => taken.forEach((one) => state.lessons.set(nameOf(one), what));
    state.lesson = lesson;
    remember(lesson);
    lesson.catch(() => {
      remember(null);
      state.waiting.unshift(...taken);
    });
    return lesson;
  }

  async update(pupil, taken) {
    const state = this.of(pupil);
    state.underWay = taken.map(({ feedback }) => feedback).join("; ");
    try {
      const { served, inUse, newest } = await this.standing(pupil);
      const from = inUse < newest ? inUse : null;
      const key = digest([pupil.alias, String(from), ...taken.map(nameOf)]);
      const receipt = await this.api.teach(taken, from, key);
      await this.api.use(pupil.alias, served);
      state.parents.set(receipt.version, inUse);
      const said = { seconds: receipt.timing_ms.total / 1000, tokens: receipt.distill_result.metadata.tokens_processed };
      state.last = learnt({ ...said, version: receipt.version, answers: taken.length, feedback: state.underWay });
      return state.last;
    } finally {
      state.underWay = null;
    }
  }

  // Where the pupil stands: {served, inUse, newest}. An alias that means something else is taken back.
  async standing({ adapter, alias }) {
    const { served, version: newest } = await this.api.newest(adapter);
    const meant = await this.api.meaning(alias);
    if (meant?.served === served) return { served, inUse: meant.version, newest };
    await this.api.use(alias, served);
    return { served, inUse: newest, newest };
  }

  // Answers as before the last lesson; resolves to {version, newest}, null where there is no lesson to undo.
  async undo(pupil) {
    const { inUse } = await this.standing(pupil);
    return inUse === 0 ? null : this.go(pupil, this.of(pupil).parents.get(inUse) ?? inUse - 1);
  }

  async go(pupil, version) {
    const { served, newest } = await this.standing(pupil);
    await this.api.use(pupil.alias, version === newest ? served : `${served}@${version}`);
    const { lessons, waiting } = this.of(pupil);
    lessons.clear(); // what was taken back can be taught again
    waiting.forEach((one) => lessons.set(nameOf(one), null));
    return { version, newest };
  }

  // What is known of a pupil. `lessons`: by what was said of which answer, null while it waits; `lesson`: the last one;
  // `parents`: of each version, the one that it was made from.
  of({ alias }) {
    if (!this.pupils.has(alias)) {
      const made = { begun: false, waiting: [], lessons: new Map(), parents: new Map() };
      this.pupils.set(alias, { ...made, lesson: Promise.resolve(), underWay: null, last: null });
    }
    return this.pupils.get(alias);
  }
}

function nameOf({ rollout_id, feedback }) {
  return `${rollout_id} ${feedback}`;
}

function digest(parts) {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
