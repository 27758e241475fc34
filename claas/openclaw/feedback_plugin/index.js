// An OpenClaw plugin: /feedback <text> teaches the assistant. This file alone knows OpenClaw.

import { execFile } from "node:child_process";

import { adapterOf } from "./adapters.js";
import { Api } from "./api.js";
import { command } from "./command.js";
import { Conversations } from "./conversations.js";
import { Teacher } from "./teacher.js";
import { isOurs } from "./words.js";

export default {
  id: "claas-feedback",
  name: "CLaaS feedback",
  register(api) {
    const settings = api.pluginConfig;
    const conversations = new Conversations();
    const teacher = new Teacher(new Api(settings.apiUrl, process.env.VLLM_API_KEY), settings);
    const adapterIn = (sessionKey) => adapterOf(settings, sessionKey, conversations.of(sessionKey).sender);

    const warn = (what) => (error) => api.logger.warn(`claas-feedback: ${what}: ${error.message}`);
    api.registerCommand({
      name: "feedback",
      description: "Teach the assistant: /feedback <what should be different>, or help",
      acceptsArgs: true,
      handler: command(settings, conversations, teacher, (context, sessionKey, text) => tell(context, sessionKey, text, warn("telling"))),
    });

    // A message with its session: 2026.9.6 says it to plugins, 2026.2.25 to hooks only.
    api.on("message_received", (event, { channelId, conversationId, sessionKey }) => {
      if (event.sessionKey ?? sessionKey) {
        const sender = event.senderId ?? event.metadata?.senderId;
        heard(event.sessionKey ?? sessionKey, channelId, [conversationId, event.from], event.threadId, sender, event.content);
      }
    });
    function heard(sessionKey, channel, places, threadId, sender, content) {
      const thread = threadId === undefined ? "" : `#${threadId}`;
      conversations.heard(sessionKey, { channel, places: places.map((place) => place && `${place}${thread}`), sender, content });
    }

    api.on("llm_input", ({ prompt }, { sessionKey }) => {
      if (sessionKey) conversations.asked(sessionKey, prompt);
    });
    api.on("llm_output", ({ assistantTexts }, { sessionKey }) => {
      if (sessionKey) conversations.answered(sessionKey, assistantTexts);
    });

    // What this plugin said is in the transcript of a web chat; the model is not to read it.
    api.on("before_prompt_build", ({ messages }) => {
      const others = messages.filter(({ role, content }) => role !== "assistant" || !isOurs(content));
      if (others.length < messages.length) messages.splice(0, messages.length, ...others);
    });

    // Whom everybody talks to has to be there before anybody does; the API may be started later than the gateway.
    api.on("gateway_start", () => {
      api.registerHook("message:received", ({ sessionKey, context }) => {
        const { channelId, conversationId, from, content, metadata } = context;
        heard(sessionKey, channelId, [conversationId, from], metadata?.threadId, metadata?.senderId, content);
      }, { name: "claas-feedback", description: "which session a message belongs to" });
      if ((settings.adapterPer ?? "everyone") === "everyone") return teacher.begin(adapterIn("")).catch(warn("beginning"));
    });
    api.on("before_model_resolve", async (event, { sessionKey }) => {
      const adapter = adapterIn(sessionKey ?? "");
      await teacher.begin(adapter).catch(warn("beginning"));
      if (adapter.alias !== settings.alias) return { providerOverride: settings.provider, modelOverride: adapter.alias };
    });
  },
};

// Says something in a chat, unasked: through the gateway's own command line, which knows every channel.
function tell({ channel, to, accountId, messageThreadId }, sessionKey, text, failed) {
  const message = ["message", "send", "--channel", channel, "--target", to, "--message", text];
  if (accountId) message.push("--account", accountId);
  if (messageThreadId !== undefined) message.push("--thread-id", String(messageThreadId));
  const inject = ["gateway", "call", "chat.inject", "--params", JSON.stringify({ sessionKey, message: text })];
  execFile(process.execPath, [process.argv[1], ...(channel === "webchat" ? inject : message)], { timeout: 120_000 }, (error) => {
    if (error) failed(error);
  });
}
