// The first page of a shared folder: runs searched as one types, and ticked ones compared where their comparison is there.
(() => {
  "use strict";

  const search = document.getElementById("search");
  const button = document.getElementById("compare");
  const told = document.getElementById("told");
  const rows = [...document.querySelectorAll("tr[data-text]")];
  const boxes = [...document.querySelectorAll("tr[data-text] input")];
  const links = [...document.querySelectorAll("a[data-runs]")];

  for (const part of [search.parentElement, button.parentElement, ...boxes]) part.hidden = false;
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const where = (row, word) => (word.includes("=") ? row.dataset.settings : row.dataset.text);
    for (const row of rows) row.hidden = !words.every((word) => where(row, word).includes(word));
  });
  for (const box of boxes) box.addEventListener("change", show);
  button.addEventListener("click", () => (location.href = found().href));
  addEventListener("pageshow", show);
  show();

  function chosen() {
    return boxes.filter((box) => box.checked).map((box) => box.value);
  }

  // The comparison of just these, in whatever order.
  function found() {
    const wanted = chosen().sort().join(" ");
    return links.find((link) => link.dataset.runs.split(" ").sort().join(" ") === wanted);
  }

  function show() {
    const count = chosen().length;
    button.disabled = count < 2 || !found();
    button.textContent = count < 2 ? "Compare: tick two runs" : `Compare ${count} runs`;
    const missing = count >= 2 && !found();
    told.textContent = missing ? "This folder has no comparison of just these; two of them, or all, may be there." : "";
  }
})();
