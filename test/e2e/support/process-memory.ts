/**
 * Another process's memory, as root may read it: which mappings there are, what lies in the library's
 * arena of secrets, and where given bytes lie. Reads only pages that are there: a JavaScript engine
 * reserves far more than it uses.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

export interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly name: string;
  /** Two-letter flags of /proc/PID/smaps: `dd` not dumped, `wf` wiped on fork, `lo` locked. */
  readonly flags: readonly string[];
}

export interface Found {
  /** Of the needle. */
  readonly name: string;
  readonly address: number;
  readonly mapping: string;
}

const pageBytes = 4096;
/** Pages read at once. */
const runPagesMax = 1024;
const secretBytes = 32;

export function mappings(pid: number): Mapping[] {
  const found: Mapping[] = [];
  let open: Omit<Mapping, "flags"> | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, "utf8").split("\n")) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)$/.exec(line);
    if (header !== null) {
      const [, start = "", end = "", name = ""] = header;
      const [from, to] = [Number.parseInt(start, 16), Number.parseInt(end, 16)];
      open = { start: from, end: to, name };
    } else if (line.startsWith("VmFlags:") && open !== undefined) {
      found.push({ ...open, flags: line.slice("VmFlags:".length).trim().split(" ") });
    }
  }
  return found;
}

/** Where the library keeps secrets: the one mapping that is left out of dumps and wiped on fork. */
export function arenaOf(pid: number): Mapping {
  const found = mappings(pid).filter(({ flags }) => flags.includes("dd") && flags.includes("wf"));
  const [arena] = found;
  if (arena === undefined || found.length !== 1)
    throw new Error(`${found.length} arenas in ${pid}`);
  return arena;
}

/** Every secret that is in use. */
export function secretsOf(pid: number): Buffer[] {
  const secrets: Buffer[] = [];
  for (const { bytes } of residentRuns(pid, arenaOf(pid))) {
    for (let at = 0; at < bytes.length; at += secretBytes) {
      const secret = bytes.subarray(at, at + secretBytes);
      if (secret.some((byte) => byte !== 0)) secrets.push(Buffer.from(secret));
    }
  }
  return secrets;
}

/**
 * Where in memory outside the arena the secrets lie: halves of them, or their texts. The arena is
 * not dumped, so this is what a core can hold.
 */
export function findSecrets(pid: number, secrets: ReadonlyMap<string, Buffer>): Found[] {
  const found: Found[] = [];
  const needles = [...secrets].flatMap(([name, secret]) => formsOf(name, secret));
  const arena = arenaOf(pid);
  for (const mapping of mappings(pid)) {
    // The kernel's own page is beyond what a file offset can name.
    if (mapping.start === arena.start || mapping.name === "[vsyscall]") continue;
    for (const { start, bytes } of residentRuns(pid, mapping)) {
      for (const { name, form } of needles) {
        for (let at = bytes.indexOf(form); at >= 0; at = bytes.indexOf(form, at + 1)) {
          found.push({ name, address: start + at, mapping: mapping.name || "anonymous" });
        }
      }
    }
  }
  return found;
}

/** As bytes, a register's width at a time, and as the texts that keys have. */
export function formsOf(name: string, secret: Buffer): { name: string; form: Buffer }[] {
  return [
    { name: `${name}, first half`, form: secret.subarray(0, 16) },
    { name: `${name}, second half`, form: secret.subarray(16) },
    { name: `${name} in base64`, form: Buffer.from(secret.toString("base64").slice(0, 40)) },
    { name: `${name} in hexadecimal`, form: Buffer.from(secret.toString("hex").slice(0, 32)) },
  ];
}

/** The pages of a mapping that are in memory, in runs. */
function* residentRuns(
  pid: number,
  mapping: Mapping,
): Generator<{ readonly start: number; readonly bytes: Buffer }> {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  try {
    const pages = (mapping.end - mapping.start) / pageBytes;
    for (let first = 0; first < pages; first += runPagesMax * 64) {
      const count = Math.min(runPagesMax * 64, pages - first);
      const entries = Buffer.alloc(count * 8);
      const offset = (mapping.start / pageBytes + first) * 8;
      if (readSync(pagemap, entries, 0, entries.length, offset) < entries.length) return;
      for (let at = 0; at < count; ) {
        let end = at;
        // Bit 63: present.
        while (end < count && end - at < runPagesMax && (entries[end * 8 + 7] as number) & 0x80) {
          end += 1;
        }
        if (end === at) {
          at += 1;
          continue;
        }
        const start = mapping.start + (first + at) * pageBytes;
        const bytes = Buffer.alloc((end - at) * pageBytes);
        if (readSafely(memory, bytes, start)) yield { start, bytes };
        at = end;
      }
    }
  } finally {
    closeSync(memory);
    closeSync(pagemap);
  }
}

/** False where the mapping has gone meanwhile, or is a device's. */
function readSafely(memory: number, bytes: Buffer, start: number): boolean {
  try {
    return readSync(memory, bytes, 0, bytes.length, start) === bytes.length;
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}
