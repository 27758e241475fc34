// Which adapter is taught: one for everyone, or one for each conversation or user.

import { createHash } from "node:crypto";

const LONGEST = 40;

// The adapter of a session and the alias that means it: {id, alias}. One whose user is not known has its own.
export function adapterOf({ adapterPer = "everyone", adapter: id, alias }, sessionKey, sender) {
  if (adapterPer === "everyone") return { id, alias };
  const name = nameOf(adapterPer === "user" && sender ? sender : sessionKey);
  return { id: `${id}/${name}`, alias: `${alias}-${name}` };
}

// A name that can be part of an adapter's: readable, and never that of another.
function nameOf(text) {
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 8);
  const readable = text.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(-LONGEST);
  return `${readable}-${digest}`;
}
