// Keeps the page of a running run, and a list with one in it, up to date: asks for it again, and takes over what has changed.
(() => {
  "use strict";

  const EVERY_MS = 2000;
  let etag = null;

  function isRunning(page) {
    return page.querySelector("[data-running]") !== null;
  }

  async function refresh() {
    if (document.hidden) return wait();
    try {
      const reply = await fetch(location.href, { cache: "no-store", headers: etag ? { "If-None-Match": etag } : {} });
      if (reply.ok) {
        etag = reply.headers.get("ETag");
        const page = new DOMParser().parseFromString(await reply.text(), "text/html");
        renew(page);
        if (!isRunning(page)) return;
      }
    } catch {
      // the API is away: the page stays as it is, and asks again
    }
    wait();
  }

  function wait() {
    setTimeout(refresh, EVERY_MS);
  }

  function renew(page) {
    const ticked = new Set([...document.querySelectorAll("[data-live] input:checked")].map((box) => box.value));
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (fresh) takeOver(old, fresh);
    }
    for (const box of document.querySelectorAll("[data-live] input[type=checkbox]")) box.checked = ticked.has(box.value);
    document.dispatchEvent(new Event("claas:renewed"));
    const data = page.getElementById("charts-data");
    if (data && window.claasCharts) window.claasCharts.renew(page.getElementById("charts"), JSON.parse(data.textContent));
  }

  // Makes `old` what `fresh` is, piece by piece, so that what the reader has opened, focused, marked or scrolled stays.
  function takeOver(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (!isSame(old, fresh)) return old.replaceWith(document.importNode(fresh, true));
    if (old.nodeType !== Node.ELEMENT_NODE) return void (old.data = fresh.data);
    takeOverAttributes(old, fresh);
    const [pieces, wanted] = [[...old.childNodes], [...fresh.childNodes]];
    for (const extra of pieces.slice(wanted.length)) extra.remove();
    wanted.forEach((piece, place) => {
      if (place < pieces.length) takeOver(pieces[place], piece);
      else old.append(document.importNode(piece, true));
    });
  }

  function isSame(old, fresh) {
    return old.nodeName === fresh.nodeName && old.dataset?.fold === fresh.dataset?.fold;
  }

  function takeOverAttributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  if (isRunning(document)) wait();
})();
