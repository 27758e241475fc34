// Draws the charts of a page from its data: when they come into view, in the colours of the style sheet.
(() => {
  "use strict";

  const TOUCH = matchMedia("(hover: none)");
  const DARK = matchMedia("(prefers-color-scheme: dark)");
  const CONFIG = {
    displaylogo: false,
    doubleClick: false, // plotly would go back to the first data's ranges
    showTips: false,
    displayModeBar: TOUCH.matches ? false : "hover",
    modeBarButtons: [
      [{ name: "fit", title: "Show all", icon: window.Plotly?.Icons.home, click: fit }],
      [
        { name: "svg", title: "Save as SVG", icon: window.Plotly?.Icons.disk, click: (plot) => save(plot, "svg") },
        { name: "png", title: "Save as PNG", icon: window.Plotly?.Icons.camera, click: (plot) => save(plot, "png") },
      ],
    ],
  };

  let data = { series: [], charts: {} };
  const hidden = new Set(); // names of the series that are not shown
  const fitted = new WeakMap(); // by plot, the ranges that fit its data
  const drawn = new Set(); // the plots that have been in view
  const waiting = new Set(); // those that will be drawn with the next frame
  let tapped = null; // where there was a first tap, and when

  function start() {
    const source = document.getElementById("charts-data");
    if (!source) return;
    if (!window.Plotly) return showStills();
    data = JSON.parse(source.textContent);
    offerSeries();
    watch();
    DARK.addEventListener("change", redraw);
    addEventListener("beforeprint", () => document.querySelectorAll("[data-chart]").forEach(drawForPrint));
    window.claasCharts = { update, renew };
  }

  const views = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => see(entry.target)),
    { rootMargin: "200px" },
  );
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => fill(entry.target)));

  function watch() {
    for (const area of document.querySelectorAll(".charts")) area.hidden = false;
    for (const still of document.querySelectorAll(".still")) still.hidden = true;
    for (const plot of document.querySelectorAll("[data-chart]")) {
      views.observe(plot);
      sizes.observe(plot);
    }
  }

  // Pictures are for readers without scripts; without plotly, whoever has scripts needs them too.
  function showStills() {
    for (const still of document.querySelectorAll("noscript.still")) {
      const page = new DOMParser().parseFromString(still.textContent, "text/html");
      still.replaceWith(...page.body.childNodes);
    }
  }

  // New data of the same page: what the reader has zoomed and chosen stays.
  function update(changed) {
    data = changed;
    offerSeries();
    redraw();
  }

  // The same with what stands around the charts: `fresh` is the element that holds them in a newer copy of the page.
  function renew(fresh, changed) {
    const area = document.getElementById(fresh.id);
    const ids = (root) => JSON.stringify([...root.querySelectorAll("[data-chart]")].map((plot) => plot.dataset.chart));
    if (ids(area) === ids(fresh)) {
      for (const selector of ["figcaption", ".numbers > .panels"]) takeOver(area, fresh, selector);
      const said = [...fresh.querySelectorAll("[data-chart]")].map((plot) => plot.ariaLabel);
      area.querySelectorAll("[data-chart]").forEach((plot, place) => (plot.ariaLabel = said[place]));
    } else {
      rebuild(area, document.adoptNode(fresh));
    }
    update(changed);
  }

  // Everything but the first piece, the choice of series: what was open, drawn and in focus stays so.
  function rebuild(area, fresh) {
    const focused = document.activeElement?.closest("summary")?.parentNode.dataset.fold;
    for (const still of fresh.querySelectorAll(".still")) still.remove();
    keepOpen(area, fresh);
    keepPlots(area, fresh);
    for (const old of [...area.children].slice(1)) old.remove();
    area.append(...[...fresh.children].slice(1));
    if (focused) area.querySelector(`[data-fold="${CSS.escape(focused)}"] > summary`)?.focus();
    watch();
  }

  function keepOpen(area, fresh) {
    for (const { dataset } of area.querySelectorAll("details[open]")) {
      const same = fresh.querySelector(`[data-fold="${CSS.escape(dataset.fold)}"]`);
      if (same) same.open = true;
    }
  }

  // A plot that is drawn moves over with what the reader has zoomed.
  function keepPlots(area, fresh) {
    const fromNow = new Map([...fresh.querySelectorAll("[data-chart]")].map((plot) => [plot.dataset.chart, plot]));
    for (const plot of [...drawn]) {
      const place = fromNow.get(plot.dataset.chart);
      if (place) {
        plot.ariaLabel = place.ariaLabel;
        place.replaceWith(plot);
      } else if (area.contains(plot)) {
        window.Plotly.purge(plot);
        drawn.delete(plot);
        waiting.delete(plot);
      }
    }
  }

  function takeOver(area, fresh, selector) {
    const newer = fresh.querySelectorAll(selector);
    area.querySelectorAll(selector).forEach((old, place) => {
      if (!old.contains(document.activeElement) && !old.isEqualNode(newer[place])) old.replaceWith(newer[place]);
    });
  }

  // What is folded away now is drawn when it is opened.
  function redraw() {
    for (const plot of drawn) {
      if (plot.clientWidth > 0) draw(plot);
      else drawn.delete(plot);
    }
  }

  function fill(plot) {
    if (isDrawn(plot) && plot.clientWidth > 0) window.Plotly.Plots.resize(plot);
  }

  function isDrawn(plot) {
    return plot.classList.contains("js-plotly-plot");
  }

  function drawForPrint(plot) {
    if (plot.clientWidth === 0 || drawn.has(plot)) return;
    drawn.add(plot);
    draw(plot);
  }

  function see(plot) {
    if (drawn.has(plot)) return;
    drawn.add(plot);
    if (waiting.size === 0) requestAnimationFrame(drawNext);
    waiting.add(plot);
  }

  // One chart a frame, so that the page answers meanwhile.
  function drawNext() {
    const [plot] = waiting;
    if (!plot) return;
    waiting.delete(plot);
    draw(plot);
    if (waiting.size > 0) requestAnimationFrame(drawNext);
  }

  function draw(plot) {
    const figure = data.charts[plot.dataset.chart];
    if (!figure) return;
    const isNew = !isDrawn(plot);
    const ink = theme();
    const layout = laidOut(figure.layout, ink);
    const zoomed = isNew ? {} : zoomOf(plot);
    fitted.set(plot, { xaxis: [...layout.xaxis.range], yaxis: [...layout.yaxis.range] });
    for (const [axis, range] of Object.entries(zoomed)) layout[axis].range = range;
    window.Plotly.react(plot, figure.data.map((trace) => painted(trace, ink)), layout, CONFIG);
    if (!isNew) return;
    // The plot's label says more than its bare ticks.
    for (const svg of plot.querySelectorAll(".main-svg")) svg.setAttribute("aria-hidden", "true");
    plot.on("plotly_click", (event) => open(plot, event));
    plot.on("plotly_doubleclick", () => fit(plot));
  }

  // The ranges that the reader has chosen by zooming or dragging.
  function zoomOf(plot) {
    const fit = fitted.get(plot);
    const now = Object.keys(fit).map((axis) => [axis, [...plot.layout[axis].range]]);
    return Object.fromEntries(now.filter(([axis, range]) => range.some((end, place) => end !== fit[axis][place])));
  }

  function fit(plot) {
    const { xaxis, yaxis } = fitted.get(plot);
    window.Plotly.relayout(plot, { "xaxis.range": [...xaxis], "yaxis.range": [...yaxis] });
  }

  // The picture as it stands, under the run's and the chart's name; a PNG for print at three times the size.
  function save(plot, format) {
    const filename = `${document.title.split(" · ")[0]} ${plot.dataset.chart}`.replace(/[^\p{L}\p{N}._ -]+/gu, "-");
    const { clientWidth: width, clientHeight: height } = plot;
    return window.Plotly.downloadImage(plot, { format, filename, width, height, scale: format === "png" ? 3 : 1 });
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(`--${name}`).trim();
    const of = (series) => ink(`series-${data.series[series].colour}`);
    return { ink, of, font: getComputedStyle(document.body).fontFamily };
  }

  function isShown(series) {
    return !hidden.has(data.series[series].name);
  }

  function painted(trace, { of }) {
    const colour = of(trace.meta.series);
    const copy = { ...trace, visible: isShown(trace.meta.series), line: { ...trace.line, color: colour } };
    if (trace.meta.role === "band") copy.fillcolor = colour;
    if (trace.marker) copy.marker = { ...trace.marker, color: colour };
    return copy;
  }

  function laidOut(layout, { ink, of, font }) {
    const axis = { color: ink("faint"), gridcolor: ink("grid"), zeroline: false, automargin: true, fixedrange: false };
    const title = ({ text }) => ({ text, standoff: 8, font: { size: 12 } });
    const hover = { tickprefix: "update ", showtickprefix: "first" }; // hovering shows the prefix too
    const across = { ...axis, ...hover, showgrid: false, showline: true, linecolor: ink("line"), nticks: 8 };
    const shapes = layout.shapes.filter((shape) => whose(shape) === null || isShown(whose(shape)));
    return {
      ...layout,
      xaxis: { ...across, ...layout.xaxis, title: title(layout.xaxis.title) },
      yaxis: { ...axis, nticks: 6, ...layout.yaxis, title: title(layout.yaxis.title), range: rangeOf(layout) },
      shapes: shapes.map((shape) => ({
        ...shape,
        ...(shape.type === "rect" ? { fillcolor: ink("alarm"), opacity: 0.1 } : {}),
        line: { ...shape.line, color: whose(shape) === null ? ink("ink") : of(whose(shape)) },
      })),
      autosize: true,
      margin: { l: 12, r: 12, t: 10, b: 8 },
      paper_bgcolor: ink("card"),
      plot_bgcolor: ink("card"),
      font: { family: font, size: 12, color: ink("faint") },
      hovermode: "x unified",
      hoverlabel: { bgcolor: ink("card"), bordercolor: ink("line"), font: { color: ink("ink") }, namelength: -1 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink("faint"), activecolor: ink("link") },
      dragmode: TOUCH.matches ? false : "zoom",
      showlegend: false,
    };
  }

  function whose(shape) {
    const place = shape.name.split("/")[1];
    return place === undefined ? null : Number(place);
  }

  // The range that fits what is shown.
  function rangeOf(layout) {
    const ranges = layout.meta.ranges.filter((range, series) => range && isShown(series));
    if (ranges.length === 0) return layout.yaxis.range;
    return [Math.min(...ranges.map((range) => range[0])), Math.max(...ranges.map((range) => range[1]))];
  }

  // A click opens the nearest point's step; where there is no pointer to hover with, the second tap does.
  function open(plot, { points, event }) {
    const top = plot.getBoundingClientRect().top;
    const away = (point) => Math.abs(top + point.yaxis._offset + point.yaxis.c2p(point.y) - event.clientY);
    const point = points.reduce((best, other) => (away(other) < away(best) ? other : best));
    const detail = { preference: data.series[point.data.meta.series].name, updates: point.x };
    if (TOUCH.matches && !isSecondTap(JSON.stringify([plot.dataset.chart, detail.updates]))) return;
    plot.dispatchEvent(new CustomEvent("claas:open-step", { bubbles: true, detail }));
  }

  // One tap may come as two clicks, the second within half a second.
  function isSecondTap(place) {
    const isSecond = tapped?.place === place && performance.now() - tapped.at > 500;
    if (isSecond) tapped = null;
    else if (tapped?.place !== place) tapped = { place, at: performance.now() };
    return isSecond;
  }

  // The boxes that choose what is shown, each with its colour, marker and dashes.
  function offerSeries() {
    const area = document.getElementById("charts-series");
    if (!area) return;
    const focused = document.activeElement?.dataset?.key;
    const choices = data.series.map((series) => choice(series));
    const all = data.series.length > 1 ? [button("all", "all", () => hidden.clear())] : [];
    area.replaceChildren(...choices, ...all);
    area.querySelector(`[data-key="${CSS.escape(focused ?? "")}"]`)?.focus();
  }

  function choice(series) {
    const item = element("span", "series");
    const label = element("label");
    const box = element("input");
    box.type = "checkbox";
    box.checked = !hidden.has(series.name);
    box.dataset.key = `box ${series.name}`;
    const toggle = () => (box.checked ? hidden.delete(series.name) : hidden.add(series.name));
    box.addEventListener("change", () => choose(toggle));
    const name = element("bdi");
    name.textContent = series.name;
    label.append(box, swatch(series), name);
    if (series.note) label.append(note(series.note));
    item.append(label);
    if (data.series.length < 2) {
      box.hidden = true;
      return item;
    }
    const only = button("only", `only ${series.name}`, () => {
      for (const other of data.series) hidden.add(other.name);
      hidden.delete(series.name);
    });
    item.append(only);
    return item;
  }

  function choose(change) {
    change();
    offerSeries();
    redraw();
  }

  function button(text, key, change) {
    const made = element("button", "quiet");
    made.type = "button";
    made.textContent = text;
    made.dataset.key = key;
    if (key !== text) made.setAttribute("aria-label", key);
    made.addEventListener("click", () => choose(change));
    return made;
  }

  function note(text) {
    const made = element("span", "note");
    made.textContent = `(${text})`;
    return made;
  }

  const SHAPES = {
    circle: "M17 6m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    square: "M13 2h8v8h-8z",
    "triangle-up": "M17 1l5 9h-10z",
    diamond: "M17 1l5 5l-5 5l-5-5z",
    "triangle-down": "M17 11l5-9h-10z",
    cross: "M15.5 1h3v3.5h3.5v3h-3.5v3.500h-3v-3.500h-3.500v-3h3.500z",
    x: "M13 1l4 3l4-3l1 1l-3 4l3 4l-1 1l-4-3l-4 3l-1-1l3-4l-3-4z",
  };
  const STROKES = { solid: "", dash: "6 4", dot: "2 3", dashdot: "6 3 2 3" };

  function swatch(series) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const size = { viewBox: "0 0 34 12", width: 34, height: 12 };
    const values = { ...size, class: `swatch series-${series.colour}`, "aria-hidden": "true" };
    for (const [name, value] of Object.entries(values)) svg.setAttribute(name, value);
    const path = (d, dashes) => {
      const made = document.createElementNS(svg.namespaceURI, "path");
      made.setAttribute("d", d);
      if (dashes) made.setAttribute("stroke-dasharray", dashes);
      return made;
    };
    svg.append(path("M0 6h34", STROKES[series.dash]), path(SHAPES[series.marker]));
    return svg;
  }

  function element(name, className = "") {
    const made = document.createElement(name);
    if (className) made.className = className;
    return made;
  }

  start();
})();
