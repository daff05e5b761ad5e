/**
 * A run as a picture: a panel for each metric, a bar for each peer to its median, a whisker from the
 * least round to the most, and the ratio to the reference. The scale is that of the tunnels: a bar of
 * no tunnel that is longer ends at the edge. Plain SVG; every text is escaped, wherever it came from.
 */
import type { Metric } from "./metrics.ts";
import { plain, reference } from "./peers.ts";
import { type Results, ratio, type Summary, summary } from "./results.ts";

const panelWidth = 520;
const panelGap = 28;
const columns = 2;
const nameWidth = 150;
const valueWidth = 110;
const barHeight = 16;
const rowHeight = 22;
const titleHeight = 34;
const margin = 24;
const headHeight = 56;
const colours = { ours: "#c2410c", variant: "#fdba74", reference: "#1d4ed8", other: "#94a3b8" };

interface Bar {
  readonly name: string;
  readonly found: Summary;
  readonly times: number | undefined;
  readonly tunnel: boolean;
}

export function chart(results: Results): string {
  const panels = results.metrics
    .map((metric) => ({ metric, bars: barsOf(results, metric) }))
    .filter(({ bars }) => bars.length > 0);
  const barsMost = Math.max(0, ...panels.map(({ bars }) => bars.length));
  const panelHeight = titleHeight + rowHeight * barsMost + panelGap;
  const rows = Math.ceil(panels.length / columns);
  const width = margin * 2 + panelWidth * columns + panelGap * (columns - 1);
  const height = margin * 2 + headHeight + rows * panelHeight;
  const { seconds, rounds, mtu, congestionControl } = results.settings;
  const subtitle =
    `${results.machine.processors} x ${results.machine.processor}, ${results.machine.vectors}; ` +
    `${rounds} rounds of ${seconds} s, ${congestionControl}, MTU ${mtu}; bars are medians, ` +
    `lines from the least to the most, ratios to ${reference}`;
  const drawn = panels.map(({ metric, bars }, index) => {
    const x = margin + (index % columns) * (panelWidth + panelGap);
    const y = margin + headHeight + Math.floor(index / columns) * panelHeight;
    return `<g transform="translate(${x} ${y})">${panel(metric, bars)}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    label(margin, margin + 16, "meshvpn and other tunnels", { size: 18, weight: 600 }),
    label(margin, margin + 38, subtitle, { colour: "#475569" }),
    ...drawn,
    "</svg>",
    "",
  ].join("\n");
}

function barsOf(results: Results, { id }: Metric): Bar[] {
  return results.peers.flatMap(({ peer, rounds }) => {
    const found = summary(rounds, id);
    if (found === undefined) return [];
    const tunnel = peer.tunnelled.kind !== "none";
    return [{ name: peer.name, found, times: ratio(results, peer.name, id), tunnel }];
  });
}

function panel({ title, unit, better, digits }: Metric, bars: readonly Bar[]): string {
  const tunnels = bars.filter(({ tunnel }) => tunnel);
  const most = Math.max(...(tunnels.length > 0 ? tunnels : bars).map(({ found }) => found.most));
  const scale = most > 0 ? (panelWidth - nameWidth - valueWidth) / most : 0;
  const heading = label(0, 14, title, { size: 14, weight: 600 });
  const note = label(panelWidth, 14, `${unit}, ${better} is better`, {
    colour: "#475569",
    anchor: "end",
  });
  const edge = nameWidth + most * scale;
  const lines = bars.map(({ name, found, times }, index) => {
    const top = titleHeight - 10 + index * rowHeight;
    const middle = top + barHeight / 2;
    const [least, end, far] = [found.least, found.median, found.most].map(
      (value) => Math.round((nameWidth + Math.min(value, most) * scale) * 10) / 10,
    );
    const value = `${found.median.toFixed(digits)}${times === undefined ? "" : `  ${times.toFixed(2)}x`}`;
    // Two white strokes: the bar goes on.
    const cut = `<path d="M${edge - 12} ${top + barHeight}l5 -${barHeight}m3 0l-5 ${barHeight}" stroke="#ffffff" stroke-width="2"/>`;
    const whisker = `<path d="M${least} ${middle}H${far}M${least} ${middle - 4}v8M${far} ${middle - 4}v8" stroke="#0f172a" fill="none"/>`;
    return [
      label(nameWidth - 8, middle + 4, name, { anchor: "end" }),
      `<rect x="${nameWidth}" y="${top}" width="${Math.max(1, (end ?? 0) - nameWidth)}" height="${barHeight}" rx="2" fill="${colour(name)}"/>`,
      found.most > most ? cut : whisker,
      label((far ?? 0) + 8, middle + 4, value, {}),
    ].join("");
  });
  return [heading, note, ...lines].join("\n");
}

function colour(name: string): string {
  if (name === plain) return colours.ours;
  if (name.startsWith(`${plain}-`)) return colours.variant;
  return name === reference ? colours.reference : colours.other;
}

interface LabelStyle {
  readonly size?: number;
  readonly weight?: number;
  readonly colour?: string;
  readonly anchor?: "start" | "end";
}

function label(x: number, y: number, words: string, style: LabelStyle): string {
  const { size = 12, weight = 400, colour: fill = "#0f172a", anchor = "start" } = style;
  const looks = `font-size="${size}" font-weight="${weight}" fill="${fill}" text-anchor="${anchor}"`;
  return `<text x="${x}" y="${y}" ${looks}>${Bun.escapeHTML(words)}</text>`;
}
