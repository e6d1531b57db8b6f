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
  const assigner = leading();
  const place = new Map(order.map((rollout, row) => [rollout.id, row]));
  const limbs = order.map((rollout) => {
    const y = place.get(rollout.id) * step + 12, from = Math.max(rollout.inherited, rollout.start);
    const parts = [
      drawn("line", { x1: x(from), x2: x(rollout.end), y1: y, y2: y, stroke: "#bbb" }),
      drawn("rect", { x: x(from), y: y - step / 2, width: x(rollout.end) - x(from) + 40, height: step, class: "hit", fill: "transparent" }),
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
  const tree = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", style: `max-width:${width}px`, role: "group", "aria-label": "Branches of this prompt" }, ...limbs);
  return make("div", { class: "tree" },
    make("div", { class: "soft" }, `Branches of this prompt by token, shaded by ${assigner.name}; the number is the reward.`), tree);
}

