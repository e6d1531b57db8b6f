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

// The assigner whose credit the list and the tree show: the first that is ticked.
const leading = () => data.assigners.find((each) => shown.has(each.name)) || data.assigners[0];

// Red through white to blue; strength grows with the square root, so that small credit is still seen.
function shade(value, scale) {
  if (value === null || value === undefined || value === 0) return "transparent";
  const strength = Math.sqrt(Math.min(1, Math.abs(value) / (scale || 1))) * 0.62;
  return value > 0 ? `rgba(33, 102, 172, ${strength})` : `rgba(178, 24, 43, ${strength})`;
}

// A turn whose tokens all earned the same holds one number in place of a list.
function earned(credit, turn, place) {
  const values = credit.tokens[turn];
  return Array.isArray(values) ? values[place] : values;
}

function legend() {
  const { name, scale } = leading();
  const steps = Array.from({ length: 21 }, (_, step) => `${shade((step - 10) / 10, 1)} ${5 * step}%`);
  $("legend").replaceChildren(
    make("span", {}, `discouraged ${number(-scale, 2)}`),
    make("i", { style: { background: `linear-gradient(90deg, ${steps.join(", ")})` } }),
    make("span", {}, `${number(scale, 2)} reinforced`),
    make("span", { class: "soft" }, `(${name})`));
}
