// Who is taught: one adapter and alias for everyone, or one for each conversation or user.

import { createHash } from "node:crypto";

const LONGEST = 40;

// {adapter, alias} of a session. One whose user is not known is taught as a conversation.
export function pupilOf({ pupil = "everyone", adapter, alias }, sessionKey, sender) {
  if (pupil === "everyone") return { adapter, alias };
  const name = nameOf(pupil === "user" && sender ? sender : sessionKey);
  return { adapter: `${adapter}/${name}`, alias: `${alias}-${name}` };
}

// A name that can be part of an adapter's: readable, and never that of another.
function nameOf(text) {
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 8);
  const readable = text.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(-LONGEST);
  return `${readable}-${digest}`;
}
