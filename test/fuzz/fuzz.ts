/**
 * The half of scripts/fuzz that feeds the TypeScript targets; the other is zig/fuzz.zig, whose
 * options, output and corpus these are. The same seed makes the same inputs.
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { fromHex, toHex } from "../../src/base/bytes.ts";
import { codecTargets } from "./codecs.ts";
import { daemonTargets } from "./daemon.ts";
import { handshakeTargets } from "./handshake.ts";
import { outsideTargets } from "./outside.ts";
import { signedTargets } from "./signed.ts";
import { type FuzzTarget, SeededRandom } from "./target.ts";
import { trustTargets } from "./trust.ts";

const targets: readonly FuzzTarget[] = [
  ...codecTargets,
  ...signedTargets,
  ...daemonTargets,
  ...handshakeTargets,
  ...trustTargets,
  ...outsideTargets,
];

const inputsDefault = 1_000_000;
const poolMax = 512;
const slowMs = 1;
/** Others use this processor, and a collector runs now and then. */
const slowTries = 16;
const shownBytesMax = 4096;

interface Options {
  readonly target: FuzzTarget;
  readonly inputs: number;
  readonly seed: number;
  readonly corpus: string | undefined;
  /** How many of the shortest inputs with a new outcome go into the corpus. */
  readonly collect: number;
  readonly input: string | undefined;
}

class Fuzzer {
  readonly #options: Options;
  readonly #target: FuzzTarget;
  readonly #random: SeededRandom;
  readonly #pool: Uint8Array[] = [];
  readonly #outcomes = new Set<string | number>();
  #slowestMs = 0;
  #keeps = false;

  constructor(options: Options) {
    this.#options = options;
    this.#target = options.target;
    this.#random = new SeededRandom(options.seed);
  }

  run(): void {
    const { name } = this.#target;
    const { input, inputs, corpus } = this.#options;
    if (input !== undefined) {
      this.#feed(hex(input));
      console.error(`${name}: nothing is wrong with this input`);
      return;
    }
    const known = this.#readCorpus();
    const knownOutcomes = this.#pool.length;
    this.#keeps = corpus !== undefined;
    const startMs = performance.now();
    for (let i = 0; i < inputs; i += 1) this.#feed(this.#make());
    const seconds = Math.max(1e-6, (performance.now() - startMs) / 1000);
    console.error(
      `${name}: ${inputs} inputs and ${known} of the corpus, ${this.#outcomes.size} outcomes, ` +
        `${seconds.toFixed(1)} s, ${Math.floor(inputs / seconds)}/s, ` +
        `the slowest ${this.#slowestMs.toFixed(2)} ms`,
    );
    this.#collect(this.#pool.slice(knownOutcomes));
  }

