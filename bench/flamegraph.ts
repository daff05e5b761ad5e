/**
 * Samples as a flame graph: the width of a box is the share of samples in a function or in what it
 * called, what it called stands above it, and the colour says whose code it is. One SVG file that
 * zooms into a box when it is clicked, with the whole name and share as its tooltip.
 */
import type { Frame, Owner, Sample } from "./stacks.ts";

const width = 1400;
const rowHeight = 17;
const headHeight = 60;
const margin = 10;
/** In pixels; what is narrower cannot be seen. */
const narrowest = 0.3;
const charactersPerPixel = 1 / 6.6;
const colours: Readonly<Record<Owner | "thread", string>> = {
  library: "#f97316",
  kernel: "#7dd3fc",
  bun: "#f0abfc",
  other: "#cbd5e1",
  thread: "#e2e8f0",
};
const legend: Readonly<Record<Owner, string>> = {
  library: "libmeshvpn (Zig, libsodium)",
  kernel: "kernel",
  bun: "Bun",
  other: "other",
};

interface Box {
  readonly name: string;
  readonly owner: Owner | "thread";
  readonly above: Map<string, Box>;
  samples: number;
}

export function flamegraph(samples: readonly Sample[], title: string): string {
  const root = grow(samples);
  const depth = deepest(root);
  const height = headHeight + (depth + 1) * rowHeight + margin;
  const boxes: string[] = [];
  const scale = root.samples > 0 ? (width - 2 * margin) / root.samples : 0;
  draw(root, margin, 0);

  function draw(box: Box, x: number, level: number): void {
    const wide = box.samples * scale;
    if (wide < narrowest) return;
    boxes.push(drawn(box, x, wide, height - margin - (level + 1) * rowHeight, root.samples));
    let next = x;
    // By name, so that two pictures can be compared.
    for (const above of [...box.above.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      draw(above, next, level + 1);
      next += above.samples * scale;
    }
  }

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="ui-monospace, monospace" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${margin}" y="22" font-size="16">${Bun.escapeHTML(title)}</text>`,
    ...key(),
    ...boxes,
    `<script><![CDATA[${zoom}]]></script>`,
    "</svg>",
    "",
  ].join("\n");
}

function grow(samples: readonly Sample[]): Box {
  const root: Box = { name: "all", owner: "thread", above: new Map(), samples: samples.length };
  for (const { thread, frames } of samples) {
    let box = step(root, { name: thread, owner: "thread" });
    for (const frame of frames) box = step(box, frame);
  }
  return root;
}

function step(below: Box, { name, owner }: Frame | { name: string; owner: "thread" }): Box {
  const place = `${owner} ${name}`;
  const box = below.above.get(place) ?? { name, owner, above: new Map(), samples: 0 };
  below.above.set(place, box);
  box.samples += 1;
  return box;
}

function deepest(box: Box): number {
  return Math.max(0, ...[...box.above.values()].map((above) => 1 + deepest(above)));
}

function drawn(
  { name, owner, samples }: Box,
  x: number,
  wide: number,
  y: number,
  all: number,
): string {
  const share = `${((samples / all) * 100).toFixed(2)} %`;
  const characters = Math.floor((wide - 4) * charactersPerPixel);
  const shown =
    characters < 3 ? "" : name.length > characters ? `${name.slice(0, characters - 1)}…` : name;
  return [
    `<g data-name="${Bun.escapeHTML(name)}">`,
    `<title>${Bun.escapeHTML(`${name} (${owner}): ${share}, ${samples} samples`)}</title>`,
    `<rect x="${x.toFixed(2)}" y="${y}" width="${wide.toFixed(2)}" height="${rowHeight - 1}" rx="1" fill="${colours[owner]}"/>`,
    `<text x="${(x + 3).toFixed(2)}" y="${y + 12}" pointer-events="none">${Bun.escapeHTML(shown)}</text>`,
    "</g>",
  ].join("");
}

function key(): string[] {
  return (Object.keys(legend) as Owner[]).map((owner, index) => {
    const x = margin + index * 220;
    return `<rect x="${x}" y="34" width="12" height="12" fill="${colours[owner]}"/><text x="${x + 18}" y="44">${legend[owner]}</text>`;
  });
}

/** Run by whoever shows the picture: a click makes a box as wide as the picture, and all below it;
 * a click on the lowest shows everything again. */
const zoom = `
const boxes = [...document.querySelectorAll("g[data-name]")].map((g) => {
  const rect = g.querySelector("rect");
  const [x, y, wide] = ["x", "y", "width"].map((name) => Number(rect.getAttribute(name)));
  return { g, rect, text: g.querySelector("text"), x, y, wide };
});
const show = (to) => {
  for (const box of boxes) {
    const below = box.y >= to.y;
    const left = Math.max(box.x, to.x);
    const right = Math.min(box.x + box.wide, to.x + to.wide);
    const inside = right - left > 0.001;
    box.g.style.display = inside ? "" : "none";
    if (!inside) continue;
    const scale = ${width - 2 * margin} / to.wide;
    const x = below ? ${margin} : ${margin} + (left - to.x) * scale;
    const wide = below ? ${width - 2 * margin} : (right - left) * scale;
    const name = box.g.dataset.name;
    const characters = Math.floor((wide - 4) * ${charactersPerPixel});
    box.rect.setAttribute("x", x);
    box.rect.setAttribute("width", wide);
    box.text.setAttribute("x", x + 3);
    box.text.textContent = characters < 3 ? "" : name.length > characters ? name.slice(0, characters - 1) + "…" : name;
  }
};
for (const box of boxes) box.g.addEventListener("click", () => show(box));
`;
