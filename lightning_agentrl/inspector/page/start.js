// ---- what the mouse and the keyboard do

document.addEventListener("mouseover", (event) => {
  const target = event.target.closest?.("[data-place], [data-tip]");
  $("tip").style.display = target ? "block" : "none";
  if (!target) return;
  const { tip, turn, place } = target.dataset;
  $("tip").textContent = tip ?? data.assigners.map(({ name }) => `${name}: ${number(earned(current.credit[name], +turn, +place), 4)}`).join("\n");
});
document.addEventListener("mousemove", (event) => {
  $("tip").style.left = `${Math.min(event.clientX + 12, innerWidth - 220)}px`;
  $("tip").style.top = `${event.clientY + 14}px`;
});
$("list").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row) select(rollouts[+row.id.slice(4)]);
});
let waiting = false;
$("list").addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawList(); });
});
addEventListener("resize", drawList);

function toPrompt(step) {
  const at = visible.indexOf(current);
  if (step > 0) return visible.findIndex((rollout, place) => place > at && rollout.group !== current.group);
  const before = visible.slice(0, at).findLast((rollout) => rollout.group !== current.group);
  return before ? visible.findIndex((rollout) => rollout.group === before.group) : -1;
}

function toTurn(step) {
  const top = $("detail").getBoundingClientRect().top, cards = [...document.querySelectorAll(".turn")];
  const places = cards.map((turn) => Math.round(turn.getBoundingClientRect().top - top));
  const to = step > 0 ? places.findIndex((place) => place > 4) : places.findLastIndex((place) => place < -4);
  cards[to]?.scrollIntoView({ block: "start" });
}

function act(key) {
  const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[key];
  if (step !== undefined && visible.length) select(visible[Math.max(0, Math.min(visible.length - 1, visible.indexOf(current) + step))], true);
  else if ((key === "n" || key === "p") && current) {
    const to = toPrompt(key === "n" ? 1 : -1);
    if (to >= 0) select(visible[to], true);
  } else if (key === "]" || key === "[") toTurn(key === "]" ? 1 : -1);
  else if (/^[1-9]$/.test(key)) $("assigners").querySelectorAll("input")[+key - 1]?.click();
  else if (key === "/") $("search").focus();
  else if (key === "?") $("help").showModal();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.tagName === "SELECT" || (event.target.tagName === "INPUT" && event.target.type !== "checkbox");
  if (event.key === "Escape" && typing) $("list").focus();
  if ($("help").open || typing || event.altKey || event.ctrlKey || event.metaKey) return;
  const scrolls = $("detail").contains(event.target) && event.key.length > 1;
  if (!scrolls && act(event.key)) event.preventDefault();
});
$("ask").addEventListener("click", () => $("help").showModal());

// ---- start

function options(id, all, values) {
  $(id).append(make("option", { value: "" }, all), ...values.map(([value, text]) => make("option", { value }, text)));
}

const groups = new Map();
rollouts.forEach((rollout, row) => {
  rollout.row = row;
  if (!groups.has(rollout.group)) groups.set(rollout.group, { question: rollout.question, rewards: [] });
  if (rollout.reward !== null) groups.get(rollout.group).rewards.push(rollout.reward);
});
for (const group of groups.values()) {
  const mean = group.rewards.reduce((sum, reward) => sum + reward, 0) / group.rewards.length;
  group.spread = group.rewards.length ? Math.sqrt(group.rewards.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / group.rewards.length) : 0;
}
[...groups.values()].sort((a, b) => b.spread - a.spread).forEach((group, place) => { group.place = place; });
$("title").textContent = data.title;
$("about").textContent = data.about;
const distinct = (values) => [...new Set(values)].sort();
options("tool", "any", distinct(rollouts.flatMap((rollout) => rollout.turns.flatMap((turn) => turn.calls.map((call) => call.name)))).filter(Boolean).map((name) => [name, name]));
options("stop", "any", distinct(rollouts.map((rollout) => rollout.stop)).map((name) => [name, name]));
options("group", "all", [...groups].map(([group, { question }]) => [group, question.slice(0, 60)]));
for (const assigner of data.assigners) {
  const box = make("input", { type: "checkbox", id: `assigner-${assigner.name}` });
  box.checked = shown.has(assigner.name);
  box.addEventListener("change", () => { box.checked ? shown.add(assigner.name) : shown.delete(assigner.name); refresh(); });
  $("assigners").append(make("label", {}, box, ` ${assigner.name} `));
}
for (const id of ["search", "least", "most", "tool", "stop", "group", "order"]) $(id).addEventListener("input", refresh);
refresh();
document.documentElement.dataset.ready = "true";
