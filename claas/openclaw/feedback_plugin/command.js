// /feedback: from what a person wrote to what is said in return.

import { adapterOf } from "./adapters.js";
import { asked, HELP, learning, marked, NO_ANSWER, NOTHING_TO_UNDO, NOTHING_WAITS, noted, refused, status, wentTo } from "./words.js";

// The command's handler. `tell(context, sessionKey, text)` says something in the chat later.
export function command(settings, conversations, teacher, tell) {
  const { waitSeconds = 20 } = settings;

  async function answer(context) {
    const { kind, feedback, version } = asked(context.args);
    if (kind === "help") return HELP;
    const sessionKey = conversations.sessionOf(context);
    const session = sessionKey ? conversations.of(sessionKey) : {};
    const adapter = adapterOf(settings, sessionKey ?? "", session.sender);
    if (kind === "status") return standing(adapter);
    if (kind === "undo" || kind === "use") return moved(await (kind === "use" ? teacher.go(adapter, version) : teacher.undo(adapter)));
    if (kind === "teach") {
      if (!session.answer) return NO_ANSWER;
      const { waiting, lesson } = await teacher.note(adapter, session.answer, feedback, context.senderId ?? session.sender);
      if (lesson) return inTime(lesson, learning(feedback), (text) => tell(context, sessionKey, text));
      if (waiting < teacher.batch) return noted(waiting, teacher.batch);
    } else if (!teacher.waiting(adapter)) return NOTHING_WAITS;
    return inTime(teacher.learn(adapter), learning(feedback ?? "what waits"), (text) => tell(context, sessionKey, text));
  }

  async function standing(adapter) {
    const { inUse, newest } = await teacher.standing(adapter);
    const { underWay, last } = teacher.of(adapter);
    return status({ inUse, newest, waiting: teacher.waiting(adapter), batch: teacher.batch, underWay, last });
  }

  // The lesson's receipt; where that takes too long `meanwhile`, and the receipt, or what went wrong, is told later.
  async function inTime(lesson, meanwhile, later) {
    const late = Symbol("late");
    let timer;
    const waited = new Promise((resolve) => (timer = setTimeout(resolve, 1000 * waitSeconds, late)));
    const first = await Promise.race([lesson, waited]).finally(() => clearTimeout(timer));
    if (first !== late) return first;
    lesson.then((receipt) => later(marked(receipt)), (error) => later(marked(failed(error))));
    return meanwhile;
  }

  function failed(error) {
    return refused(error, teacher.api.url);
  }

  return async (context) => {
    try {
      return { text: marked(await answer(context)) };
    } catch (error) {
      return { text: marked(failed(error)) };
    }
  };
}

function moved(to) {
  return to === null ? NOTHING_TO_UNDO : wentTo(to.version, to.newest);
}
