/**
 * Whom a simulated node admits: all of its network, as if one organisation had certified them, but
 * those that it has been told to admit no longer. The set of all is one for the whole process.
 */
import { parseKey } from "../../src/base/base64.ts";
import type { Instant } from "../../src/base/clock.ts";
import { keyOf } from "../../src/swim/store.ts";
import { formatIdentity } from "../../src/trust/identity.ts";
import type { Record } from "../../src/trust/record.ts";
import { Roster, type RosterOptions } from "../../src/trust/roster.ts";

export class SimRoster extends Roster {
  readonly #all: ReadonlySet<number>;
  readonly #refused = new Set<string>();

  constructor(options: RosterOptions, all: ReadonlySet<number>) {
    super(options);
    this.#all = all;
  }

  override admits(identity: Uint8Array): boolean {
    if (!this.#all.has(keyOf(identity))) return false;
    return this.#refused.size === 0 || !this.#refused.has(formatIdentity(identity));
  }

  override admitsText(identity: string): boolean {
    const key = parseKey(identity);
    return key !== undefined && this.admits(key);
  }

  override mayAdmit(record: Record): boolean {
    return this.admits(record.identity);
  }

  override judge(_now: Instant, record: Record): boolean {
    return this.admits(record.identity);
  }

  override distrust(identity: Uint8Array): boolean {
    const name = formatIdentity(identity);
    if (this.#refused.has(name)) return false;
    this.#refused.add(name);
    return true;
  }
}
