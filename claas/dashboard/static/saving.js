// Saves what a page shows: every table as CSV, with its cells as they are read; charts are saved by their own buttons.
(() => {
  "use strict";

  document.addEventListener("claas:renewed", offer);
  offer();

  // Last in what scrolls with the table, so that what comes before stays in its place when the page is renewed.
  function offer() {
    for (const table of document.querySelectorAll(".scroll > table, .across > table")) {
      if (table.parentElement.querySelector(".save")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet save";
      button.textContent = "CSV";
      button.setAttribute("aria-label", `Save as CSV: ${titleOf(table)}`);
      button.addEventListener("click", () => save(`${titleOf(table)}.csv`, csvOf(table)));
      table.parentElement.append(button);
    }
  }

  function titleOf(table) {
    return table.parentElement.getAttribute("aria-label") ?? table.caption?.textContent.trim() ?? document.title;
  }

  function csvOf(table) {
    const rows = [...table.rows].map((row) => [...row.cells].map((cell) => quoted(wordsOf(cell))).join(","));
    return `${rows.join("\r\n")}\r\n`;
  }

  // What is read of a cell: not what is folded away, nor what only a screen reader says of a drawing.
  function wordsOf(cell) {
    const copy = cell.cloneNode(true);
    for (const part of copy.querySelectorAll("details, svg, button, input")) part.remove();
    return copy.textContent.replace(/\s+/g, " ").trim();
  }

  // A cell that a spreadsheet would take for a formula is a text there, too.
  function quoted(text) {
    const safe = /^[=+@\t]/.test(text) || (text.startsWith("-") && Number.isNaN(Number(text))) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function save(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`\ufeff${text}`], { type: "text/csv" }));
    link.download = name.replace(/[^\p{L}\p{N}._ -]+/gu, "-");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
})();
