"use strict";
// Sets formulas with KaTeX, switches extractors, and keeps the three columns at the same place.
(() => {
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const frame = document.querySelector("iframe");
  const page = () => (frame ? frame.contentDocument : null);
  const options = { throwOnError: true, trust: false, strict: "ignore", maxSize: 12, maxExpand: 1000 };

  function set(element) {
    const tex = element.textContent;
    const row = element.closest(".row");
    try {
      katex.render(tex, element, { ...options, displayMode: element.classList.contains("block") });
    } catch (error) {
      element.textContent = tex;
      element.classList.add("broken");
      element.title = error.message;
      if (!row) return;
      const why = document.createElement("p");
      why.className = "broken-why";
      why.textContent = error.message;
      row.append(why);
      const chip = row.closest(".part").querySelector(".chip.broken");
      chip.classList.add("some");
      chip.firstElementChild.textContent = Number(chip.firstElementChild.textContent) + 1;
    }
  }

  // Thousands of formulas: a slice at a time, so that the page answers meanwhile.
  function setAll(elements) {
    const end = performance.now() + 40;
    while (elements.length && performance.now() < end) set(elements.shift());
    if (elements.length) setTimeout(setAll, 0, elements);
    else {
      known = {};
      document.body.dataset.state = "ready";
    }
  }

  const part = (column) => document.querySelector(`#${column} .part.on`);
  const scroller = (column) =>
    column === "source" ? page() && page().scrollingElement : document.querySelector(`#${column} .scroll`);

  function show(name) {
    known = {};
    for (const element of all(document, ".part")) element.classList.toggle("on", element.dataset.extractor === name);
    for (const button of all(document, "[data-show]")) button.classList.toggle("on", button.dataset.show === name);
    if (!page()) return;
    const kept = new Set(all(part("formulas"), ".row:not(.lost)").map((row) => row.dataset.mark));
    for (const mark of all(page(), "[data-mark]")) mark.classList.toggle("nv-lost", !kept.has(mark.dataset.mark));
  }

  function point(row) {
    for (const element of all(document, ".here")) element.classList.remove("here");
    if (page()) for (const element of all(page(), ".nv-here")) element.classList.remove("nv-here");
    row.classList.add("here");
    reveal("formulas", row);
    const span = row.dataset.span && part("text").querySelector(`.tex[data-span="${row.dataset.span}"]`);
    if (span) {
      span.classList.add("here");
      reveal("text", span);
    }
    if (!page() || !row.dataset.mark) return;
    const marks = all(page(), `[data-mark="${row.dataset.mark}"]`);
    for (const mark of marks) mark.classList.add("nv-here");
    if (marks.length) reveal("source", marks[0]);
  }

  // A frame without scripts runs no listeners, ours neither: its state is looked at instead.
  let seen = 0, pressed = null;
  function watch() {
    const box = scroller("source");
    if (box && Math.abs(box.scrollTop - seen) > 1) {
      seen = box.scrollTop;
      follow("source");
    }
    const mark = frame.matches(":hover") ? page().querySelector("[data-mark]:active") : null;
    if (mark && mark !== pressed && part("formulas")) {
      const row = part("formulas").querySelector(`.row[data-mark="${mark.dataset.mark}"]`);
      if (row) point(row);
    }
    pressed = mark;
    setTimeout(watch, 40);
  }

  let quiet = 0; // scrolls that we cause are not followed
  function move(column, top) {
    const box = scroller(column);
    if (!box || Math.abs(box.scrollTop - top) < 2) return;
    quiet = performance.now() + 200;
    box.scrollTop = top;
    if (column === "source") seen = box.scrollTop;
  }
  const place = (column, element) => {
    const box = scroller(column);
    const start = column === "source" ? 0 : box.getBoundingClientRect().top;
    return element.getBoundingClientRect().top - start + box.scrollTop;
  };
  function reveal(column, element) {
    const box = scroller(column);
    const top = place(column, element);
    const height = column === "source" ? frame.clientHeight : box.clientHeight;
    if (top < box.scrollTop + 20 || top > box.scrollTop + height - 80) move(column, top - height / 3);
  }

  // Places known in both columns: formulas, and headings with the same words.
  let known = {}; // by column, until something moves
  const pairs = (column) => (known[column] ??= measured(column));
  function measured(column) {
    const found = [];
    const rows = part("formulas") ? all(part("formulas"), ".row[data-span]") : [];
    for (const row of rows) {
      const span = part("text").querySelector(`.tex[data-span="${row.dataset.span}"]`);
      const mark = page() && row.dataset.mark && page().querySelector(`[data-mark="${row.dataset.mark}"]`);
      const other = column === "source" ? mark : row;
      if (span && other) found.push([place("text", span), place(column, other)]);
    }
    if (column === "source" && page()) {
      const words = (element) => element.textContent.replace(/[^\p{L}\p{N}]+/gu, " ").trim();
      const heads = all(page(), "h1,h2,h3,h4,h5,h6");
      let from = 0;
      for (const head of all(part("text"), "h1,h2,h3,h4,h5,h6")) {
        const at = heads.findIndex((other, i) => i >= from && words(other) === words(head));
        if (at < 0) continue;
        from = at + 1;
        found.push([place("text", head), place("source", heads[at])]);
      }
    }
    found.sort((a, b) => a[0] - b[0]);
    const rising = [[0, 0], ...longest(found)];
    const text = scroller("text"), other = scroller(column);
    rising.push([Math.max(text.scrollHeight, rising[rising.length - 1][0]), Math.max(other.scrollHeight, rising[rising.length - 1][1])]);
    return rising;
  }
  // The longest part that rises on both sides: what stands elsewhere in the text must not count.
  function longest(points) {
    const ends = [], before = [];
    points.forEach((point, i) => {
      let low = 0, high = ends.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points[ends[middle]][1] <= point[1]) low = middle + 1;
        else high = middle;
      }
      before[i] = low ? ends[low - 1] : -1;
      ends[low] = i;
    });
    const chosen = [];
    for (let i = ends.length ? ends[ends.length - 1] : -1; i >= 0; i = before[i]) chosen.unshift(points[i]);
    return chosen;
  }
  function map(points, value, from, to) {
    let i = 1;
    while (i < points.length - 1 && points[i][from] < value) i++;
    const [a, b] = [points[i - 1], points[i]];
    const share = b[from] > a[from] ? (value - a[from]) / (b[from] - a[from]) : 0;
    return a[to] + Math.min(Math.max(share, 0), 1) * (b[to] - a[to]);
  }
  function follow(column) {
    if (performance.now() < quiet || document.body.classList.contains("raw")) return;
    const at = scroller(column).scrollTop;
    let text = at;
    if (column !== "text") {
      const points = pairs(column);
      text = at < 5 ? 0 : map(points, at + 60, 1, 0) - 60;
      move("text", text);
    }
    for (const other of ["source", "formulas"]) {
      if (other === column || !scroller(other) || !part("text")) continue;
      move(other, text < 5 ? 0 : map(pairs(other), text + 60, 0, 1) - 60);
    }
  }
  let waiting = 0;
  const scrolled = (column) => () => {
    if (waiting) return;
    waiting = requestAnimationFrame(() => {
      waiting = 0;
      follow(column);
    });
  };

  function start() {
    const names = all(document, "[data-show]").map((button) => button.dataset.show);
    if (page()) watch();
    for (const column of ["text", "formulas"]) scroller(column).addEventListener("scroll", scrolled(column), { passive: true });
    document.addEventListener("click", (event) => {
      const { show: name, toggle } = event.target.dataset;
      if (name) show(name);
      if (toggle) event.target.classList.toggle("on", document.body.classList.toggle(toggle));
      const row = event.target.closest(".row");
      const span = event.target.closest("#text .tex");
      if (row) point(row);
      else if (span) point(part("formulas").querySelector(`.row[data-span="${span.dataset.span}"]`));
    });
    addEventListener("resize", () => (known = {}));
    document.addEventListener("keydown", (event) => {
      if (!["ArrowDown", "ArrowUp", "j", "k"].includes(event.key) || !part("formulas")) return;
      const rows = all(part("formulas"), ".row");
      const now = rows.findIndex((row) => row.classList.contains("here"));
      const next = rows[now + (event.key === "ArrowDown" || event.key === "j" ? 1 : -1)];
      if (!next || (now < 0 && event.key.startsWith("Arrow"))) return;
      event.preventDefault();
      point(next);
    });
    show(names[0]);
    const chosen = Number(location.hash.slice(1));  // page.html#3 points at the third formula
    const row = chosen && all(part("formulas"), ".row")[chosen - 1];
    setAll(all(document, "h1 .tex, .part.on .tex").concat(all(document, ".part:not(.on) .tex")));
    if (row) point(row);
  }
  if (document.readyState === "complete") start();
  else addEventListener("load", start);
})();
