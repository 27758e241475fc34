// Shows a step's transcripts in a dialog over the page of its run: a click on a point of a chart, or on a step's link.
// Without this script the links lead to the same as pages.
(() => {
  "use strict";

  const drawer = document.getElementById("drawer");
  if (!drawer) return;
  const content = drawer.querySelector(".drawer-content");
  const whole = drawer.querySelector(".drawer-page");
  let asked = 0;

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link === whole || !isStep(link.getAttribute("href"))) return;
    event.preventDefault();
    show(link.getAttribute("href"));
  });
  document.addEventListener("claas:open-step", ({ detail }) => {
    const links = [...document.querySelectorAll("a[data-step]")];
    const link = links.find(({ dataset }) => dataset.preference === detail.preference && Number(dataset.step) === detail.updates);
    if (link) show(link.getAttribute("href"));
  });
  drawer.querySelector(".drawer-close").addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => {
    if (event.target === drawer) drawer.close(); // beside the dialog
  });

  function isStep(address) {
    return address.startsWith("#step/") || address.startsWith(drawer.dataset.steps);
  }

  async function show(address) {
    const turn = ++asked;
    if (!drawer.open) {
      drawer.showModal();
      content.replaceChildren(paragraph("Reading …", "lead"));
    }
    whole.hidden = address.startsWith("#");
    whole.href = address;
    try {
      const page = new DOMParser().parseFromString(await read(address), "text/html");
      const step = page.querySelector(".step") ?? page.querySelector("main");
      if (turn !== asked) return;
      content.replaceChildren(document.importNode(step, true));
    } catch (error) {
      if (turn !== asked) return;
      content.replaceChildren(paragraph(`This step could not be read: ${error.message}`, "error"));
    }
    const place = address.includes("#transcripts") && content.querySelector("#transcripts");
    if (place) place.scrollIntoView();
    else drawer.scrollTop = 0;
  }

  // The page at an address, or, in a report, what it holds of the step.
  async function read(address) {
    if (!address.startsWith("#")) return (await fetch(address)).text();
    const held = document.getElementById(decodeURIComponent(address.slice(1)));
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
