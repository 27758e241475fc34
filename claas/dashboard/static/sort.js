// Sorts the tables of a file that no server sorts: a click on a heading, or Enter on it, and once more for the other way.
(() => {
  "use strict";

  for (const button of document.querySelectorAll("th .sort")) {
    mark(button.closest("th"));
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  function sort(heading) {
    const headings = [...heading.parentElement.children];
    const isText = !heading.classList.contains("number");
    const first = isText && heading === headings[0] ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = heading.ariaSort === first ? other : first;
    for (const each of headings) {
      each.removeAttribute("aria-sort");
      mark(each);
    }
    heading.setAttribute("aria-sort", direction);
    mark(heading);
    const body = heading.closest("table").tBodies[0];
    const place = headings.indexOf(heading);
    const value = (row) => row.children[place].dataset.value;
    const compare = (a, b) => (isText ? (a < b ? -1 : Number(a > b)) : a - b);
    const known = [...body.rows].filter((row) => value(row) !== "");
    const rest = [...body.rows].filter((row) => value(row) === "");
    known.sort((a, b) => compare(value(a), value(b)) * (direction === "ascending" ? 1 : -1));
    body.append(...known, ...rest);
  }

  // The arrow beside the heading that the table is sorted by.
  function mark(heading) {
    heading.querySelector(".arrow")?.remove();
    if (!heading.ariaSort) return;
    const arrow = document.createElement("span");
    arrow.className = "arrow";
    arrow.ariaHidden = "true";
    arrow.textContent = heading.ariaSort === "ascending" ? " ▴" : " ▾";
    heading.querySelector(".sort").append(arrow);
  }
})();
