/**
 * Call stacks as `perf script` prints them, read and counted: each sample is a thread's name and its
 * frames, outermost first. A frame says to whom its code belongs, so that tables and pictures tell
 * the daemon's own work from the kernel's.
 */

export type Owner = "library" | "kernel" | "bun" | "other";

export interface Frame {
  readonly name: string;
  readonly owner: Owner;
  /** In its object, hexadecimal. */
  readonly address: string;
}

export interface Sample {
  readonly thread: string;
  /** Outermost first. */
  readonly frames: readonly Frame[];
}

/** The fields that `samples` reads, for `perf script -F`. */
export const scriptFields = "comm,tid,ip,sym,dso";

/** Of a frame: `  ffffffff81000000 symbol+0x12 (/path/of/object)`. */
const framePattern = /^\s+([0-9a-f]+)\s+(.*?)(?:\+0x[0-9a-f]+)?\s+\((.*)\)$/;
const unknown = "[unknown]";

export function samples(script: string): Sample[] {
  return script
    .split(/\n\s*\n/)
    .map((block) => block.split("\n").filter((line) => line.trim() !== ""))
    .filter((lines) => lines.length > 1)
    .map(([head = "", ...lines]) => ({
      // The thread's name may hold spaces; its number ends the line.
      thread: head.trim().replace(/\s+\d+:?\s*$/, ""),
      frames: lines.map(frame).reverse(),
    }));
}

function frame(line: string): Frame {
  const [, address = "", symbol = unknown, object = ""] = framePattern.exec(line) ?? [];
  const owner = ownerOf(object, address);
  if (symbol !== unknown) return { name: symbol, owner, address };
  const file = object.split("/").at(-1) ?? "";
  const name = file === "" || object === unknown ? unknown : `[${file}]`;
  return { name, owner, address };
}

function ownerOf(object: string, address: string): Owner {
  if (object.endsWith("libmeshvpn.so")) return "library";
  if (object.startsWith("[kernel") || object.endsWith(".ko")) return "kernel";
  if (/\/bun(\.exe)?$/.test(object) || object.includes("/perf-")) return "bun";
  // Kernel text that has no symbol is in the upper half of the address space.
  if (object === unknown && address.length === 16 && address.startsWith("ffff")) return "kernel";
  return "other";
}

/**
 * Samples in a source file of the library, functions of it that were inlined elsewhere included.
 * `places`: the source lines at addresses in the library, innermost first, as `addr2line -i -a` says.
 */
export function inSource(all: readonly Sample[], places: string, file: string): number {
  const inside = new Set<string>();
  let address = "";
  for (const line of places.split("\n")) {
    if (/^0x[0-9a-f]+$/.test(line)) address = line.slice(2).replace(/^0+/, "");
    else if (line.includes(`/${file}:`)) inside.add(address);
  }
  return all.filter(({ frames }) =>
    frames.some(({ owner, address: at }) => owner === "library" && inside.has(at)),
  ).length;
}

export interface FunctionShare {
  readonly name: string;
  readonly owner: Owner;
  /** Samples that were in it. */
  readonly self: number;
  /** Samples that were in it or in what it called. */
  readonly total: number;
}

/** By samples in the function itself, most first. */
export function byFunction(all: readonly Sample[]): FunctionShare[] {
  const counts = new Map<string, { name: string; owner: Owner; self: number; total: number }>();
  for (const { frames } of all) {
    const seen = new Set<string>();
    for (const [index, { name, owner }] of frames.entries()) {
      const key = `${owner} ${name}`;
      const count = counts.get(key) ?? { name, owner, self: 0, total: 0 };
      counts.set(key, count);
      if (index === frames.length - 1) count.self += 1;
      // A recursive function is once in a sample.
      if (!seen.has(key)) count.total += 1;
      seen.add(key);
    }
  }
  return [...counts.values()].sort((left, right) => right.self - left.self);
}

/** Samples by whose code was running. */
export function byOwner(all: readonly Sample[]): Map<Owner, number> {
  return count(all.map(({ frames }) => frames.at(-1)?.owner ?? "other"));
}

export function byThread(all: readonly Sample[]): Map<string, number> {
  return count(all.map(({ thread }) => thread));
}

function count<Key>(keys: readonly Key[]): Map<Key, number> {
  const counts = new Map<Key, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return new Map([...counts].sort((left, right) => right[1] - left[1]));
}
