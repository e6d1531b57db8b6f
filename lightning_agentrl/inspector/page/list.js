// ---- the list on the left: only what is in sight is in the document

const HEAD = 44, ROW = 26, TALL = 46, MARGIN = 400; // pixels
let items = [];

function layOut() {
  const grouped = $("order").value === "prompt";
  let top = 0, group = null;
  items = [];
  for (const rollout of visible) {
    if (grouped && rollout.group !== group) {
      group = rollout.group;
      items.push({ top, height: HEAD, group });
      top += HEAD;
    }
    rollout.top = top;
    rollout.height = grouped ? ROW : TALL;
    items.push({ top, height: rollout.height, rollout });
    top += rollout.height;
  }
  $("rows").style.height = `${top}px`;
}

function drawList() {
  const from = $("list").scrollTop - MARGIN, to = $("list").scrollTop + $("list").clientHeight + MARGIN;
  const inSight = items.filter((item) => (item.top + item.height > from && item.top < to) || (current && item.rollout === current));
  $("rows").replaceChildren(...inSight.map((item) => (item.rollout ? rowOf(item.rollout) : headOf(item))));
}

function headOf(item) {
  const { question, rewards } = groups.get(item.group);
  const mean = rewards.length ? plain(rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length) : "–";
  return make("div", { class: "prompt-head", role: "presentation", title: question, style: { top: `${item.top}px` } },
    make("span", { class: "task" }, question), make("span", { class: "soft" }, `${rewards.length} rollouts, mean reward ${mean}`));
}

function rowOf(rollout) {
  const assigner = leading();
  const squares = rollout.turns.map((turn, index) => {
    const credit = rollout.credit[assigner.name].turns[index];
    const sign = credit > 0 ? "+" : credit < 0 ? "−" : "";
    const square = make("span", { class: "square", style: { background: shade(credit, assigner.scale) } }, sign);
    square.dataset.tip = `turn ${index + 1}: ${number(credit)}`;
    return square;
  });
  const notes = [rollout.parent !== null ? "branch" : "", rollout.stop === "finished" ? "" : rollout.stop].filter(Boolean);
  const question = rollout.height === TALL ? [make("span", { class: "task" }, rollout.question)] : [];
  return make(
    "div",
    { class: "row", role: "option", id: `row-${rollout.row}`, "aria-selected": String(rollout === current),
      "aria-setsize": visible.length, "aria-posinset": rollout.position + 1, style: { top: `${rollout.top}px`, height: `${rollout.height}px` } },
    make("span", { class: "reward" }, plain(rollout.reward)),
    ...question,
    make("span", { class: "squares" }, ...squares, make("span", { class: "soft task" }, [rollout.answer, ...notes].filter(Boolean).join(" · "))),
  );
}

function matches(rollout) {
  const least = $("least").value, most = $("most").value, words = $("search").value.toLowerCase();
  if (least !== "" && !(rollout.reward !== null && rollout.reward >= +least)) return false;
  if (most !== "" && !(rollout.reward !== null && rollout.reward <= +most)) return false;
  if ($("tool").value && !rollout.turns.some((turn) => turn.calls.some((call) => call.name === $("tool").value))) return false;
  if ($("stop").value && rollout.stop !== $("stop").value) return false;
  if ($("group").value && String(rollout.group) !== $("group").value) return false;
  return !words || haystack(rollout).includes(words);
}

function haystack(rollout) {
  rollout.haystack ??= [rollout.task, rollout.question, rollout.answer, ...rollout.turns.flatMap((turn) =>
    [turn.tokens.join(""), turn.heard, ...turn.calls.map((call) => call.name)])].join("\n").toLowerCase();
  return rollout.haystack;
}

const ORDERS = {
  prompt: (a, b) => groups.get(a.group).place - groups.get(b.group).place || b.reward - a.reward || a.sample - b.sample,
  reward: (a, b) => b.reward - a.reward || a.row - b.row,
  apart: (a, b) => b.apart - a.apart || a.row - b.row,
};

function refresh() {
  visible = rollouts.filter(matches).sort(ORDERS[$("order").value]);
  visible.forEach((rollout, position) => { rollout.position = position; });
  layOut();
  $("count").textContent = `${visible.length} of ${rollouts.length} rollouts`;
  legend();
  select(visible.includes(current) ? current : visible[0] || null, true);
}

function select(rollout, scroll = false) {
  current = rollout;
  if (!rollout) {
    $("list").removeAttribute("aria-activedescendant");
    $("detail").replaceChildren(make("p", { class: "end" }, "No rollout fits the filters."));
    drawList();
    return;
  }
  if (scroll) {
    const list = $("list"), above = rollout.position === 0 ? rollout.top : HEAD;
    const least = rollout.top + rollout.height - list.clientHeight, most = Math.max(0, rollout.top - above);
    if (list.scrollTop > most) list.scrollTop = most;
    if (list.scrollTop < least) list.scrollTop = least;
  }
  drawList();
  $("list").setAttribute("aria-activedescendant", `row-${rollout.row}`);
  $("detail").replaceChildren(...detail(rollout));
  $("detail").scrollTop = 0;
}
