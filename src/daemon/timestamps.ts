/**
 * What replay protection must remember across restarts (WireGuard paper, section 5.4.2): the last
 * TAI64N stamp this device sent, and each peer's largest that was accepted. One small file for each
 * of the device's public keys, appended to line by line and rewritten by rename, so that an end at
 * any moment leaves a file that the next start accepts. A damaged file is kept beside, never deleted,
 * and its good lines are used.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { formatKey, parseKey } from "../base/base64.ts";
import { compareBytes, fromHex, toHex } from "../base/bytes.ts";
import { StampMap, type Stamps } from "../noise/stamps.ts";

const header = "meshvpn timestamps 1";
const tai64nBytes = 12;
/** Lines beyond twice what is alive, after which the file is rewritten. */
const staleLinesMax = 1024;
const damagedNamesMax = 1000;

export interface TimestampHistory {
  readonly lastSent: Uint8Array | undefined;
  /** By public key, base64. */
  readonly accepted: Stamps;
}

export class TimestampStore {
  readonly #directory: string;
  readonly #warn: (text: string) => void;
  #path: string | undefined;
  #file: number | undefined;
  #lastSent: Uint8Array | undefined;
  #accepted = new StampMap();
  #lines = 0;
  #waiting: string[] = [];
  #failing = false;

  constructor(directory: string, warn: (text: string) => void) {
    this.#directory = directory;
    this.#warn = warn;
  }

  /** The memory of the device whose public key this is; what follows is recorded there. */
  open(publicKey: Uint8Array): TimestampHistory {
    this.close();
    const name = new Bun.CryptoHasher("sha256").update(publicKey).digest("hex").slice(0, 32);
    this.#path = join(this.#directory, `timestamps-${name}`);
    this.#lastSent = undefined;
    this.#accepted = new StampMap();
    this.#attempt(() => this.#load(this.#path as string));
    return { lastSent: this.#lastSent, accepted: this.#accepted };
  }

  sent(tai64n: Uint8Array): void {
    if (!this.#keepSent(tai64n)) return;
    this.#waiting.push(line("sent", "-", toHex(tai64n)));
  }

  accepted(publicKey: Uint8Array, tai64n: Uint8Array): void {
    const key = formatKey(publicKey);
    if (!this.#keepAccepted(key, tai64n)) return;
    this.#waiting.push(line("peer", key, toHex(tai64n)));
  }

  /** The peer was removed: what was accepted from it counts no more. */
  forget(publicKey: Uint8Array): void {
    const key = formatKey(publicKey);
    if (this.#accepted.delete(key)) this.#waiting.push(line("gone", key, "-"));
  }

  /** Everything so far survives this process when this returns. */
  flush(): void {
    if (this.#waiting.length === 0 || this.#path === undefined) return;
    this.#attempt(() => {
      const alive = this.#accepted.size + 1;
      this.#lines += this.#waiting.length;
      if (this.#file === undefined || this.#lines > 2 * alive + staleLinesMax) this.#rewrite();
      else writeWhole(this.#file, this.#waiting.join(""));
      this.#waiting = [];
    });
  }

  close(): void {
    this.flush();
    this.#closeFile();
    this.#path = undefined;
    this.#waiting = [];
  }

  /** Without a memory the device works on, and the operator knows what that means. */
  #attempt(body: () => void): void {
    try {
      body();
      this.#failing = false;
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      // A line may stand there in part, so the next attempt writes the whole file.
      this.#closeFile();
      // Disk full, read-only, no permission: said once, until it works again.
      if (!this.#failing) {
        this.#warn(
          `cannot keep ${this.#path}: ${error.message}; ` +
            "old handshakes could be replayed after a restart; make it writable",
        );
      }
      this.#failing = true;
    }
  }

  #load(path: string): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const text = readText(path);
    const { whole, damagedLines } = this.#read(text ?? "");
    if (damagedLines > 0 || text === undefined) {
      const kept = keepDamaged(path);
      const damage = text === undefined ? "unreadable" : `damaged (${damagedLines} of its lines)`;
      this.#warn(`${path} was ${damage}; it is kept as ${kept}, and its good lines are used`);
    }
    if (whole && damagedLines === 0) this.#file = openSync(path, "a", 0o600);
    else this.#rewrite();
  }

  /** `whole`: the text ends where a line ends; a last line without its end was being written. */
  #read(text: string): { whole: boolean; damagedLines: number } {
    const lines = text.split("\n");
    const whole = lines.pop() === "" && text !== "";
    this.#lines = lines.length;
    const [first, ...records] = lines;
    let damagedLines = first === undefined || first === header ? 0 : 1;
    for (const record of records) if (!this.#readLine(record)) damagedLines += 1;
    return { whole, damagedLines };
  }

  #readLine(record: string): boolean {
    const [kind, key, value, check, ...rest] = record.split(" ");
    if (kind === undefined || key === undefined || value === undefined) return false;
    if (rest.length > 0 || check !== checksum(`${kind} ${key} ${value}`)) return false;
    const tai64n = value === "-" ? undefined : fromHex(value);
    if (kind === "gone") {
      this.#accepted.delete(key);
      return true;
    }
    if (tai64n?.length !== tai64nBytes) return false;
    if (kind === "sent") this.#keepSent(tai64n);
    else if (kind === "peer" && parseKey(key) !== undefined) this.#keepAccepted(key, tai64n);
    else return false;
    return true;
  }

  #keepSent(tai64n: Uint8Array): boolean {
    const newer = this.#lastSent === undefined || compareBytes(tai64n, this.#lastSent) > 0;
    if (newer) this.#lastSent = tai64n.slice();
    return newer;
  }

  #keepAccepted(key: string, tai64n: Uint8Array): boolean {
    const known = this.#accepted.get(key);
    const newer = known === undefined || compareBytes(tai64n, known) > 0;
    if (newer) this.#accepted.set(key, tai64n.slice());
    return newer;
  }

  /** The whole memory into a new file, which then takes the old one's place. */
  #rewrite(): void {
    const path = this.#path as string;
    const lines = [`${header}\n`];
    if (this.#lastSent !== undefined) lines.push(line("sent", "-", toHex(this.#lastSent)));
    for (const [key, tai64n] of this.#accepted) lines.push(line("peer", key, toHex(tai64n)));
    const fresh = openSync(`${path}.new`, "w", 0o600);
    try {
      writeWhole(fresh, lines.join(""));
      fsyncSync(fresh);
    } finally {
      closeSync(fresh);
    }
    renameSync(`${path}.new`, path);
    this.#closeFile();
    this.#file = openSync(path, "a", 0o600);
    this.#lines = lines.length;
  }

  #closeFile(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

/** "" where there is no such file; undefined where what is there cannot be read. */
function readText(path: string): string | undefined {
  if (!existsSync(path)) return "";
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

/** A second name for a damaged file, so that it stays in place until its successor is whole. */
function keepDamaged(path: string): string {
  let kept = `${path}.damaged`;
  for (let at = 2; existsSync(kept) && at < damagedNamesMax; at += 1)
    kept = `${path}.damaged-${at}`;
  if (statSync(path).isFile()) linkSync(path, kept);
  else renameSync(path, kept);
  return kept;
}

function writeWhole(file: number, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

function line(kind: "sent" | "peer" | "gone", key: string, value: string): string {
  const text = `${kind} ${key} ${value}`;
  return `${text} ${checksum(text)}\n`;
}

/** Against accidents of storage, not against an adversary. */
function checksum(text: string): string {
  return (Bun.hash.crc32(text) >>> 0).toString(16).padStart(8, "0");
}
