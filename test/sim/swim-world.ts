/**
 * Many `Swim` cores on a virtual clock, for membership alone: sessions come up by decree, records are
 * an identity and a sequence without a signature, messages take 5 ms and are lost by chance.
 */
import { Reader, toHex } from "../../src/base/bytes.ts";
import { assert } from "../../src/base/errors.ts";
import type { MemberState } from "../../src/swim/state.ts";
import { Swim } from "../../src/swim/swim.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { recordOf, signerOf, stored } from "../support/swim-parts.ts";
import { EventQueue } from "./event-queue.ts";

const latencyMs = 5;

export interface SwimNode {
  readonly number: number;
  readonly identity: Uint8Array;
  readonly swim: Swim;
  sequence: number;
  up: boolean;
  /** Whom it admits; undefined: everybody. */
  admits?: ReadonlySet<string>;
  timerMs: number | undefined;
  readonly states: { atMs: number; of: number; state: MemberState }[];
}

export class SwimWorld {
  readonly queue = new EventQueue();
  readonly nodes: SwimNode[] = [];
  readonly #names = new Map<string, SwimNode>();
  readonly random: SeededRandom;
  loss = 0;
  /** Whether the first reaches the second. */
  reaches: (from: SwimNode, to: SwimNode) => boolean = () => true;
  bytes = 0;
  messages = 0;

  constructor(seed: number, count: number) {
    this.random = new SeededRandom(seed);
    for (let number = 0; number < count; number += 1) {
      const identity = this.random.bytes(32);
      const swim = new Swim({
        self: identity,
        random: new SeededRandom(seed * 7919 + number),
        signer: signerOf(identity),
      });
      const node: SwimNode = {
        number,
        identity,
        swim,
        sequence: 0,
        up: true,
        timerMs: undefined,
        states: [],
      };
      this.nodes.push(node);
      this.#names.set(toHex(identity), node);
      this.publish(node);
    }
  }

  get nowMs(): number {
    return this.queue.now.ms;
  }

  node(number: number): SwimNode {
    const node = this.nodes[number];
    assert(node !== undefined, "no such node");
    return node;
  }

  publish(node: SwimNode): void {
    node.sequence += 1;
    const record = stored(node.swim.table.records, node.identity, node.sequence);
    node.swim.setSelf(this.queue.now, record);
    node.swim.table.records.release(record);
    this.#settle(node);
  }

  /** Stops the node where it stands, or lets it go on with what it knew. */
  setUp(node: SwimNode, up: boolean): void {
    node.up = up;
    this.#settle(node);
  }

  /** Both know each other and hold a session from now on. */
  link(a: SwimNode, b: SwimNode, live = true): void {
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const slot = this.#learn(one, other.identity, other.sequence);
      if (slot === undefined || one.swim.table.isLinked(slot) === live) continue;
      one.swim.setLink(this.queue.now, slot, live);
      this.#settle(one);
    }
  }

  linkAll(): void {
    for (const a of this.nodes)
      for (const b of this.nodes) if (a.number < b.number) this.link(a, b);
  }

  /** How the first sees the second. */
  view(a: SwimNode, b: SwimNode): MemberState | "unknown" {
    const slot = a.swim.table.find(b.identity);
    return slot === undefined ? "unknown" : a.swim.table.state(slot);
  }

  knows(a: SwimNode, b: SwimNode): boolean {
    const slot = a.swim.table.find(b.identity);
    return slot !== undefined && a.swim.table.sequence(slot) === b.sequence;
  }

  /** Whether everybody holds everybody's newest record. */
  isEven(): boolean {
    return this.nodes.every((a) => this.nodes.every((b) => a === b || this.knows(a, b)));
  }

  run(ms: number, done?: () => boolean): number {
    return this.queue.runUntil(this.nowMs + ms, done);
  }

  #settle(node: SwimNode): void {
    for (let event = node.swim.pollEvent(); event; event = node.swim.pollEvent()) {
      if (event.kind === "state") {
        const of = this.#byIdentity(node.swim.table.identity(event.slot)).number;
        node.states.push({ atMs: this.nowMs, of, state: event.state });
        continue;
      }
      if (event.kind === "open") {
        this.#open(node, this.#byIdentity(node.swim.table.identity(event.slot)));
        continue;
      }
      if (event.kind !== "record") continue;
      const reader = new Reader(event.bytes);
      const identity = reader.bytes(32);
      const sequence = reader.u32();
      assert(identity !== undefined && sequence !== undefined, "a record of this world");
      this.#learn(node, identity, sequence, event.from);
    }
    for (let next = node.swim.pollTransmit(); next; next = node.swim.pollTransmit()) {
      this.#carry(node, this.#byIdentity(node.swim.table.identity(next.to)), next.bytes);
    }
    this.#arm(node);
  }

  #learn(
    node: SwimNode,
    identity: Uint8Array,
    sequence: number,
    from?: number,
  ): number | undefined {
    if (toHex(identity) === toHex(node.identity)) return undefined;
    if (node.admits !== undefined && !node.admits.has(toHex(identity))) {
      node.swim.hearsay.add(identity, sequence, recordOf(identity, sequence));
      return undefined;
    }
    const known = node.swim.table.find(identity) !== undefined;
    const record = stored(node.swim.table.records, identity, sequence);
    const slot = node.swim.learn(this.queue.now, record, from);
    node.swim.table.records.release(record);
    const other = this.#byIdentity(identity);
    // As the mesh does it: whoever is known gets a session, if it can.
    if (!known && slot !== undefined && node.up && other.up && this.reaches(node, other)) {
      this.queue.schedule(this.nowMs + 2 * latencyMs, () => {
        if (other.swim.table.find(node.identity) !== undefined) this.link(node, other);
      });
    }
    return slot;
  }

  /** A session comes up where both are up and reach each other. */
  #open(node: SwimNode, other: SwimNode): void {
    this.queue.schedule(this.nowMs + 2 * latencyMs, () => {
      if (!node.up || !other.up || !this.reaches(node, other)) return;
      if (other.swim.table.find(node.identity) !== undefined) this.link(node, other);
    });
  }

  #carry(from: SwimNode, to: SwimNode, bytes: Uint8Array): void {
    if (!from.up) return;
    this.messages += 1;
    this.bytes += bytes.length;
    if (this.random.chance(this.loss)) return;
    this.queue.schedule(this.nowMs + latencyMs, () => {
      if (!to.up || !this.reaches(from, to)) return;
      const slot = to.swim.table.find(from.identity);
      if (slot === undefined) return;
      if (!to.swim.table.isLinked(slot)) to.swim.setLink(this.queue.now, slot, true);
      to.swim.handleMessage(this.queue.now, slot, bytes);
      this.#settle(to);
    });
  }

  #arm(node: SwimNode): void {
    if (!node.up) return;
    const nextMs = node.swim.nextTimeout();
    if (nextMs === undefined || (node.timerMs !== undefined && node.timerMs <= nextMs)) return;
    node.timerMs = nextMs;
    this.queue.schedule(nextMs, () => {
      if (node.timerMs !== nextMs) return;
      node.timerMs = undefined;
      if (!node.up) return;
      node.swim.handleTimeout(this.queue.now);
      this.#settle(node);
    });
  }

  #byIdentity(identity: Uint8Array): SwimNode {
    const found = this.#names.get(toHex(identity));
    assert(found !== undefined, "a node of this world");
    return found;
  }
}
