/**
 * What commands print: columns for eyes on a terminal, tab-separated lines for programs elsewhere,
 * so that both can rely on their form. Cells hold no tab and no newline when they get here.
 */

/** Columns under a header on a terminal; the rows alone, separated by tabs, in a pipe. */
export function printRows(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  terminal = process.stdout.isTTY === true,
): string {
  if (!terminal) return rows.map((row) => `${row.join("\t")}\n`).join("");
  const all = [header, ...rows];
  const widths = header.map((_, at) => Math.max(...all.map((row) => (row[at] ?? "").length)));
  return all
    .map((row) => row.map((cell, at) => cell.padEnd(widths[at] as number)).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

/** 1536 as `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** 90 as `1m30s`; two units at most. */
export function formatSeconds(seconds: number): string {
  const units = [
    ["d", 86_400],
    ["h", 3_600],
    ["m", 60],
    ["s", 1],
  ] as const;
  let rest = Math.floor(seconds);
  const parts: string[] = [];
  for (const [unit, length] of units) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0 && parts.length < 2) parts.push(`${count}${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.length === 0 ? "0s" : parts.join("");
}
