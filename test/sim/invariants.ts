/**
 * What holds at every moment, whatever the network and others do: looked at after every step of every
 * node, where it changed something, and now and then in whole. A violation is a sentence; the first few
 * are kept.
 */
import { membersMax } from "../../src/swim/state.ts";
import type { SimHost } from "./sim-host.ts";
import type { Simulation } from "./simulation.ts";

const keptMax = 5;

export class Invariants {
  readonly violations: string[] = [];
  count = 0;
  readonly #simulation: Simulation;
  /** By observer and subject: the highest sequence seen there, in this life of the observer. */
  readonly #held: Float64Array;
  readonly #lives: Float64Array;
  readonly #sizes: Uint32Array;
  /** What the table had changed when it was last looked at. */
  readonly #changes: Float64Array;
  readonly #isHonest: (host: SimHost) => boolean;

  constructor(simulation: Simulation, isHonest: (host: SimHost) => boolean = () => true) {
    this.#simulation = simulation;
    this.#isHonest = isHonest;
    const { length } = simulation.hosts;
    this.#held = new Float64Array(length * length);
    this.#lives = new Float64Array(length);
    this.#sizes = new Uint32Array(length);
    this.#changes = new Float64Array(length).fill(-1);
    simulation.onTurn = (host) => this.#look(host);
  }

  /** All of everybody's. */
  check(): void {
    for (const host of this.#simulation.living) if (this.#isHonest(host)) this.#checkHost(host);
  }

  #look(host: SimHost): void {
    const changes = host.node?.membership.table.changes;
    const isSameLife = this.#lives[host.index] === host.startedMs;
    if (changes === undefined || (isSameLife && changes === this.#changes[host.index])) return;
    if (this.#isHonest(host)) this.#checkHost(host);
  }

  #checkHost(host: SimHost): void {
    const { hosts } = this.#simulation;
    const { table, hearsay } = host.running.membership;
    this.#changes[host.index] = table.changes;
    if (this.#lives[host.index] !== host.startedMs) {
      this.#lives[host.index] = host.startedMs;
      this.#sizes[host.index] = 0;
      this.#held.fill(0, host.index * hosts.length, (host.index + 1) * hosts.length);
    }
    if (table.size < (this.#sizes[host.index] as number)) {
      this.#violated(host, "a member was removed");
    }
    this.#sizes[host.index] = table.size;
    if (table.size > hosts.length || table.size > membersMax) {
      this.#violated(host, "more members than there are nodes");
    }
    if (hearsay.size > 1_024) this.#violated(host, "hearsay has no bound");
    for (let slot = 1; slot < table.slotsEnd; slot += 1) {
      if (table.has(slot)) this.#checkMember(host, slot);
    }
  }

  #checkMember(host: SimHost, slot: number): void {
    const { hosts } = this.#simulation;
    const { table } = host.running.membership;
    const subject = this.#simulation.hostInSlot(host, slot);
    if (subject === undefined) {
      this.#violated(host, "a member that nobody is");
      return;
    }
    const sequence = table.sequence(slot);
    // What the hostile sign beside their node is their own affair.
    if (!this.#isHonest(subject)) return;
    if (sequence > subject.signedSequence) {
      this.#violated(host, `a record of ${subject.index} that it did not sign`);
    }
    const at = host.index * hosts.length + subject.index;
    if (sequence < (this.#held[at] as number)) {
      this.#violated(host, `an older record of ${subject.index} in place of a newer`);
    }
    this.#held[at] = sequence;
    if (!subject.isUp) return;
    const own = subject.running.membership.table;
    if (sequence === own.sequence(0) && table.incarnation(slot) > own.incarnation(0)) {
      this.#violated(host, `an incarnation of ${subject.index} that it did not sign`);
    }
  }

  #violated(host: SimHost, what: string): void {
    this.count += 1;
    if (this.violations.length >= keptMax) return;
    this.violations.push(`at ${this.#simulation.nowMs} ms, host ${host.index}: ${what}`);
  }
}
