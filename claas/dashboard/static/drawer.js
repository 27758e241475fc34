// Shows a step's transcripts in a dialog over the page of its run: a click on a point of a chart, or on a step's link.
// Without this script the links lead to the same as pages.
(() => {
  "use strict";

  const drawer = document.getElementById("drawer");
  if (!drawer) return;
  const content = drawer.querySelector(".drawer-content");
  const whole = drawer.querySelector(".drawer-page");
  let asked = 0;
  let pressed = false; // whether the pointer went down beside the drawer

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link === whole || !isStep(link.getAttribute("href"))) return;
    event.preventDefault();
    open(link.getAttribute("href"));
  });
  document.addEventListener("claas:open-step", ({ detail }) => {
    const links = [...document.querySelectorAll("a[data-step]")];
    const link = links.find(({ dataset }) => dataset.preference === detail.preference && Number(dataset.step) === detail.updates);
    if (link) open(link.getAttribute("href"));
  });
  drawer.querySelector(".drawer-close").addEventListener("click", () => drawer.close());
  // Beside the drawer, pressed there and let go there: the tap that opens it may come as two clicks.
  drawer.addEventListener("pointerdown", (event) => (pressed = isBeside(event)));
  drawer.addEventListener("click", (event) => {
    if (pressed && isBeside(event)) drawer.close();
    pressed = false;
  });

  // What the drawer shows is part of where the reader is: going back closes it, and coming back opens it again.
  drawer.addEventListener("close", () => {
    asked += 1;
    if (history.state?.step) history.back();
  });
  addEventListener("popstate", restore);
  restore();

  function restore() {
    const address = history.state?.step;
    if (address) show(address);
    else drawer.close();
  }

  function isBeside({ target, clientX }) {
    return target === drawer && clientX < drawer.getBoundingClientRect().left;
  }

  function isStep(address) {
    return address.startsWith("#step/") || address.startsWith(drawer.dataset.steps);
  }

  // Follows a link: what was beside the drawer is one step back, however many links are followed inside it.
  function open(address) {
    history[history.state?.step ? "replaceState" : "pushState"]({ step: address }, "");
    show(address);
  }

  async function show(address) {
    const turn = ++asked;
    if (!drawer.open) {
      content.replaceChildren(paragraph("Reading …", "lead"));
      drawer.showModal();
    }
    whole.hidden = address.startsWith("#");
    whole.href = address;
    try {
      const page = new DOMParser().parseFromString(await read(address), "text/html");
      const step = page.querySelector(".step") ?? page.querySelector("main");
      if (turn !== asked) return;
      put(beneath(document.importNode(step, true)));
    } catch (error) {
      if (turn !== asked) return;
      put(paragraph(`This step could not be read: ${error.message}`, "error"));
    }
    const place = address.endsWith("#transcripts") && content.querySelector("#transcripts");
    if (place) place.scrollIntoView();
    else drawer.scrollTop = 0;
  }

  // The page below keeps the only main heading.
  function beneath(step) {
    const heading = step.querySelector("h1");
    if (!heading) return step;
    const lower = document.createElement("h2");
    lower.className = heading.className;
    lower.append(...heading.childNodes);
    heading.replaceWith(lower);
    return step;
  }

  // A link that was followed is gone: the focus stays near it.
  function put(shown) {
    const isInside = content.contains(document.activeElement);
    content.replaceChildren(shown);
    if (isInside) content.focus();
  }

  // The page at an address, or, in a report, what it holds of the step.
  async function read(address) {
    if (!address.startsWith("#")) return (await fetch(address)).text();
    const held = document.getElementById(address.slice(1).split("#")[0]);
    if (!held) throw new Error("this report does not hold it");
    const packed = new Blob([Uint8Array.from(atob(held.textContent.trim()), (letter) => letter.charCodeAt(0))]);
    return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function paragraph(text, className) {
    const made = document.createElement("p");
    made.className = className;
    made.textContent = text;
    return made;
  }
})();
