// Keeps the page of a running run up to date: asks for it again, and puts in what has changed.
(() => {
  "use strict";

  const EVERY_MS = 2000;
  const FOCUSABLE = "a, summary, button, input, [tabindex]";
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
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (fresh && fresh.innerHTML !== old.dataset.shown) {
        old.dataset.shown = fresh.innerHTML;
        replace(old, fresh);
      }
    }
    const data = page.getElementById("charts-data");
    if (data && window.claasCharts) window.claasCharts.renew(page.getElementById("charts"), JSON.parse(data.textContent));
  }

  // What the reader has opened stays open, what is ticked stays so, and what has the focus keeps it.
  function replace(old, fresh) {
    const open = [...old.querySelectorAll("details")].map((each) => each.open);
    const focused = old.contains(document.activeElement) ? [...old.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement) : -1;
    const ticked = new Set([...old.querySelectorAll("input:checked")].map((each) => each.value));
    old.replaceChildren(...document.importNode(fresh, true).childNodes);
    const details = old.querySelectorAll("details");
    if (details.length === open.length) details.forEach((each, place) => (each.open = open[place]));
    for (const box of old.querySelectorAll("input[type=checkbox]")) box.checked = ticked.has(box.value);
    if (focused >= 0) old.querySelectorAll(FOCUSABLE)[focused]?.focus();
  }

  if (isRunning(document)) wait();
})();
