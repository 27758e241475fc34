// OpenClaw asks its plugins for the system prompt of each turn; this one answers with the configured text.
export default {
  id: "small-prompt",
  name: "Small prompt",
  register(api) {
    const systemPrompt = api.pluginConfig.prompt;
    api.on("before_prompt_build", () => ({ systemPrompt }));
  },
};
