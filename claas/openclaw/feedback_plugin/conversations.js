// What is remembered of each conversation: its last answers, who spoke, and which one a command belongs to.

const MOST_SESSIONS = 1000;

export class Conversations {
  constructor() {
    this.sessions = new Map(); // session key → {place, sender, prompts: run → prompt, answer: {prompt, text}}
  }

  // A message arrived. `places` are names of where it came from; a command from there is about this session.
  heard(sessionKey, { channel, places, sender, content }) {
    const session = this.of(sessionKey);
    session.sender = sender ? `${channel}:${sender}` : session.sender;
    session.places = places.filter(Boolean).map((place) => `${channel}|${place}`);
    session.channel = channel;
    session.content = content?.trim();
  }

  asked(sessionKey, prompt) {
    this.of(sessionKey).prompt = prompt;
  }

  answered(sessionKey, texts) {
    const session = this.of(sessionKey);
    const text = texts.filter((each) => each.trim()).at(-1);
    if (text && session.prompt) session.answer = { prompt: session.prompt, text };
  }

  // The session that a command was given in: by its own word, else the last to have heard it, from the same person where
  // that is known, else the last from there. Newer ones come last.
  sessionOf({ sessionKey, channel, commandBody, senderId, to, from, messageThreadId }) {
    if (sessionKey) return sessionKey;
    const known = [...this.sessions].reverse();
    const heard = known.filter(([, { channel: at, content }]) => at === channel && content === commandBody.trim());
    const own = heard.find(([, { sender }]) => sender === `${channel}:${senderId}`) ?? heard[0];
    if (own) return own[0];
    const thread = messageThreadId === undefined ? "" : `#${messageThreadId}`;
    const places = [to, from].filter(Boolean).map((place) => `${channel}|${place}${thread}`);
    return known.find(([, session]) => session.places?.some((place) => places.includes(place)))?.[0];
  }

  // What is remembered of a session, which is the newest now; the oldest beyond the bound are forgotten.
  of(sessionKey) {
    const session = this.sessions.get(sessionKey) ?? {};
    this.sessions.delete(sessionKey);
    this.sessions.set(sessionKey, session);
    if (this.sessions.size > MOST_SESSIONS) this.sessions.delete(this.sessions.keys().next().value);
    return session;
  }
}
