/**
 * Which peer holds which allowed IP: a prefix has one owner, and moves when another takes it. Only
 * the book-keeping of what was configured; finding the longest match is the data plane's.
 */
import { MeshError } from "../base/errors.ts";
import { formatPrefix } from "../base/ip.ts";
import type { Prefix } from "./dataplane.ts";

/** As many as the data plane's table holds (zig/constants.zig). */
export const prefixesMax = 1 << 20;

export class PrefixOwners<Owner> {
  readonly #owners = new Map<string, Owner>();
  readonly #prefixes = new Map<Owner, Map<string, Prefix>>();

  get size(): number {
    return this.#owners.size;
  }

  of(owner: Owner): readonly Prefix[] {
    return [...(this.#prefixes.get(owner)?.values() ?? [])];
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
      this.#prefixes.get(before)?.delete(name);
    } else if (this.#owners.size >= prefixesMax) {
      throw new MeshError(
        "prefixes_full",
        `cannot allow ${name}`,
        `there are ${prefixesMax} allowed IPs already`,
        "remove some first",
      );
    }
    let held = this.#prefixes.get(owner);
    if (held === undefined) {
      held = new Map();
      this.#prefixes.set(owner, held);
    }
    held.set(name, prefix);
    this.#owners.set(name, owner);
    return true;
  }

  /** Whether the owner held it. */
  take(owner: Owner, prefix: Prefix): boolean {
    const name = formatPrefix(prefix);
    if (this.#prefixes.get(owner)?.delete(name) !== true) return false;
    this.#owners.delete(name);
    return true;
  }

  /** Whether the owner held any. */
  clear(owner: Owner): boolean {
    const held = this.#prefixes.get(owner);
    if (held === undefined) return false;
    for (const name of held.keys()) this.#owners.delete(name);
    this.#prefixes.delete(owner);
    return held.size > 0;
  }
}
