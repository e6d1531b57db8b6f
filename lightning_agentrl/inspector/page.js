"use strict";
// Everything that a model or a tool wrote reaches the page through textContent: it cannot become markup.
const data = JSON.parse(document.getElementById("data").textContent);
const rollouts = data.rollouts;
const byId = new Map(rollouts.map((rollout) => [rollout.id, rollout]));
const $ = (id) => document.getElementById(id);
const shown = new Set(data.assigners.slice(0, 2).map((assigner) => assigner.name));
let visible = [];
let current = null;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value);
  }
  node.append(...children.map((child) => (typeof child === "object" ? child : String(child))));
  return node;
}

function drawn(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const number = (value, digits = 3) =>
  value === null || value === undefined ? "–" : (value > 0 ? "+" : "") + value.toFixed(digits);
const plain = (value) => (value === null || value === undefined ? "–" : String(+value.toFixed(3)));

// Red through white to blue; strength grows with the square root, so that small credit is still seen.
function shade(value, scale) {
  if (value === null || value === undefined || value === 0) return "transparent";
  const strength = Math.sqrt(Math.min(1, Math.abs(value) / (scale || 1))) * 0.62;
  return value > 0 ? `rgba(33, 102, 172, ${strength})` : `rgba(178, 24, 43, ${strength})`;
}

// ---- the list

function rowOf(rollout, place) {
  const first = place === 0 || visible[place - 1].group !== rollout.group;
  const assigner = data.assigners.find((each) => shown.has(each.name)) || data.assigners[0];
  const squares = rollout.turns.map((turn, index) => {
    const credit = rollout.credit[assigner.name].turns[index];
    const square = make("span", { class: "square", style: { background: shade(credit, assigner.scale) } });
    square.dataset.tip = `turn ${index + 1}: ${number(credit)}`;
    return square;
  });
  const notes = [rollout.parent !== null ? "branch" : "", rollout.stop === "finished" ? "" : rollout.stop].filter(Boolean);
  return make(
    "div",
    { class: first && $("order").value === "prompt" ? "row first" : "row", role: "option", id: `row-${rollout.row}`, "aria-selected": "false" },
    make("span", { class: "reward" }, plain(rollout.reward)),
    make("span", { class: "task" }, rollout.question),
    make("span", { class: "squares" }, ...squares, make("span", { class: "soft" }, notes.join(", "))),
  );
}

function matches(rollout) {
  const least = $("least").value, most = $("most").value, words = $("search").value.toLowerCase();
  if (least !== "" && !(rollout.reward >= +least)) return false;
  if (most !== "" && !(rollout.reward <= +most)) return false;
  if ($("tool").value && !rollout.turns.some((turn) => turn.calls.some((call) => call.name === $("tool").value))) return false;
  if ($("stop").value && rollout.stop !== $("stop").value) return false;
  if ($("group").value && String(rollout.group) !== $("group").value) return false;
  return !words || rollout.haystack.includes(words);
}

const ORDERS = {
  prompt: (a, b) => a.place - b.place || b.reward - a.reward || a.sample - b.sample,
  reward: (a, b) => b.reward - a.reward || a.row - b.row,
  apart: (a, b) => b.apart - a.apart || a.row - b.row,
};

function refresh() {
  visible = rollouts.filter(matches).sort(ORDERS[$("order").value]);
  $("list").replaceChildren(...visible.map(rowOf));
  $("count").textContent = `${visible.length} of ${rollouts.length} rollouts`;
  if (!visible.includes(current)) select(visible[0] || null);
  else select(current);
}

function select(rollout, scroll = false) {
  if (current) $(`row-${current.row}`)?.setAttribute("aria-selected", "false");
  current = rollout;
  if (!rollout) {
    $("list").removeAttribute("aria-activedescendant");
    $("detail").replaceChildren(make("p", { class: "end" }, "No rollout fits the filters."));
    return;
  }
  const row = $(`row-${rollout.row}`);
  row?.setAttribute("aria-selected", "true");
  if (scroll) row?.scrollIntoView({ block: "nearest" });
  $("list").setAttribute("aria-activedescendant", `row-${rollout.row}`);
  $("detail").replaceChildren(...detail(rollout));
  $("detail").scrollTop = 0;
}

// ---- one rollout

function detail(rollout) {
  const facts = [
    ["task", rollout.task], ["sample", rollout.sample], ["outcome", plain(rollout.outcome)], ["reward", plain(rollout.reward)],
    ...Object.entries(rollout.parts).map(([name, value]) => [name, plain(value)]),
    ["expected", rollout.answers.join(" or ") || "–"], ["answered", rollout.answer === null ? "–" : rollout.answer], ["ended by", rollout.stop],
  ];
  const asked = rollout.messages.map((message) =>
    make("div", { class: "prompt" }, make("div", { class: "soft" }, message.role), make("pre", {}, message.content)));
  const family = rollouts.filter((other) => other.group === rollout.group);
  const tree = family.some((other) => other.parent !== null) ? [branches(family, rollout)] : [];
  return [
    make("h2", {}, rollout.question),
    make("div", { class: "facts" }, ...facts.map(([name, value]) => make("span", {}, make("span", { class: "soft" }, `${name} `), value))),
    ...tree, ...asked,
    ...rollout.turns.map((turn, index) => card(rollout, turn, index)),
    make("p", { class: "end" }, `— ${rollout.stop} —`),
  ];
}

function card(rollout, turn, index) {
  const calls = turn.calls.map((call) =>
    make("span", { class: call.ok ? "" : "error" }, `${call.name || "call"}${call.ok ? "" : `: ${call.error}`} ${call.ms} ms`));
  const notes = [
    turn.seconds ? `decode ${turn.seconds.decode.toFixed(3)} s, environment ${turn.seconds.environment.toFixed(3)} s` : "",
    turn.reward ? `turn reward ${plain(turn.reward)}` : "", turn.penalty ? `penalty ${plain(turn.penalty)}` : "",
    turn.inherited ? `${turn.inherited} tokens are the parent's` : "",
  ].filter(Boolean);
  const chosen = data.assigners.filter((assigner) => shown.has(assigner.name));
  const opinions = chosen.map((assigner) => opinion(rollout, turn, index, assigner));
  const heard = turn.heard ? [make("div", { class: "heard text" }, turn.heard)] : [];
  return make("section", { class: "turn", "aria-label": `Turn ${index + 1}` },
    make("div", { class: "head" }, make("strong", {}, `Turn ${index + 1}`), ...calls, make("span", { class: "soft" }, notes.join(" · "))),
    make("div", { class: "opinions" }, ...(opinions.length ? opinions : [make("div", { class: "opinion text" }, turn.tokens.join(""))])),
    ...heard);
}

function opinion(rollout, turn, index, assigner) {
  const credit = rollout.credit[assigner.name];
  const whole = credit.turns[index], half = whole === null ? 0 : 50 * Math.min(1, Math.abs(whole) / assigner.scale);
  const fill = make("i", { style: { background: shade(whole, assigner.scale), width: `${half}%`, left: `${whole < 0 ? 50 - half : 50}%` } });
  const tokens = turn.tokens.map((piece, place) => {
    const value = credit.tokens[turn.first + place];
    const token = make("span", { class: value < 0 ? "token down" : "token", style: { background: shade(value, assigner.scale) } }, piece);
    token.dataset.at = turn.first + place;
    return token;
  });
  const parts = Object.entries(credit.parts).map(([name, values]) => `${name} ${number(values[index])}`);
  return make("div", { class: "opinion" },
    make("h3", {}, assigner.name, make("span", { class: "bar", title: parts.join("\n") }, fill), number(whole)),
    make("div", { class: "parts" }, parts.join(" · ")), make("div", { class: "text" }, ...tokens));
}

// ---- branches

function branches(family, here) {
  const below = new Map();
  for (const rollout of family) {
    const parent = byId.get(rollout.parent)?.group === rollout.group ? rollout.parent : null;
    below.set(parent, [...(below.get(parent) || []), rollout]);
  }
  for (const found of below.values()) found.sort((a, b) => a.inherited - b.inherited || a.sample - b.sample);
  const order = [];
  const walk = (id) => (below.get(id) || []).forEach((rollout) => { order.push(rollout); walk(rollout.id); });
  walk(null);
  const width = 860, step = 20, end = Math.max(...family.map((rollout) => rollout.end)), start = Math.min(...family.map((rollout) => rollout.start));
  const x = (column) => 8 + ((column - start) / Math.max(1, end - start)) * (width - 60);
  const assigner = data.assigners.find((each) => shown.has(each.name)) || data.assigners[0];
  const place = new Map(order.map((rollout, row) => [rollout.id, row]));
  const limbs = order.map((rollout) => {
    const y = place.get(rollout.id) * step + 12, from = Math.max(rollout.inherited, rollout.start);
    const parts = [
      drawn("line", { x1: x(from), x2: x(rollout.end), y1: y, y2: y, stroke: "#bbb" }),
      drawn("rect", { x: x(from), y: y - step / 2, width: x(rollout.end) - x(from) + 40, height: step, fill: "transparent", stroke: "none" }),
    ];
    if (place.has(rollout.parent)) {
      const top = place.get(rollout.parent) * step + 12;
      parts.push(drawn("line", { x1: x(from), x2: x(from), y1: top, y2: y, stroke: "#666" }), drawn("circle", { cx: x(from), cy: top, r: 2.5, fill: "#666" }));
    }
    rollout.turns.forEach((turn, index) => {
      const left = Math.max(turn.start, from), right = turn.start + turn.tokens.length;
      if (right > left) {
        const fill = shade(rollout.credit[assigner.name].turns[index], assigner.scale);
        parts.push(drawn("rect", { x: x(left), y: y - 6, width: Math.max(1, x(right) - x(left)), height: 12, fill: fill === "transparent" ? "#fff" : fill, stroke: "#777", "stroke-width": 0.6 }));
      }
    });
    const label = drawn("text", { x: x(rollout.end) + 5, y: y + 3.5 });
    label.textContent = plain(rollout.reward);
    const limb = drawn("g", { class: rollout === here ? "limb here" : "limb", tabindex: 0, role: "button", "aria-label": `sample ${rollout.sample}, reward ${plain(rollout.reward)}` }, ...parts, label);
    const go = () => { if (visible.includes(rollout)) select(rollout, true); };
    limb.addEventListener("click", go);
    limb.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    return limb;
  });
  const height = order.length * step + 12;
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", style: `max-width:${width}px`, role: "group", "aria-label": "Branches of this prompt" }, ...limbs);
}

// ---- what the mouse and the keyboard do

document.addEventListener("mouseover", (event) => {
  const target = event.target.closest?.("[data-at], [data-tip]");
  $("tip").style.display = target ? "block" : "none";
  if (!target) return;
  $("tip").textContent = target.dataset.tip ?? data.assigners.map((assigner) => `${assigner.name}: ${number(current.credit[assigner.name].tokens[+target.dataset.at], 4)}`).join("\n");
});
document.addEventListener("mousemove", (event) => {
  $("tip").style.left = `${Math.min(event.clientX + 12, innerWidth - 220)}px`;
  $("tip").style.top = `${event.clientY + 14}px`;
});
$("list").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row) select(rollouts[+row.id.slice(4)]);
});
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) { $("search").focus(); event.preventDefault(); return; }
  if (event.key === "Escape" && typing) { $("list").focus(); return; }
  if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
  const move = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
  const inDetail = $("detail").contains(event.target) && !/^[jk]$/.test(event.key);
  if (move === undefined || inDetail || !visible.length) return;
  const to = Math.max(0, Math.min(visible.length - 1, visible.indexOf(current) + move));
  select(visible[to], true);
  event.preventDefault();
});

