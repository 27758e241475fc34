// What the plugin asks the CLaaS API.

// What the API refused; `status` is null where it did not answer. `mayHaveLearnt`: it may have made a version all the same.
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
    this.mayHaveLearnt = false;
  }
}

export class Api {
  constructor(url, key, fetching = fetch) {
    this.url = url.replace(/\/+$/, "");
    this.key = key;
    this.fetching = fetching;
  }

  // The version that an alias means: {served, version}; null while it means nothing.
  async meaning(alias) {
    try {
      const { model } = await this.call("GET", `/aliases/${encodeURIComponent(alias)}`);
      const [served, version] = model.split("@");
      return { served, version: version === undefined ? null : Number(version) };
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  // The newest version of an adapter, made where there is none: {served, version}.
  async newest(adapter) {
    const { adapters } = await this.call("GET", `/lora?prefix=${encodeURIComponent(adapter)}`);
    const there = adapters.find(({ lora_id }) => lora_id === adapter);
    const { model, version } = there ?? (await this.call("POST", "/lora/init", { lora_id: adapter }));
    return { served: model.split("@")[0], version };
  }

  use(alias, target) {
    return this.call("PUT", `/aliases/${encodeURIComponent(alias)}`, { target });
  }

  // What the API has on record of an answer: its rollout.
  rollout(text, prompt) {
    return this.call("POST", "/rollouts/resolve", { text, prompt });
  }

  // One update; the same `key` again is the same update. Only a refusal proves that no version was made.
  async teach(requests, from, key) {
    try {
      return await this.call("POST", "/feedback", { requests, from_version: from }, { "Idempotency-Key": key });
    } catch (error) {
      error.mayHaveLearnt = error.status === null || error.status < 400 || error.status >= 500;
      throw error;
    }
  }

  async call(method, path, body, headers = {}) {
    const sent = { ...headers, Authorization: `Bearer ${this.key}` };
    if (body !== undefined) sent["Content-Type"] = "application/json";
    let reply;
    let said;
    try {
      reply = await this.fetching(this.url + path, { method, headers: sent, body: body && JSON.stringify(body) });
      said = await reply.text();
    } catch (error) {
      throw new Refusal(null, error.cause?.code ?? error.message);
    }
    const parsed = json(said);
    if (reply.ok && parsed !== null) return parsed;
    throw new Refusal(reply.status, parsed?.detail ?? said.slice(0, 200));
  }
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
