// What is chosen in the list of runs is compared, tagged or archived; on the page of a run its tags and its note are set.
(() => {
  "use strict";

  const list = document.getElementById("list");
  const labels = document.getElementById("labels");
  if (list) followList();
  if (labels) followLabels();

  function followList() {
    list.addEventListener("change", show);
    document.addEventListener("claas:renewed", show);
    list.addEventListener("click", ({ target }) => {
      const change = target.closest("[data-change]")?.dataset.change;
      if (change) changeChosen(change);
    });
    list.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target.id !== "tag") return;
      event.preventDefault(); // it would compare
      changeChosen("add");
    });
    addEventListener("pageshow", show);
    show();
  }

  function chosen() {
    return [...list.querySelectorAll("input[name=run]:checked")].map((box) => box.value);
  }

  function show() {
    const button = document.getElementById("compare");
    if (!button) return;
    const count = chosen().length;
    button.disabled = count < 2;
    button.textContent = count < 2 ? "Compare: tick two runs or more" : `Compare ${count} runs`;
    const edit = document.getElementById("edit");
    edit.hidden = count === 0;
  }

  async function changeChosen(change) {
    const tag = document.getElementById("tag").value.trim();
    if (change !== "archive" && change !== "unarchive" && !tag) return tell("Write a tag first.");
    const body = { runs: chosen(), ...changeOf(change, tag) };
    if (await send(body, document.getElementById("chosen").dataset.folder)) location.reload();
  }

  function changeOf(change, tag) {
    if (change === "add") return { add: tag.split(/\s+/) };
    if (change === "remove") return { remove: tag.split(/\s+/) };
    return { archived: change === "archive" };
  }

  function followLabels() {
    for (const part of labels.querySelectorAll("[hidden]")) part.hidden = false;
    for (const part of labels.querySelectorAll(":scope > ul, :scope > p:first-of-type:not(.tools)")) part.hidden = true;
    const before = words(labels.elements.tags.value);
    labels.addEventListener("submit", (event) => {
      event.preventDefault();
      const now = words(labels.elements.tags.value);
      const remove = before.filter((tag) => !now.includes(tag));
      saved({ add: now.filter((tag) => !before.includes(tag)), remove, note: labels.elements.note.value });
    });
    labels.querySelector("[data-change]").addEventListener("click", ({ target }) => saved(changeOf(target.dataset.change)));
  }

  async function saved(change) {
    if (await send({ runs: [labels.dataset.run], ...change }, labels.dataset.folder)) location.reload();
  }

  function words(text) {
    return text.split(/\s+/).filter((word) => word);
  }

  async function send(body, folder) {
    try {
      const asked = { method: "POST", headers: { "Content-Type": "application/json" } };
      const reply = await fetch("/v1/eval/labels", { ...asked, body: JSON.stringify({ ...body, results_dir: folder ?? null }) });
      if (reply.ok) return true;
      tell((await reply.json()).error.message);
    } catch (error) {
      tell(`Not saved: ${error.message}`);
    }
    return false;
  }

  function tell(message) {
    document.getElementById("told").textContent = message;
  }
})();
