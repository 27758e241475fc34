// Chats with an OpenClaw gateway over its WebSocket, as its own chat page does: one device, one session.
// node openclaw_chat.mjs <port> <session> [+]<message> ...    the token is in OPENCLAW_GATEWAY_TOKEN
// Each message is sent when the one before was answered; `+` before one waits for a second answer, too. Prints a JSON list
// of the answers.

import { createHash, generateKeyPairSync, sign } from "node:crypto";

const [port, session, ...messages] = process.argv.slice(2);
const token = process.env.OPENCLAW_GATEWAY_TOKEN;
const socket = new WebSocket(`ws://127.0.0.1:${port}`);
const waiting = new Map();
const said = [];
let listener = () => {};

socket.onmessage = ({ data }) => {
  const frame = JSON.parse(data);
  if (frame.type === "res") answered(frame);
  else if (frame.event === "connect.challenge") talk(frame.payload.nonce).catch(fail);
  else if (frame.event === "chat" && frame.payload.sessionKey.endsWith(session) && ["final", "error", "aborted"].includes(frame.payload.state)) heard(frame.payload);
};
socket.onerror = (event) => fail(event.error ?? event);

async function talk(nonce) {
  await request("connect", connection(nonce));
  for (const message of messages) {
    const wanted = said.length + (message.startsWith("+") ? 2 : 1);
    const enough = new Promise((resolve) => (listener = () => said.length >= wanted && resolve()));
    await request("chat.send", { sessionKey: session, message: message.replace(/^\+/, ""), idempotencyKey: crypto.randomUUID() });
    await enough;
  }
  console.log(JSON.stringify(said));
  process.exit(0);
}

function heard({ state, message, errorMessage }) {
  const content = message?.content ?? errorMessage ?? state;
  said.push(typeof content === "string" ? content : content.map(({ text }) => text ?? "").join(""));
  listener();
}

function connection(nonce) {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  const [id, signedAt] = [createHash("sha256").update(raw).digest("hex"), Date.now()];
  const client = { id: "cli", mode: "cli", version: "1.0.0", platform: "linux" };
  const [role, scopes] = ["operator", ["operator.read", "operator.write"]];
  const signed = ["v2", id, client.id, client.mode, role, scopes.join(","), String(signedAt), token, nonce].join("|");
  const signature = sign(null, Buffer.from(signed), privateKey).toString("base64url");
  const device = { id, publicKey: raw.toString("base64url"), signature, signedAt, nonce };
  return { minProtocol: 1, maxProtocol: 99, client, role, scopes, auth: { token }, device };
}

function request(method, params) {
  const id = crypto.randomUUID();
  socket.send(JSON.stringify({ type: "req", id, method, params }));
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

function answered({ id, ok, payload, error }) {
  if (ok) waiting.get(id).resolve(payload);
  else waiting.get(id).reject(new Error(JSON.stringify(error)));
}

function fail(error) {
  console.error(error);
  process.exit(1);
}
