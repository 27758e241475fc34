// Feedback on answers, gathered in batches and learnt one after the other; and the way back.

import { randomUUID } from "node:crypto";

import { learnt } from "./words.js";

const MOST_REMEMBERED = 1000;

export class Teacher {
  constructor(api, { batch = 1, steps = 8 }) {
    this.api = api;
    this.batch = batch;
    this.steps = steps;
    this.states = new Map(); // by alias
    this.names = new WeakMap(); // of each request, by what it is known again
  }

  // Lets the adapter's alias mean it, unless it means something.
  async begin(adapter) {
    if (this.states.get(adapter.alias)?.begun) return;
    if ((await this.api.meaning(adapter.alias)) === null) {
      await this.api.use(adapter.alias, (await this.api.newest(adapter.id)).served);
    }
    this.of(adapter).begun = true;
  }

  // Notes what somebody says of an answer: {waiting, lesson}, how many wait, and its lesson where it has one already.
  // What the same person says of it once more is a repetition; where it is not known who speaks, all are one person.
  async note(adapter, { prompt, text }, feedback, sender) {
    const rollout = await this.api.rollout(text, prompt);
    const said = rollout.messages.filter(({ role }) => role === "user").at(-1).content;
    const training = { steps_per_batch: this.steps };
    const request = { lora_id: adapter.id, prompt: said, response: text, rollout_id: rollout.id, feedback, training };
    const { waiting, lessons } = this.of(adapter);
    const name = JSON.stringify([rollout.id, sender ?? null, feedback]);
    if (!lessons.has(name)) {
      this.names.set(request, name);
      waiting.push(request);
      lessons.set(name, null);
      if (lessons.size > MOST_REMEMBERED) lessons.delete(lessons.keys().next().value);
    }
    return { waiting: this.waiting(adapter), lesson: lessons.get(name) };
  }

  // How many feedbacks wait.
  waiting(adapter) {
    const { failed, waiting } = this.of(adapter);
    return failed.reduce((sum, { requests }) => sum + requests.length, waiting.length);
  }

  // Learns what waits, after what is being learnt; resolves to the receipts in words. A batch that failed is tried again
  // as it was, as it may have been learnt all the same.
  learn(adapter) {
    const state = this.of(adapter);
    const batches = state.failed.splice(0);
    if (state.waiting.length) batches.push({ requests: state.waiting.splice(0), key: randomUUID(), from: undefined });
    if (!batches.length) return state.lesson;
    return Promise.all(batches.map((batch) => this.inTurn(adapter, batch))).then((receipts) => receipts.join("\n"));
  }

  inTurn(adapter, batch) {
    const state = this.of(adapter);
    const lesson = state.lesson.catch(() => {}).then(() => this.update(adapter, batch));
    const remember = (what) => batch.requests.forEach((one) => state.lessons.set(this.names.get(one), what));
    state.lesson = lesson;
    remember(lesson);
    lesson.catch(() => {
      remember(null);
      state.failed.push(batch);
    });
    return lesson;
  }

  async update(adapter, batch) {
    const state = this.of(adapter);
    state.underWay = batch.requests.map(({ feedback }) => feedback).join("; ");
    try {
      const { served, inUse, newest } = await this.standing(adapter);
      if (batch.from === undefined) batch.from = inUse < newest ? inUse : null;
      const receipt = await this.api.teach(batch.requests, batch.from, batch.key);
      await (batch.from === null ? this.api.use(adapter.alias, served) : this.point(adapter, receipt.version));
      if (receipt.version > inUse) state.parents.set(receipt.version, batch.from ?? inUse);
      const said = { seconds: receipt.timing_ms.total / 1000, tokens: receipt.distill_result.metadata.tokens_processed };
      state.last = learnt({ ...said, version: receipt.version, answers: batch.requests.length, feedback: state.underWay });
      return state.last;
    } finally {
      state.underWay = null;
    }
  }

  // Where an adapter stands: {served, inUse, newest}. An alias that means something else is taken back.
  async standing({ id, alias }) {
    const { served, version: newest } = await this.api.newest(id);
    const meant = await this.api.meaning(alias);
    if (meant?.served === served) return { served, inUse: meant.version, newest };
    await this.api.use(alias, served);
    return { served, inUse: newest, newest };
  }

  // Answers as before the last lesson; resolves to {version, newest}, null where there is no lesson to undo.
  async undo(adapter) {
    const { inUse } = await this.standing(adapter);
    return inUse === 0 ? null : this.go(adapter, this.of(adapter).parents.get(inUse) ?? inUse - 1);
  }

  // Answers as that version. What was taken back can be taught again, and what waits is learnt from there: new lessons.
  async go(adapter, version) {
    const newest = await this.point(adapter, version);
    const { lessons, waiting, failed } = this.of(adapter);
    waiting.unshift(...failed.splice(0).flatMap(({ requests }) => requests));
    lessons.clear();
    waiting.forEach((one) => lessons.set(this.names.get(one), null));
    return { version, newest };
  }

  // Lets the alias mean a version; resolves to the newest one.
  async point({ id, alias }, version) {
    const { served, version: newest } = await this.api.newest(id);
    await this.api.use(alias, version === newest ? served : `${served}@${version}`);
    return newest;
  }

  // What is known of an adapter. `failed`: batches {requests, key, from} to be tried again; `lessons`: by who said
  // what of which answer, null while it waits; `lesson`: the last one; `parents`: of each version, the one it was made from.
  of({ alias }) {
    if (!this.states.has(alias)) {
      const made = { begun: false, waiting: [], failed: [], lessons: new Map(), parents: new Map() };
      this.states.set(alias, { ...made, lesson: Promise.resolve(), underWay: null, last: null });
    }
    return this.states.get(alias);
  }
}
