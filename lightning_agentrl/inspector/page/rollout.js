// ---- one rollout, on the right

function detail(rollout) {
  const parts = Object.entries(rollout.parts).map(([name, value]) => `${name} ${plain(value)}`).join(", ");
  const facts = [
    ["task", rollout.task], ["sample", rollout.sample], ["reward", plain(rollout.reward) + (parts && ` (${parts})`)],
    ...(rollout.outcome === rollout.reward ? [] : [["outcome", plain(rollout.outcome)]]),
    ["expected", rollout.answers.join(" or ") || "–"], ["said", rollout.answer ?? "–"], ["ended by", rollout.stop],
  ];
  const [only, ...others] = rollout.messages;
  const repeats = !others.length && only?.content === rollout.question;
  const asked = repeats ? [] : rollout.messages.map((message) =>
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
  const heard = turn.heard ? [make("div", { class: "heard text", tabindex: 0, "aria-label": "What the environment answered" }, turn.heard.replace(/^\n+/, ""))] : [];
  return make("section", { class: "turn", "aria-label": `Turn ${index + 1}` },
    make("div", { class: "head" }, make("strong", {}, `Turn ${index + 1}`), ...calls, make("span", { class: "soft" }, notes.join(" · "))),
    make("div", { class: "opinions" }, ...(opinions.length ? opinions : [make("div", { class: "opinion text" }, turn.tokens.join(""))])),
    ...heard);
}

function opinion(rollout, turn, index, assigner) {
  const credit = rollout.credit[assigner.name];
  const whole = credit.turns[index], half = whole === null ? 0 : 50 * Math.min(1, Math.abs(whole) / assigner.scale);
  const fill = make("i", { style: { background: shade(whole, assigner.scale), width: `${half}%`, left: `${whole < 0 ? 50 - half : 50}%` } });
  const tokens = stretches(rollout, turn, index).map(([first, last]) => {
    const value = earned(credit, index, first);
    const text = turn.tokens.slice(first, last).join("");
    const token = make("span", { class: value < 0 ? "token down" : "token", style: { background: shade(value, assigner.scale) } }, text);
    token.dataset.turn = index;
    token.dataset.place = first;
    return token;
  });
  const parts = Object.entries(credit.parts).map(([name, values]) => `${name} ${number(values[index])}`);
  return make("div", { class: "opinion" },
    make("h3", {}, assigner.name, make("span", { class: "bar", title: parts.join("\n") }, fill), number(whole)),
    make("div", { class: "parts" }, parts.join(" · ")), make("div", { class: "text" }, ...tokens));
}

// Neighbouring tokens that every assigner gave the same share one element: a long turn stays light.
function stretches(rollout, turn, index) {
  const opinions = data.assigners.map((assigner) => rollout.credit[assigner.name]);
  const found = [];
  turn.tokens.forEach((_, place) => {
    const last = found.at(-1);
    if (last && opinions.every((credit) => earned(credit, index, place) === earned(credit, index, last[0]))) last[1] = place + 1;
    else found.push([place, place + 1]);
  });
  return found;
}