  #collect(fresh: readonly Uint8Array[]): void {
    const { corpus, collect } = this.#options;
    if (corpus === undefined) return;
    const shortest = fresh.toSorted((a, b) => a.length - b.length).slice(0, collect);
    for (const input of shortest) appendFileSync(corpus, `${lineOf(input)}\n`);
  }

  #readCorpus(): number {
    const { corpus } = this.#options;
    if (corpus === undefined || !existsSync(corpus)) return 0;
    const lines = readFileSync(corpus, "utf8").split("\n");
    const inputs = lines.filter((line) => line !== "" && !line.startsWith("#"));
    for (const line of inputs) this.#feed(line === "-" ? new Uint8Array(0) : hex(line));
    return inputs.length;
  }

  #make(): Uint8Array {
    const random = this.#random;
    if (this.#pool.length === 0 || random.chance(0.5)) return this.#target.generate(random);
    let bytes = this.#pool[random.below(this.#pool.length)] as Uint8Array;
    for (let left = 1 + random.below(4); left > 0; left -= 1) bytes = this.#mutate(bytes);
    return bytes.length <= this.#target.bytesMax ? bytes : bytes.subarray(0, this.#target.bytesMax);
  }

  #mutate(bytes: Uint8Array): Uint8Array {
    const random = this.#random;
    if (bytes.length === 0) return random.bytes(1);
    const at = random.below(bytes.length);
    const out = bytes.slice();
    switch (random.below(8)) {
      case 0:
        out[at] = (out[at] as number) ^ (1 << random.below(8));
        return out;
      case 1:
        out[at] = random.below(256);
        return out;
      case 2:
        out[at] = (out[at] as number) + (random.chance(0.5) ? 1 : 255);
        return out;
      case 3:
        return out.fill(random.chance(0.5) ? 0 : 255, at, at + (1 << random.below(4)));
      case 4:
        return out.subarray(0, at);
      case 5:
        return joined(out.subarray(0, at), out.subarray(at + 1 + random.below(32)));
      case 6:
        return joined(out.subarray(0, at), random.bytes(1 + random.below(32)), out.subarray(at));
      default: {
        const other = this.#pool[random.below(this.#pool.length)] as Uint8Array;
        const from = random.below(other.length + 1);
        return joined(out.subarray(0, at), other.subarray(from));
      }
    }
  }

  #feed(input: Uint8Array): void {
    try {
      const startMs = performance.now();
      const outcome = this.#target.one(input);
      let elapsedMs = performance.now() - startMs;
      if (elapsedMs > slowMs && this.#target.timed !== false) {
        for (let i = 0; i < slowTries && elapsedMs > slowMs; i += 1) {
          const againMs = performance.now();
          this.#target.one(input);
          elapsedMs = Math.min(elapsedMs, performance.now() - againMs);
        }
        if (elapsedMs > slowMs) throw new Error("takes more than a millisecond");
      }
      this.#slowestMs = Math.max(this.#slowestMs, elapsedMs);
      if (this.#pool.length === poolMax || this.#outcomes.has(outcome)) return;
      this.#outcomes.add(outcome);
      this.#pool.push(input.slice());
    } catch (error) {
      this.#report(input, error);
      process.exit(1);
    }
  }

  #report(input: Uint8Array, error: unknown): void {
    const { name } = this.#target;
    const { seed, corpus } = this.#options;
    const text = lineOf(input);
    const shown = input.length <= shownBytesMax;
    console.error(`\n${name}: ${error instanceof Error ? error.stack : String(error)}`);
    console.error(`  seed ${seed}, an input of ${input.length} bytes: ${shown ? text : "long"}`);
    if (this.#options.input !== undefined) return;
    if (this.#keeps && corpus !== undefined) {
      appendFileSync(corpus, `${text}\n`);
      console.error(`  kept as the last line of ${corpus}`);
    }
    const alone = shown ? `, or scripts/fuzz --input ${text} ${name}` : "";
    console.error(`  again: scripts/fuzz --inputs 0 ${name}${alone}`);
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function lineOf(input: Uint8Array): string {
  return input.length === 0 ? "-" : toHex(input);
}

function hex(text: string): Uint8Array {
  const bytes = fromHex(text === "-" ? "" : text);
  if (bytes === undefined) throw new Error(`not hexadecimal: ${text.slice(0, 80)}`);
  return bytes;
}

/** Options as scripts/fuzz has checked them; a target of another name is not ours. */
function main(words: readonly string[]): void {
  const [name, ...rest] = words;
  if (name === "--list") {
    for (const target of targets) console.error(target.name);
    return;
  }
  const target = targets.find((one) => one.name === name);
  if (target === undefined) throw new Error(`no such target: ${name}`);
  const said = new Map<string, string>();
  for (let at = 0; at < rest.length; at += 2) said.set(rest[at] as string, rest[at + 1] ?? "");
  const inputs = said.get("--inputs");
  const share = Number(said.get("--share") ?? 1);
  new Fuzzer({
    target,
    inputs:
      inputs === undefined ? Math.floor((target.inputs ?? inputsDefault) / share) : Number(inputs),
    seed: Number(said.get("--seed") ?? 1),
    corpus: said.get("--corpus"),
    collect: Number(said.get("--collect") ?? 0),
    input: said.get("--input"),
  }).run();
}

main(process.argv.slice(2));
