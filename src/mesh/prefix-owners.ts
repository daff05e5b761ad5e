/**
 * Which peer holds which allowed IP: a prefix has one owner, and moves when another takes it. Only
 * the book-keeping of what was configured; finding the longest match is the data plane's.
 */
import { MeshError } from "../base/errors.ts";
import { formatPrefix } from "../base/ip.ts";
import type { Prefix } from "./dataplane.ts";

/** As many as the data plane's table holds (zig/constants.zig). */
export const prefixesMax = 1 << 20;

/** Of one owner up to so many stand in a list: most have two, and a map of their own costs more. */
const listedMax = 8;

export class PrefixOwners<Owner> {
  readonly #owners = new Map<string, Owner>();
  readonly #prefixes = new Map<Owner, readonly Prefix[] | Map<string, Prefix>>();

  get size(): number {
    return this.#owners.size;
  }

  of(owner: Owner): readonly Prefix[] {
    const held = this.#prefixes.get(owner);
    return held instanceof Map ? [...held.values()] : (held ?? []);
  }

  /**
   * Whether anything changed.
   * @throws MeshError prefixes_full
   */
  give(owner: Owner, prefix: Prefix): boolean {
    const name = formatPrefix(prefix);
    const before = this.#owners.get(name);
    if (before === owner) return false;
    if (before !== undefined) {
      this.#drop(before, name);
    } else if (this.#owners.size >= prefixesMax) {
      throw new MeshError(
        "prefixes_full",
        `cannot allow ${name}`,
        `there are ${prefixesMax} allowed IPs already`,
        "remove some first",
      );
    }
    const held = this.#prefixes.get(owner) ?? [];
    if (held instanceof Map) held.set(name, prefix);
    else if (held.length < listedMax) this.#prefixes.set(owner, [...held, prefix]);
    else {
      const all = [...held, prefix].map((each) => [formatPrefix(each), each] as const);
      this.#prefixes.set(owner, new Map(all));
    }
    this.#owners.set(name, owner);
    return true;
  }

  /** Whether the owner held it. */
  take(owner: Owner, prefix: Prefix): boolean {
    const name = formatPrefix(prefix);
    if (this.#owners.get(name) !== owner) return false;
    this.#drop(owner, name);
    this.#owners.delete(name);
    return true;
  }

  /** Whether the owner held any. */
  clear(owner: Owner): boolean {
    const held = this.of(owner);
    for (const prefix of held) this.#owners.delete(formatPrefix(prefix));
    this.#prefixes.delete(owner);
    return held.length > 0;
  }

  #drop(owner: Owner, name: string): void {
    const held = this.#prefixes.get(owner) ?? [];
    if (held instanceof Map) held.delete(name);
    else {
      this.#prefixes.set(
        owner,
        held.filter((prefix) => formatPrefix(prefix) !== name),
      );
    }
  }
}
