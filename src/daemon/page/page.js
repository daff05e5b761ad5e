/**
 * The local page: asks the daemon for its status each second, and draws members, paths and rates.
 * The token is in the fragment of the address, which browsers keep to themselves. What comes from
 * members is text, and becomes nothing else here.
 */
const everyMs = 1000;
const historyMax = 30;
const radius = 165;
const svgNamespace = "http://www.w3.org/2000/svg";

const token = location.hash.slice(1);
/** Identity to what was counted last and the rates since. */
const seen = new Map();

const element = (id) => document.getElementById(id);

async function look() {
  try {
    const answer = await fetch("api/status", { headers: { authorization: `Bearer ${token}` } });
    if (!answer.ok) throw new Error(await answer.text());
    draw(await answer.json(), performance.now());
  } catch (error) {
    say(String(error instanceof TypeError ? "the daemon does not answer" : error.message), true);
  }
  setTimeout(look, everyMs);
}

function say(words, bad) {
  const health = element("health");
  health.textContent = words;
  health.classList.toggle("bad", bad);
}

function draw({ status, readiness }, nowMs) {
  const members = status.members.map((member) => ({ ...member, ...rates(member, nowMs) }));
  element("name").textContent = status.name;
  say(readiness.why, !readiness.ready);
  element("graph").replaceChildren(...graph(status, members));
  element("members").replaceChildren(...members.map(row));
  element("node").textContent =
    `${status.identity} · ${status.addresses.join(" · ")} · port ${status.port} · ${status.aead} · meshvpn ${status.version}`;
}

function rates(member, nowMs) {
  const last = seen.get(member.identity);
  const seconds = last === undefined ? 1 : Math.max(0.2, (nowMs - last.nowMs) / 1000);
  const since = (key) =>
    last === undefined ? 0 : (Math.max(0, member[key] - last[key]) * 8) / seconds;
  const [incoming, outgoing] = [since("rx_bytes"), since("tx_bytes")];
  const history = [...(last?.history ?? []), incoming + outgoing].slice(-historyMax);
  const { rx_bytes, tx_bytes } = member;
  seen.set(member.identity, { rx_bytes, tx_bytes, nowMs, history });
  return { incoming, outgoing, history };
}

function called({ given_name: given, name, identity }) {
  return given || name || identity.slice(0, 8);
}

function kindOf({ path }) {
  return path === "-" ? "none" : path.startsWith("direct") ? "direct" : "relay";
}

function graph(status, members) {
  const lines = [];
  const dots = [];
  members.forEach((member, at) => {
    const angle = (2 * Math.PI * at) / members.length - Math.PI / 2;
    const [x, y] = [1.5 * radius * Math.cos(angle), radius * Math.sin(angle)];
    const kind = kindOf(member);
    const width = 1.5 + Math.min(7, Math.log10(1 + (member.incoming + member.outgoing) / 1000));
    lines.push(shape("line", { x1: 0, y1: 0, x2: x, y2: y, class: kind, "stroke-width": width }));
    const trip = member.rtt_ms === null || kind === "none" ? "" : `${member.rtt_ms.toFixed(1)} ms`;
    lines.push(shape("text", { x: x * 0.55, y: y * 0.55 - 6 }, trip));
    dots.push(shape("circle", { cx: x, cy: y, r: 11, class: kind }));
    dots.push(shape("text", { x, y: y + 28 }, called(member)));
  });
  const own = shape("circle", { cx: 0, cy: 0, r: 15, class: "own" });
  return [...lines, ...dots, own, shape("text", { x: 0, y: 34 }, status.name)];
}

function row(member) {
  const cells = [
    called(member),
    member.state,
    member.path,
    member.rtt_ms === null ? "-" : `${member.rtt_ms.toFixed(1)} ms`,
    rateText(member.incoming),
    rateText(member.outgoing),
  ];
  const tr = document.createElement("tr");
  for (const text of cells) {
    const td = document.createElement("td");
    td.textContent = text;
    tr.append(td);
  }
  const td = document.createElement("td");
  td.append(spark(member.history));
  tr.append(td);
  return tr;
}

function spark(history) {
  const most = Math.max(...history, 1);
  const step = 88 / (historyMax - 1);
  const points = history.map((value, at) => `${1 + at * step},${19 - (18 * value) / most}`);
  const svg = shape("svg", { viewBox: "0 0 90 20" });
  svg.append(shape("polyline", { points: points.join(" ") }));
  return svg;
}

function rateText(bits) {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
  let unit = 0;
  let value = bits;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(svgNamespace, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

look();