// ---- start

function options(id, all, values) {
  $(id).append(make("option", { value: "" }, all), ...values.map(([value, text]) => make("option", { value }, text)));
}

const places = new Map();
rollouts.forEach((rollout, row) => {
  rollout.row = row;
  if (!places.has(rollout.group)) places.set(rollout.group, places.size);
  rollout.place = places.get(rollout.group);
  rollout.haystack = [rollout.task, rollout.question, rollout.answer, ...rollout.turns.flatMap((turn) => [turn.tokens.join(""), turn.heard])].join("\n").toLowerCase();
});
$("title").textContent = data.title;
$("about").textContent = data.about;
const distinct = (values) => [...new Set(values)].sort();
options("tool", "any", distinct(rollouts.flatMap((rollout) => rollout.turns.flatMap((turn) => turn.calls.map((call) => call.name)))).filter(Boolean).map((name) => [name, name]));
options("stop", "any", distinct(rollouts.map((rollout) => rollout.stop)).map((name) => [name, name]));
options("group", "all", [...places.keys()].map((group) => [group, rollouts.find((rollout) => rollout.group === group).question.slice(0, 60)]));
for (const assigner of data.assigners) {
  const box = make("input", { type: "checkbox", id: `assigner-${assigner.name}` });
  box.checked = shown.has(assigner.name);
  box.addEventListener("change", () => { box.checked ? shown.add(assigner.name) : shown.delete(assigner.name); refresh(); });
  $("assigners").append(make("label", {}, box, ` ${assigner.name} `));
}
for (const id of ["search", "least", "most", "tool", "stop", "group", "order"]) $(id).addEventListener("input", refresh);
refresh();
document.documentElement.dataset.ready = "true";
