/** `90s`, `30m`, `12h`, `14d`, `1y` and their like. */
import { usageError } from "./errors.ts";

const unitsMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, y: 365 * 86_400_000 } as const;

/** Milliseconds, at least a second and at most a hundred years. @throws MeshError usage. */
export function parseDuration(flag: string, text: string): number {
  const [, digits, unit] = /^([0-9]{1,6})([smhdy])$/.exec(text) ?? [];
  const ms = Number(digits) * unitsMs[(unit ?? "s") as keyof typeof unitsMs];
  if (unit !== undefined && ms >= 1_000 && ms <= 100 * unitsMs.y) return ms;
  const said = JSON.stringify(text);
  throw usageError(
    `cannot use ${flag} ${said}`,
    "that is no time",
    "give one like 30m, 12h or 90d",
  );
}
