"use strict";
// Text from the label space reaches the page through textContent and canvas only, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const D = JSON.parse($("data").textContent);
  const N = D.categories.length;
  const K = D.properties.length;

  // ---------------------------------------------------------------- data

  const has = D.signatures.map((numbers) => new Set(numbers));
  const owners = Array.from({ length: K }, () => []);
  D.signatures.forEach((numbers, i) => numbers.forEach((k) => owners[k].push(i)));
  // Whole numbers of shared properties, (N, N).
  const shared = new Uint16Array(N * N);
  for (const group of owners) for (const i of group) for (const j of group) shared[i * N + j]++;

  const distance = (i, j) =>
    i === j ? 0 : Math.max(0, 1 - shared[i * N + j] / Math.sqrt(has[i].size * has[j].size));
  const range = (count) => Array.from({ length: count }, (_, i) => i);
  const sortedBy = (numbers, key) => {
    const keys = numbers.map(key);
    return range(numbers.length).sort((a, b) => keys[a] - keys[b]).map((i) => numbers[i]);
  };
  const byName = (names) => {
    const collator = new Intl.Collator(undefined, { numeric: true });
    return range(names.length).sort((a, b) => collator.compare(names[a], names[b]));
  };
  const neighbours = (i) =>
    sortedBy(range(N).filter((j) => j !== i), (j) => distance(i, j));
  const sentencesOf = (i, k) =>
    D.sentences[i].filter((entry) => entry[1] === k).map((entry) => entry[0]);
  const number = (value) => value.toFixed(3);
  const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

  // ---------------------------------------------------------------- what is chosen

  // It lives in the address, so that "back" works and a view can be linked to.
  const VIEWS = ["matrix", "map", "likeness"];
  let chosen = {};

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const integer = (key, end) => {
      const value = Number.parseInt(given.get(key) ?? "", 10);
      return value >= 0 && value < end ? value : null;
    };
    const view = VIEWS.includes(given.get("view")) ? given.get("view") : VIEWS[0];
    const category = integer("category", N);
    const other = category === null ? null : integer("other", N);
    return { view, category, other: other === category ? null : other,
      property: integer("property", K) };
  }

  function choose(changes) {
    const next = { view: chosen.view, ...changes };
    const address = new URLSearchParams();
    for (const key of ["view", "category", "other", "property"]) {
      if (next[key] !== undefined && next[key] !== null) address.set(key, next[key]);
    }
    if (`#${address}` === location.hash) return;
    location.hash = address;
  }

  const tint = (k) =>
    owners[k].length > 1 ? colors.shared : owners[k].length ? colors.own : colors.muted;
  const isChosenCategory = (i) => i === chosen.category || i === chosen.other;

  // ---------------------------------------------------------------- small parts

  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.flat().filter((child) => child !== null));
    return node;
  }

  const text = (value) => el("bdi", {}, value);
  const link = (label, changes) =>
    el("button", { class: "link", type: "button", onclick: () => choose(changes) }, text(label));
  const categoryLink = (i) => link(D.categories[i], { category: i });
  const propertyLink = (k) => link(D.properties[k], { property: k });
  const listOf = (items, most) => {
    const shown = items.length > most + 1 ? items.slice(0, most) : items;
    const nodes = shown.flatMap((item, i) => (i ? [", ", item] : [item]));
    if (shown.length < items.length) nodes.push(` and ${items.length - shown.length} more`);
    return nodes;
  };
  const sentenceList = (sentences) =>
    sentences.length
      ? el("ul", { class: "sentences" }, sentences.map((line) => el("li", {}, text(line))))
      : null;

  function bar(label, value, action) {
    const fill = el("i");
    fill.style.width = `${100 * Math.max(0, 1 - value)}%`;
    return el("li", {}, label, el("span", { class: "track", "aria-hidden": "true" }, fill),
      el("span", { class: "number" }, number(value)), action ?? "");
  }

  const style = getComputedStyle(document.documentElement);
  let colors = {};
  function readColors() {
    for (const name of ["panel", "ink", "muted", "line", "empty", "accent", "shared", "own",
      "choice", "band", "heat-0", "heat-1", "heat-2"]) {
      colors[name] = style.getPropertyValue(`--${name}`).trim();
    }
    const channels = [0, 1, 2].map((i) =>
      [1, 3, 5].map((at) => Number.parseInt(colors[`heat-${i}`].slice(at, at + 2), 16)));
    colors.heat = range(256).map((i) => {
      const place = (i / 255) * 2;
      const from = Math.min(1, Math.floor(place));
      const mixed = channels[from].map((value, c) =>
        Math.round(value + (channels[from + 1][c] - value) * (place - from)));
      return `rgb(${mixed})`;
    });
  }

  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

  function prepare(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = FONT;
    pen.clearRect(0, 0, width, height);
    return pen;
  }

  // The beginning of a text that fits into so many pixels. Measuring is slow, so results are kept.
  const kept = new Map();
  function cropped(pen, label, width) {
    const key = `${Math.floor(width)} ${label}`;
    if (!kept.has(key)) {
      if (kept.size > 20000) kept.clear();
      kept.set(key, crop(pen, label, width));
    }
    return kept.get(key);
  }

  function crop(pen, label, width) {
    const line = label.slice(0, 200).replace(/\s+/g, " ");
    if (line.length === label.length && pen.measureText(line).width <= width) return line;
    const letters = [...line];
    let [low, high] = [0, letters.length];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (pen.measureText(`${letters.slice(0, middle).join("")}…`).width <= width) low = middle;
      else high = middle - 1;
    }
    return `${letters.slice(0, low).join("").trimEnd()}…`;
  }

  function showTip(lines, x, y) {
    const tip = $("tip");
    tip.replaceChildren(...lines.map((line) => el("p", {}, text(line))));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth ? x - 14 - box.width : x + 14;
    const top = y + 16 + box.height > innerHeight ? y - 12 - box.height : y + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  }
  const hideTip = () => { $("tip").hidden = true; };
  const say = (line) => { $("status").textContent = line; };

  function zoomButtons(view, actions) {
    view.querySelector(".zoom").append(...[
      ["−", "smaller", actions.out], ["All", "show everything", actions.all],
      ["+", "larger", actions.in],
    ].map(([sign, label, onclick]) =>
      el("button", { type: "button", "aria-label": label, title: label, onclick }, sign)));
  }

  // ---------------------------------------------------------------- grid of cells

  // A canvas as large as what is seen of it, with headings that stay, inside a scrolling box.
  function makeGrid(view, spec) {
    const scroller = view.querySelector(".scroller");
    const canvas = el("canvas", { "aria-hidden": "true" });
    const room = el("div", {}, canvas);
    scroller.append(room);
    let rows = [], columns = [];
    let cell = null; // {w, h} in pixels; null: to be chosen for the size of the box
    let left = 0, top = 0; // width and height of the headings
    let cursor = null, hover = null; // {row, column}: places in the present order, -1 for a heading
    const [SMALL, READABLE, LARGE] = [1.5, 13, 40];

    function fit(whole) {
      const [width, height] = [scroller.clientWidth - left - 6, scroller.clientHeight - top - 6];
      const clamp = (value, least) => Math.min(LARGE, Math.max(least, value));
      const [w, h] = [width / columns.length, height / rows.length];
      if (spec.square) {
        const side = clamp(Math.min(w, h), SMALL);
        return { w: side, h: side };
      }
      return { w: clamp(w, whole ? SMALL : 3), h: clamp(h, whole ? SMALL : READABLE) };
    }

    function measure() {
      const pen = canvas.getContext("2d");
      pen.font = FONT;
      const widest = (names) => names.reduce((most, name) =>
        Math.max(most, pen.measureText(name.slice(0, 60)).width), 0);
      left = Math.min(widest(rows.map(spec.rowName)) + 12, scroller.clientWidth * 0.3, 170);
      top = Math.min(widest(columns.map(spec.columnName)) + 12, scroller.clientHeight * 0.3, 150);
      if (cell === null) cell = fit(false);
      room.style.width = `${left + cell.w * columns.length + 6}px`;
      room.style.height = `${top + cell.h * rows.length + 6}px`;
    }

    function draw() {
      if (view.hidden || !scroller.clientWidth) return;
      if (cell === null) measure();
      const [width, height] = [scroller.clientWidth, scroller.clientHeight];
      const [x0, y0] = [left - scroller.scrollLeft, top - scroller.scrollTop];
      const pen = prepare(canvas, width, height);
      const firstRow = Math.max(0, Math.floor((top - y0) / cell.h));
      const endRow = Math.min(rows.length, Math.ceil((height - y0) / cell.h));
      const firstColumn = Math.max(0, Math.floor((left - x0) / cell.w));
      const endColumn = Math.min(columns.length, Math.ceil((width - x0) / cell.w));
      const gapX = cell.w >= 5 ? 1 : 0, gapY = cell.h >= 5 ? 1 : 0;

      pen.save();
      pen.beginPath();
      pen.rect(left - 2, top - 2, width, height);
      pen.clip();
      pen.fillStyle = colors.empty;
      pen.fillRect(x0, y0, cell.w * columns.length, cell.h * rows.length);
      pen.fillStyle = colors.panel;
      if (gapX) for (let c = firstColumn; c < endColumn; c++) {
        pen.fillRect(x0 + (c + 1) * cell.w - 1, y0, 1, cell.h * rows.length);
      }
      if (gapY) for (let r = firstRow; r < endRow; r++) {
        pen.fillRect(x0, y0 + (r + 1) * cell.h - 1, cell.w * columns.length, 1);
      }
      for (let r = firstRow; r < endRow; r++) {
        for (let c = firstColumn; c < endColumn; c++) {
          const paint = spec.paint(rows[r], columns[c]);
          if (paint === null) continue;
          pen.globalAlpha = paint.faint ? 0.3 : 1;
          pen.fillStyle = paint.color;
          pen.fillRect(x0 + c * cell.w, y0 + r * cell.h, Math.max(1, cell.w - gapX),
            Math.max(1, cell.h - gapY));
        }
      }
      pen.globalAlpha = 1;
      pen.strokeStyle = colors.choice;
      pen.lineWidth = 1.5;
      for (let r = firstRow; r < endRow; r++) {
        if (spec.rowChosen(rows[r])) {
          pen.strokeRect(x0 - 2, y0 + r * cell.h - 1, cell.w * columns.length + 4, cell.h + 1);
        }
      }
      for (let c = firstColumn; c < endColumn; c++) {
        if (spec.columnChosen(columns[c])) {
          pen.strokeRect(x0 + c * cell.w - 1, y0 - 2, cell.w + 1, cell.h * rows.length + 4);
        }
      }
      const marked = document.activeElement === scroller && cursor ? cursor : hover;
      if (marked && marked.row >= 0 && marked.column >= 0) {
        pen.strokeStyle = colors.panel;
        pen.lineWidth = 4;
        const box = [x0 + marked.column * cell.w - 1.5, y0 + marked.row * cell.h - 1.5,
          cell.w + 2, cell.h + 2];
        pen.strokeRect(...box);
        pen.strokeStyle = colors.choice;
        pen.lineWidth = 2;
        pen.strokeRect(...box);
      }
      pen.restore();

      const stress = (index, list, isChosen, place) =>
        place === index ? 2 : isChosen(list[index]) ? 1 : 0;
      headings(pen, firstRow, endRow, cell.h, (r) => y0 + r * cell.h, top, height,
        (r) => stress(r, rows, spec.rowChosen, marked?.row), (r, at, level) => {
          pen.textAlign = "right";
          plate(pen, level, 0, at - 8, left - 4, 16);
          pen.fillText(cropped(pen, spec.rowName(rows[r]), left - 12), left - 8, at);
        });
      headings(pen, firstColumn, endColumn, cell.w, (c) => x0 + c * cell.w, left, width,
        (c) => stress(c, columns, spec.columnChosen, marked?.column), (c, at, level) => {
          pen.save();
          pen.translate(at, top - 8);
          pen.rotate(-Math.PI / 2);
          pen.textAlign = "left";
          plate(pen, level, -4, -8, top, 16);
          pen.fillText(cropped(pen, spec.columnName(columns[c]), top - 12), 0, 0);
          pen.restore();
        });
    }

    function plate(pen, level, x, y, width, height) {
      if (level > 0) {
        pen.fillStyle = colors.panel;
        pen.fillRect(x, y, width, height);
      }
      pen.fillStyle = level > 0 ? colors.ink : colors.muted;
      pen.textBaseline = "middle";
    }

    // Names along one side; where cells are small, of every second, third, ... row or column, and
    // in any case of the chosen one and of that under the pointer.
    function headings(pen, first, end, size, start, from, to, level, write) {
      const step = Math.max(1, Math.ceil(READABLE / size));
      const late = [];
      for (let i = first; i < end; i++) {
        const at = start(i) + size / 2;
        if (at < from || at > to) continue;
        if (level(i)) late.push([i, at]);
        else if (i % step === 0) write(i, at, 0);
      }
      late.sort((a, b) => level(a[0]) - level(b[0]));
      for (const [i, at] of late) write(i, at, level(i));
    }

    function locate(event) {
      const box = scroller.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      const column = Math.floor((x - left + scroller.scrollLeft) / cell.w);
      const row = Math.floor((y - top + scroller.scrollTop) / cell.h);
      const place = { row: y < top ? -1 : row, column: x < left ? -1 : column };
      const outside = place.row >= rows.length || place.column >= columns.length ||
        (place.row < 0 && place.column < 0);
      return outside ? null : place;
    }

    const named = (place) => [place.row < 0 ? null : rows[place.row],
      place.column < 0 ? null : columns[place.column]];

    function point(place, x, y) {
      hover = place;
      if (place) showTip(spec.describe(...named(place)), x, y);
      else hideTip();
      scroller.style.cursor = place ? "pointer" : "default";
      draw();
    }

    // Scrolls no further than needed; -1 stands for no row or column.
    function reveal(row, column) {
      const { clientWidth: width, clientHeight: height, scrollLeft: sx, scrollTop: sy } = scroller;
      const [x, y] = [column * cell.w, row * cell.h];
      if (column >= 0) scroller.scrollLeft = Math.max(left + x + cell.w - width + 8, Math.min(sx, x));
      if (row >= 0) scroller.scrollTop = Math.max(top + y + cell.h - height + 8, Math.min(sy, y));
    }

    function moveCursor(place) {
      cursor = { row: Math.min(rows.length - 1, Math.max(0, place.row)),
        column: Math.min(columns.length - 1, Math.max(0, place.column)) };
      reveal(cursor.row, cursor.column);
      const box = scroller.getBoundingClientRect();
      const lines = spec.describe(...named(cursor));
      showTip(lines, box.left + left + (cursor.column + 1) * cell.w - scroller.scrollLeft,
        box.top + top + (cursor.row + 1) * cell.h - scroller.scrollTop);
      say(lines.slice(0, 3).join(", "));
      draw();
    }

    // Keeps what is in the middle of the box there.
    function resize(next) {
      const [width, height] = [scroller.clientWidth, scroller.clientHeight];
      const column = (scroller.scrollLeft + (width - left) / 2) / cell.w;
      const row = (scroller.scrollTop + (height - top) / 2) / cell.h;
      cell = next;
      measure();
      scroller.scrollLeft = column * cell.w - (width - left) / 2;
      scroller.scrollTop = row * cell.h - (height - top) / 2;
      draw();
    }
    const scale = (factor) => {
      const clamp = (value) => Math.min(60, Math.max(SMALL, value));
      // Long cells first become square.
      const long = cell.w / cell.h;
      const keepW = factor > 1 ? long > 1.5 : long < 1 / 1.5;
      const keepH = factor > 1 ? long < 1 / 1.5 : long > 1.5;
      resize({ w: keepW ? cell.w : clamp(cell.w * factor),
        h: keepH ? cell.h : clamp(cell.h * factor) });
    };
    const all = () => resize(fit(true));

    scroller.addEventListener("scroll", draw);
    scroller.addEventListener("pointermove", (event) =>
      point(locate(event), event.clientX, event.clientY));
    scroller.addEventListener("pointerleave", () => point(null));
    scroller.addEventListener("click", (event) => {
      const place = locate(event);
      if (!place) return;
      cursor = place.row >= 0 && place.column >= 0 ? place : cursor;
      spec.choose(...named(place));
    });
    scroller.addEventListener("blur", () => { hideTip(); draw(); });
    scroller.addEventListener("focus", draw);
    scroller.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      scale(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    }, { passive: false });
    scroller.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
        PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -columns.length], End: [0, columns.length] };
      const now = cursor ?? { row: Math.max(0, rows.findIndex(spec.rowChosen)),
        column: Math.max(0, columns.findIndex(spec.columnChosen)) };
      if (event.key in steps) {
        const [down, right] = cursor ? steps[event.key] : [0, 0];
        moveCursor({ row: now.row + down, column: now.column + right });
      } else if (event.key === "Enter" || event.key === " ") {
        spec.choose(...named(now));
      } else if (event.key === "Escape") {
        cursor = null;
        hideTip();
        draw();
      } else if (event.key === "+" || event.key === "=") scale(1.25);
      else if (event.key === "-") scale(1 / 1.25);
      else if (event.key === "0") all();
      else return;
      event.preventDefault();
    });
    zoomButtons(view, { out: () => scale(1 / 1.25), all, in: () => scale(1.25) });
    new ResizeObserver(() => {
      if (view.hidden || !scroller.clientWidth) return;
      measure();
      draw();
    }).observe(scroller);

    return {
      draw,
      showChosen() {
        if (view.hidden || !scroller.clientWidth) return;
        reveal(rows.findIndex(spec.rowChosen), columns.findIndex(spec.columnChosen));
      },
      order(newRows, newColumns) {
        if (`${rows}|${columns}` === `${newRows}|${newColumns}`) return;
        [rows, columns, cursor, hover] = [newRows, newColumns, null, null];
        if (!view.hidden && scroller.clientWidth) measure();
      },
    };
  }

  // ---------------------------------------------------------------- the three views

  function categoryOrder(how) {
    if (how === "alike") return D.categoryOrder;
    if (how === "name") return byName(D.categories);
    if (how === "count") return sortedBy(range(N), (i) => -has[i].size);
    if (how === "near" && chosen.category !== null) {
      return [chosen.category, ...neighbours(chosen.category)];
    }
    return range(N);
  }

  function propertyOrder(how, rows) {
    if (how === "alike") return D.propertyOrder;
    if (how === "count") return sortedBy(range(K), (k) => -owners[k].length);
    if (how === "near" && chosen.category !== null) {
      return sortedBy(D.propertyOrder, (k) => (has[chosen.category].has(k) ? 0 : 1));
    }
    if (how === "steps") {
      const place = new Map(rows.map((i, r) => [i, r]));
      const first = (k) => owners[k].reduce((least, i) => Math.min(least, place.get(i)), N);
      return sortedBy(sortedBy(range(K), (k) => -owners[k].length), first);
    }
    return range(K);
  }

  const matrix = makeGrid($("view-matrix"), {
    rowName: (i) => D.categories[i],
    columnName: (k) => D.properties[k],
    rowChosen: (i) => isChosenCategory(i),
    columnChosen: (k) => k === chosen.property,
    paint(i, k) {
      if (!has[i].has(k)) return null;
      const related = chosen.category !== null ? has[chosen.category].has(k) ||
        (chosen.other !== null && has[chosen.other].has(k)) : true;
      return { color: tint(k), faint: !related };
    },
    describe(i, k) {
      if (k === null) return [D.categories[i], plural(has[i].size, "property", "properties")];
      if (i === null) return [D.properties[k], plural(owners[k].length, "category", "categories")];
      if (!has[i].has(k)) return [D.categories[i], `does not have: ${D.properties[k]}`];
      return [D.categories[i], D.properties[k],
        ...sentencesOf(i, k).slice(0, 4).map((line) => `– ${line}`)];
    },
    choose: (i, k) => choose(i === null ? { property: k } : { category: i, property: k }),
  });

  const likeness = makeGrid($("view-likeness"), {
    square: true,
    rowName: (i) => D.categories[i],
    columnName: (j) => D.categories[j],
    rowChosen: (i) => isChosenCategory(i),
    columnChosen: (j) => isChosenCategory(j),
    paint(i, j) {
      const like = Math.round(255 * (1 - distance(i, j)));
      return like ? { color: colors.heat[like], faint: false } : null;
    },
    describe(i, j) {
      if (i === null || j === null || i === j) return [D.categories[i ?? j]];
      return [`${D.categories[i]} and ${D.categories[j]}`,
        `${shared[i * N + j]} of ${has[i].size} and ${has[j].size} properties shared`,
        `cosine distance ${number(distance(i, j))}`];
    },
    choose: (i, j) =>
      choose(i === null || j === null || i === j ? { category: i ?? j } : { category: i, other: j }),
  });

  const map = makeMap($("view-map"));

  function makeMap(view) {
    const plane = view.querySelector(".plane");
    const canvas = el("canvas", { "aria-hidden": "true" });
    plane.append(canvas);
    let zoom = 1, shiftX = 0, shiftY = 0, hover = null, cursor = null, drag = null;
    const [MARGIN, MOST_LABELS] = [36, 250];

    function place(k) {
      const [width, height] = [plane.clientWidth - 2 * MARGIN, plane.clientHeight - 2 * MARGIN];
      const [x, y] = D.map[k];
      return [MARGIN + width * (0.5 + zoom * (x / 1000 - 0.5 + shiftX)),
        MARGIN + height * (0.5 + zoom * (0.5 - y / 1000 + shiftY))];
    }
    const radius = (k) =>
      3 + 1.6 * Math.sqrt(Math.max(0, owners[k].length - 0.5)) * Math.min(1.5, zoom ** 0.3);

    function draw() {
      if (view.hidden || !plane.clientWidth) return;
      const [width, height] = [plane.clientWidth, plane.clientHeight];
      const pen = prepare(canvas, width, height);
      const group = new Set([chosen.category, chosen.other].filter((i) => i !== null)
        .flatMap((i) => D.signatures[i]));
      const marked = document.activeElement === plane && cursor !== null ? cursor : hover;
      const center = marked ?? chosen.property;
      const related = (k) => (group.size ? group.has(k) : true) || k === center ||
        k === chosen.property;
      const points = range(K).map((k) => [k, ...place(k)])
        .filter(([, x, y]) => x > -20 && y > -20 && x < width + 20 && y < height + 20);

      if (center !== null && center !== undefined) {
        pen.strokeStyle = colors.muted;
        pen.lineWidth = 1.25;
        const [x, y] = place(center);
        D.nearest[center].slice(0, 5).forEach(([k]) => {
          pen.beginPath();
          pen.moveTo(x, y);
          pen.lineTo(...place(k));
          pen.stroke();
        });
      }
      // Large ones first, so that small ones lie on top of them.
      for (const [k, x, y] of sortedBy(points, ([k]) => (related(k) ? K : 0) - owners[k].length)) {
        pen.globalAlpha = related(k) ? 0.9 : 0.22;
        pen.fillStyle = tint(k);
        pen.beginPath();
        pen.arc(x, y, radius(k), 0, 2 * Math.PI);
        pen.fill();
        pen.globalAlpha = 1;
        pen.lineWidth = k === chosen.property || k === marked ? 3 : 1;
        pen.strokeStyle = pen.lineWidth > 1 ? colors.choice : colors.panel;
        pen.stroke();
      }
      pen.lineWidth = 1;
      labels(pen, points, width, height, center, group, marked);
    }

    // Names that fit without covering each other, the important ones first.
    function labels(pen, points, width, height, center, group, marked) {
      const near = new Set(center === null || center === undefined ? [] :
        D.nearest[center].slice(0, 5).map(([k]) => k));
      const weight = (k) => (k === marked ? 4e6 : 0) + (k === chosen.property ? 2e6 : 0) +
        (near.has(k) ? 1e6 : 0) + (group.has(k) ? 1e5 : 0) + owners[k].length;
      const strong = (k) => weight(k) >= 1e5;
      // Beside a choice, only what belongs to it has a name.
      const named = group.size || chosen.property !== null ?
        points.filter(([k]) => strong(k)) : points;
      const taken = named.map(([k, x, y]) =>
        ({ x0: x - radius(k), y0: y - radius(k), x1: x + radius(k), y1: y + radius(k) }));
      const isFree = (u, v, size) => u > 2 && u + size < width - 2 && v > 8 && v < height - 8 &&
        taken.every((box) => u >= box.x1 || u + size <= box.x0 || v - 8 >= box.y1 ||
          v + 8 <= box.y0);
      pen.textAlign = "left";
      pen.textBaseline = "middle";
      for (const [k, x, y] of sortedBy(named, ([k]) => -weight(k)).slice(0, MOST_LABELS)) {
        const line = cropped(pen, D.properties[k], strong(k) ? 260 : 150);
        const size = pen.measureText(line).width;
        const r = radius(k) + 4;
        const spots = [[x + r, y], [x - r - size, y], [x - size / 2, y - r - 5],
          [x - size / 2, y + r + 5]];
        let spot = spots.find(([u, v]) => isFree(u, v, size));
        if (!spot && k !== marked && k !== chosen.property) continue;
        spot ??= [Math.max(2, Math.min(width - size - 2, x + r)), y];
        const [u, v] = spot;
        taken.push({ x0: u, y0: v - 8, x1: u + size, y1: v + 8 });
        pen.lineWidth = 4;
        pen.lineJoin = "round";
        pen.strokeStyle = colors.panel;
        pen.strokeText(line, u, v);
        pen.fillStyle = strong(k) ? colors.ink : colors.muted;
        pen.fillText(line, u, v);
      }
    }

    function nearestTo(x, y, reach) {
      let [best, least] = [null, reach];
      for (let k = 0; k < K; k++) {
        const [u, v] = place(k);
        const away = Math.hypot(u - x, v - y) - radius(k);
        if (away < least) [best, least] = [k, away];
      }
      return best;
    }

    const describe = (k) => [D.properties[k],
      listOf(owners[k].map((i) => D.categories[i]), 8).join("")];

    function scaleAt(factor, x, y) {
      const next = Math.min(20, Math.max(1, zoom * factor));
      const [width, height] = [plane.clientWidth - 2 * MARGIN, plane.clientHeight - 2 * MARGIN];
      const [u, v] = [(x - MARGIN) / width - 0.5, (y - MARGIN) / height - 0.5];
      shiftX += u / next - u / zoom;
      shiftY += v / next - v / zoom;
      zoom = next;
      bound();
      // At full size a finger scrolls the page, otherwise it moves the map.
      plane.style.touchAction = zoom > 1 ? "none" : "pan-y";
      draw();
    }
    function bound() {
      const most = 0.5 * (1 - 1 / zoom) + 0.1;
      [shiftX, shiftY] = [shiftX, shiftY].map((s) => Math.max(-most, Math.min(most, s)));
      if (zoom === 1) [shiftX, shiftY] = [0, 0];
    }
    const scale = (factor) => scaleAt(factor, plane.clientWidth / 2, plane.clientHeight / 2);
    const all = () => scale(1 / 20);

    function moveCursor(dx, dy) {
      const from = cursor ?? chosen.property;
      let next = 0;
      if (from !== null && from !== undefined) {
        const [x, y] = place(from);
        next = sortedBy(range(K).filter((k) => {
          const [u, v] = place(k);
          return k !== from && (u - x) * dx + (v - y) * dy > 0 &&
            Math.abs((u - x) * dx + (v - y) * dy) >= Math.abs((u - x) * dy - (v - y) * dx);
        }), (k) => Math.hypot(place(k)[0] - x, place(k)[1] - y))[0] ?? from;
      }
      cursor = next;
      let [x, y] = place(next);
      const [width, height] = [plane.clientWidth, plane.clientHeight];
      if (x < 0 || y < 0 || x > width || y > height) {
        shiftX -= (x - width / 2) / ((width - 2 * MARGIN) * zoom);
        shiftY -= (y - height / 2) / ((height - 2 * MARGIN) * zoom);
        bound();
        [x, y] = place(next);
      }
      const box = plane.getBoundingClientRect();
      showTip(describe(next), box.left + x, box.top + y);
      say(describe(next).join(": "));
      draw();
    }

    const inside = (event) => {
      const box = plane.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    plane.addEventListener("pointerdown", (event) => {
      const [x, y] = inside(event);
      drag = { x, y, shiftX, shiftY, far: false };
    });
    plane.addEventListener("pointermove", (event) => {
      const [x, y] = inside(event);
      if (drag && event.buttons) {
        drag.far ||= Math.hypot(x - drag.x, y - drag.y) > 4;
        if (drag.far) {
          if (!plane.hasPointerCapture(event.pointerId)) plane.setPointerCapture(event.pointerId);
          plane.classList.add("dragged");
          hideTip();
          shiftX = drag.shiftX + (x - drag.x) / ((plane.clientWidth - 2 * MARGIN) * zoom);
          shiftY = drag.shiftY + (y - drag.y) / ((plane.clientHeight - 2 * MARGIN) * zoom);
          bound();
          draw();
        }
        return;
      }
      const k = nearestTo(x, y, 8);
      plane.style.cursor = k === null ? "" : "pointer";
      if (k === null) hideTip();
      else showTip(describe(k), event.clientX, event.clientY);
      if (k !== hover) {
        hover = k;
        draw();
      }
    });
    plane.addEventListener("pointerup", () => plane.classList.remove("dragged"));
    plane.addEventListener("pointerleave", () => {
      hover = null;
      hideTip();
      draw();
    });
    plane.addEventListener("click", (event) => {
      const k = drag?.far ? null : nearestTo(...inside(event), 8);
      if (k === null) return;
      cursor = k;
      choose({ property: k });
    });
    plane.addEventListener("wheel", (event) => {
      event.preventDefault();
      scaleAt(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...inside(event));
    }, { passive: false });
    plane.addEventListener("blur", () => { hideTip(); draw(); });
    plane.addEventListener("focus", draw);
    plane.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
      if (event.key in steps) moveCursor(...steps[event.key]);
      else if ((event.key === "Enter" || event.key === " ") && cursor !== null) {
        choose({ property: cursor });
      } else if (event.key === "Escape") {
        cursor = null;
        hideTip();
        draw();
      } else if (event.key === "+" || event.key === "=") scale(1.3);
      else if (event.key === "-") scale(1 / 1.3);
      else if (event.key === "0") all();
      else return;
      event.preventDefault();
    });
    zoomButtons(view, { out: () => scale(1 / 1.3), all, in: () => scale(1.3) });
    new ResizeObserver(draw).observe(plane);
    return { draw };
  }

  function orderGrids() {
    const rows = categoryOrder($("matrix-rows").value);
    matrix.order(rows, propertyOrder($("matrix-columns").value, rows));
    const order = categoryOrder($("likeness-order").value);
    likeness.order(order, order);
  }

  // ---------------------------------------------------------------- details

  const heading = (title, sub) => [
    chosen.category === null && chosen.property === null ? null :
      el("button", { class: "link back", type: "button", onclick: () => choose({}) }, "Overview"),
    el("h2", {}, title), el("p", { class: "sub" }, sub)];

  function overview() {
    const pairs = D.alike.map(([i, j]) => bar(
      el("span", {}, categoryLink(i), " and ", categoryLink(j)), distance(i, j),
      link("compare", { category: i, other: j })));
    const most = sortedBy(range(K), (k) => -owners[k].length).slice(0, 8);
    return [
      ...heading("Overview", "Choose a category or a property in a view, or search."),
      el("dl", { class: "facts" }, D.figures.flatMap(([what, value]) =>
        [el("dt", {}, what), el("dd", {}, value)])),
      ...(pairs.length ? [el("h3", {}, "Most alike (cosine distance of signatures)"),
        el("ul", { class: "bars" }, pairs)] : []),
      el("h3", {}, "Properties of most categories"),
      el("ul", { class: "entries" }, most.map((k) => el("li", {}, propertyLink(k), " ",
        el("span", { class: "also" }, `(${owners[k].length})`)))),
      ...(D.provenance.length ? [el("h3", {}, "How it was made"),
        el("dl", { class: "facts" }, D.provenance.flatMap(([what, value]) =>
          [el("dt", {}, text(what)), el("dd", {}, text(value))]))] : []),
    ];
  }

  function propertyEntry(k, i) {
    const others = owners[k].filter((j) => j !== i);
    return el("li", { class: k === chosen.property ? "chosen" : null }, propertyLink(k),
      others.length
        ? el("div", { class: "also" }, "also: ", listOf(others.map(categoryLink), 5))
        : el("div", { class: "only" }, `only ${D.categories[i]}`),
      sentenceList(sentencesOf(i, k)));
  }

  function categoryDetails(i) {
    const numbers = sortedBy(D.signatures[i], (k) => owners[k].length);
    const loose = sentencesOf(i, -1);
    const lacks = chosen.property !== null && !has[i].has(chosen.property);
    const select = el("select", { class: "compare", "aria-label": "Compare with", onchange: (event) =>
      choose({ category: i, other: Number(event.target.value) }) },
    el("option", { value: "" }, "Compare with …"),
    byName(D.categories).filter((j) => j !== i)
      .map((j) => el("option", { value: j }, D.categories[j].slice(0, 80))));
    return [
      ...heading(text(D.categories[i]), `category ${i} · ` +
        `${plural(has[i].size, "property", "properties")} · ` +
        plural(D.sentences[i].length, "sentence", "sentences")),
      N > 1 ? select : null,
      lacks ? el("p", { class: "notice" }, text(D.categories[i]), " does not have the property ",
        propertyLink(chosen.property)) : null,
      el("h3", {}, "Properties, those of few categories first"),
      el("ul", { class: "entries" }, numbers.map((k) => propertyEntry(k, i))),
      ...(loose.length ? [el("h3", {}, "Sentences"), sentenceList(loose)] : []),
      ...(N > 1 ? [el("h3", {}, "Nearest categories (cosine distance of signatures)"),
        el("ul", { class: "bars" }, neighbours(i).slice(0, 10).map((j) => bar(categoryLink(j),
          distance(i, j), link("compare", { category: i, other: j }))))] : []),
    ];
  }

  function pairDetails(i, j) {
    const part = (title, numbers) => [
      el("h3", {}, `${title} (${numbers.length})`),
      el("ul", { class: "entries" }, numbers.map((k) => el("li", {}, propertyLink(k),
        sentenceList([...new Set([i, j].filter((c) => has[c].has(k))
          .flatMap((c) => sentencesOf(c, k)))]))))];
    return [
      ...heading([categoryLink(i), " and ", categoryLink(j)],
        `cosine distance of signatures ${number(distance(i, j))}`),
      ...part("Both", D.signatures[i].filter((k) => has[j].has(k))),
      ...part(`Only ${D.categories[i]}`, D.signatures[i].filter((k) => !has[j].has(k))),
      ...part(`Only ${D.categories[j]}`, D.signatures[j].filter((k) => !has[i].has(k))),
    ];
  }

  function propertyDetails(k) {
    const count = owners[k].reduce((sum, i) => sum + sentencesOf(i, k).length, 0);
    return [
      ...heading(text(D.properties[k]), `property ${k} · ` +
        `${plural(owners[k].length, "category", "categories")} · ` +
        plural(count, "sentence", "sentences")),
      el("h3", {}, owners[k].length ? "Categories that have it" : "No category has it"),
      el("ul", { class: "entries" }, owners[k].map((i) =>
        el("li", {}, categoryLink(i), sentenceList(sentencesOf(i, k))))),
      ...(K > 1 ? [el("h3", {}, "Nearest properties (cosine distance in the bank)"),
        el("ul", { class: "bars" },
          D.nearest[k].map(([other, value]) => bar(propertyLink(other), value / 1000)))] : []),
    ];
  }

  function showDetails() {
    const { category: i, other: j, property: k } = chosen;
    const content = i !== null && j !== null ? pairDetails(i, j) : i !== null ? categoryDetails(i) :
      k !== null ? propertyDetails(k) : overview();
    const details = $("details");
    // What had the focus is gone with the old content.
    const focused = details.contains(document.activeElement);
    details.replaceChildren(...content.filter((node) => node !== null));
    details.scrollTop = 0;
    if (focused) details.focus({ preventScroll: true });
    const entry = details.querySelector(".chosen");
    if (entry) {
      const far = entry.offsetTop + entry.offsetHeight - details.clientHeight;
      if (far > details.offsetTop) details.scrollTop = entry.offsetTop - details.offsetTop - 60;
    }
    say(details.querySelector("h2").textContent + ", " +
      details.querySelector(".sub").textContent);
  }

  // ---------------------------------------------------------------- search

  const haystack = [
    ...D.categories.map((name, i) => ({ kind: "Categories", name, go: { category: i } })),
    ...D.properties.map((name, k) => ({ kind: "Properties", name, go: { property: k } })),
    ...D.sentences.flatMap((entries, i) => entries.map(([name, k]) => ({ kind: "Sentences", name,
      note: D.categories[i], go: k < 0 ? { category: i } : { category: i, property: k } }))),
  ].map((item) => ({ ...item, folded: item.name.toLowerCase() }));
  const MOST = { Categories: 12, Properties: 12, Sentences: 40 };
  let found = [], active = -1;

  function highlighted(name, words) {
    const folded = name.toLowerCase();
    // Folding can change the length of a text; then nothing can be marked in it.
    if (folded.length !== name.length) return [text(name)];
    const marks = new Uint8Array(name.length);
    for (const word of words) {
      for (let at = folded.indexOf(word); at >= 0; at = folded.indexOf(word, at + word.length)) {
        marks.fill(1, at, at + word.length);
      }
    }
    const parts = [];
    for (let from = 0, to; from < name.length; from = to) {
      for (to = from + 1; to < name.length && marks[to] === marks[from]; to++);
      const piece = name.slice(from, to);
      parts.push(marks[from] ? el("mark", {}, piece) : piece);
    }
    return [el("bdi", {}, parts)];
  }

  function search() {
    const words = $("query").value.toLowerCase().split(/\s+/).filter(Boolean);
    const list = $("results");
    [found, active] = [[], -1];
    const nodes = [];
    for (const kind of words.length ? Object.keys(MOST) : []) {
      const hits = haystack.filter((item) => item.kind === kind &&
        words.every((word) => item.folded.includes(word)));
      // Names that begin with what was typed come first.
      const best = sortedBy(hits, (item) => (item.folded.startsWith(words[0]) ? 0 : 1));
      if (hits.length) {
        nodes.push(el("li", { class: "heading", role: "presentation" },
          el("small", {}, `${kind} (${hits.length})`)));
      }
      for (const item of best.slice(0, MOST[kind])) {
        const place = found.push(item) - 1;
        nodes.push(el("li", { role: "option", id: `found-${place}`, "aria-selected": "false",
          // The focus stays in the box: without it, the list closes before the click.
          onmousedown: (event) => event.preventDefault(), onclick: () => take(place) },
        highlighted(item.name, words), item.note ? el("small", {}, text(item.note)) : null));
      }
      if (hits.length > MOST[kind]) {
        nodes.push(el("li", { role: "presentation" },
          el("small", {}, `and ${hits.length - MOST[kind]} more: type another word`)));
      }
    }
    if (words.length && !found.length) {
      nodes.push(el("li", { role: "presentation" }, "Nothing found"));
    }
    list.replaceChildren(...nodes);
    list.hidden = !words.length;
    $("query").setAttribute("aria-expanded", String(!list.hidden));
    if (words.length) say(`${found.length} found`);
    mark(found.length ? 0 : -1);
  }

  function mark(place) {
    $("results").querySelector('[aria-selected="true"]')?.setAttribute("aria-selected", "false");
    active = place;
    const node = $(`found-${place}`);
    node?.setAttribute("aria-selected", "true");
    node?.scrollIntoView({ block: "nearest" });
    if (node) $("query").setAttribute("aria-activedescendant", node.id);
    else $("query").removeAttribute("aria-activedescendant");
  }

  function take(place) {
    if (!found[place]) return;
    choose(found[place].go);
    closeSearch();
  }

  function closeSearch() {
    $("results").hidden = true;
    $("query").setAttribute("aria-expanded", "false");
  }

  $("query").addEventListener("input", search);
  $("query").addEventListener("focus", () => { if ($("query").value) search(); });
  $("query").addEventListener("blur", closeSearch);
  $("query").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") mark(Math.min(found.length - 1, active + 1));
    else if (event.key === "ArrowUp") mark(Math.max(0, active - 1));
    else if (event.key === "Enter") take(active);
    else if (event.key === "Escape" && !$("results").hidden) closeSearch();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      $("query").focus();
    }
  });

  // ---------------------------------------------------------------- all together

  function drawViews() {
    orderGrids();
    for (const view of [matrix, map, likeness]) view.draw();
  }

  function showView() {
    for (const name of VIEWS) {
      const current = name === chosen.view;
      $(`view-${name}`).hidden = !current;
      $(`tab-${name}`).setAttribute("aria-selected", String(current));
      $(`tab-${name}`).tabIndex = current ? 0 : -1;
    }
  }

  function update() {
    const before = chosen;
    chosen = readAddress();
    if (before.view !== chosen.view) {
      showView();
      hideTip();
    }
    drawViews();
    matrix.showChosen();
    likeness.showChosen();
    const details = ["category", "other", "property"];
    if (details.some((key) => before[key] !== chosen[key])) showDetails();
  }

  for (const [place, name] of VIEWS.entries()) {
    const tab = $(`tab-${name}`);
    tab.addEventListener("click", () => choose({ ...chosen, view: name }));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = VIEWS[(place + step + VIEWS.length) % VIEWS.length];
      choose({ ...chosen, view: next });
      $(`tab-${next}`).focus();
    });
  }
  for (const id of ["matrix-rows", "matrix-columns", "likeness-order"]) {
    $(id).addEventListener("change", drawViews);
  }
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
    matchMedia(query).addEventListener("change", () => { readColors(); drawViews(); });
  }
  addEventListener("hashchange", update);
  $("figures").textContent = [plural(N, "category", "categories"),
    plural(K, "property", "properties"),
    plural(haystack.length - N - K, "sentence", "sentences")].join(" · ");
  readColors();
  update();
})();
