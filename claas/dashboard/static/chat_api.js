// What the chat page asks the API, and the API's refusals in words that say what to do.
(() => {
  "use strict";

  const TEMPERATURE = 0; // so that what differs between two answers to one prompt is the weights
  const MOST_TOKENS = 400;
  const STEPS = 8; // optimiser steps of one feedback

  // What the API refused or did not answer. `status` is null where no reply came. `mayHaveLearnt`: it may have made a
  // version all the same.
  class Refusal extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
      this.mayHaveLearnt = false;
    }
  }

  class Api {
    // The key is kept for the tab where the browser keeps anything, else until the page is left.
    constructor() {
      try {
        this.held = sessionStorage.getItem("claas-key");
      } catch {
        this.held = null;
      }
    }

    get key() {
      return this.held;
    }

    set key(value) {
      this.held = value;
      try {
        sessionStorage.setItem("claas-key", value);
      } catch {
        // it is asked for again
      }
    }

    // What the alias means: {version, loraId, served, newest}, without an adapter {version: null, served}; null while it
    // means nothing.
    async meaning(alias) {
      const models = (await this.call("GET", "/v1/models")).data;
      if (!models.some(({ id }) => id === alias)) return null;
      const [served, version] = (await this.call("GET", `/v1/aliases/${alias}`)).model.split("@");
      const adapter = (await this.adapters()).find(({ model }) => model.split("@")[0] === served);
      if (!adapter) return { version: null, served };
      return { version: Number(version), loraId: adapter.lora_id, served, newest: adapter.version };
    }

    // Lets the alias mean an adapter of its own: one that is there, or a new one.
    async begin(alias) {
      const loraId = `chat/${alias}`;
      if (!(await this.adapters()).some(({ lora_id }) => lora_id === loraId)) {
        await this.call("POST", "/v1/lora/init", { lora_id: loraId });
      }
      await this.use(alias, `chat-${alias}`);
    }

    async adapters() {
      return (await this.call("GET", "/v1/lora")).adapters;
    }

    use(alias, target) {
      return this.call("PUT", `/v1/aliases/${alias}`, { target });
    }

    // Asks for an answer and tells each piece of it; returns {text, model, rollout}.
    async answer(model, messages, onPiece) {
      const body = { model, messages, temperature: TEMPERATURE, max_tokens: MOST_TOKENS, stream: true };
      const reply = await this.ask("POST", "/v1/chat/completions", body);
      const made = { text: "", model: null, rollout: null, cut: false };
      for await (const event of events(reply.body)) {
        if (event.error) throw new Refusal(500, event.error.message);
        const choice = event.choices[0];
        made.model = event.model;
        if (!choice) continue;
        made.text += choice.delta.content ?? "";
        made.rollout = choice.rollout_id ?? made.rollout;
        made.cut ||= choice.finish_reason === "length";
        onPiece(made.text);
      }
      if (made.rollout === null) throw new Refusal(null, "the answer broke off");
      return made;
    }

    // One update; the same `key` again is the same update. Returns {version, seconds, tokens}. Only a refusal proves that
    // no version was made.
    async teach({ loraId, from, prompt, answer, feedback, key }) {
      const about = { lora_id: loraId, prompt, response: answer.text, rollout_id: answer.rollout, feedback };
      const body = { requests: [{ ...about, training: { steps_per_batch: STEPS } }], from_version: from };
      let receipt;
      try {
        receipt = await this.call("POST", "/v1/feedback", body, { "Idempotency-Key": key });
      } catch (error) {
        error.mayHaveLearnt = error.status === null || error.status >= 500;
        throw error;
      }
      const tokens = receipt.distill_result.metadata.tokens_processed;
      return { version: receipt.version, seconds: receipt.timing_ms.total / 1000, tokens };
    }

    async call(method, path, body, headers) {
      const reply = await this.ask(method, path, body, headers);
      try {
        return await reply.json();
      } catch {
        throw new Refusal(null, "the reply broke off");
      }
    }

    async ask(method, path, body, headers = {}) {
      const sent = { ...headers };
      if (body !== undefined) sent["Content-Type"] = "application/json";
      if (this.key) sent.Authorization = `Bearer ${this.key}`;
      let reply;
      try {
        reply = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body), cache: "no-store" });
      } catch {
        throw new Refusal(null, "nothing answered");
      }
      if (reply.ok) return reply;
      throw new Refusal(reply.status, await said(reply));
    }
  }

  async function said(reply) {
    try {
      return (await reply.json()).detail;
    } catch {
      return reply.statusText;
    }
  }

  // The events of a stream: JSON each, until [DONE].
  async function* events(stream) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch {
        throw new Refusal(null, "the connection broke");
      }
      if (piece.done) return;
      const lines = (waiting + piece.value).split("\n");
      waiting = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        if (line === "data: [DONE]") return;
        yield JSON.parse(line.slice("data: ".length));
      }
    }
  }

  // What went wrong and what to do, for whoever reads the page. `doing` is "answer" or "teach".
  function inWords(error, doing) {
    if (!(error instanceof Refusal)) return `This page has failed: ${error.message}. Load it again.`;
    const because = `(${error.message})`;
    const unknown = error.mayHaveLearnt ? " Whether it learnt is not known; it learns this once, however often you try." : "";
    if (error.status === null) return `The API does not answer ${because}. See that it runs, then try again.${unknown}`;
    if (error.status === 401) return "The API does not take this key.";
    if (error.status === 403) return `The API refuses: ${error.message}.`;
    if (doing === "teach" && error.status === 404) {
      return `This answer cannot be taught any more ${because}. Ask again, then teach.`;
    }
    if (error.status === 404) return `What this chat talked to is gone ${because}. Load the page again to begin anew.`;
    if (error.status === 409) return `Something else is changing it at the moment ${because}. Try again.`;
    if (error.status === 400 && error.message.includes("window")) {
      return `This is more than the model can read at once ${because}. Begin a new conversation.`;
    }
    if (error.status >= 500) return `The API failed ${because}. Try again.${unknown}`;
    return `The API refuses it: ${error.message}.`;
  }

  window.claasChat = { Api, inWords };
})();
