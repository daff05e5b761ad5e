/**
 * Peer tables over fake data planes on one virtual network and clock: set the scene, run, assert.
 * Each node's turn is the driver's: events, datagrams, timeouts, then what is to be kept, commands,
 * transmits. A crypto of its own for each node, so that each can be asked what it leaks.
 */

import { formatKey } from "../../src/base/base64.ts";
import type { Instant } from "../../src/base/clock.ts";
import type { Secret } from "../../src/base/crypto.ts";
import { Deadlines } from "../../src/base/deadlines.ts";
import type { Endpoint } from "../../src/base/endpoint.ts";
import type { Transmit } from "../../src/mesh/dataplane.ts";
import {
  type HandshakeHistory,
  type Peer,
  PeerTable,
  type PeerTableEvent,
} from "../../src/mesh/peer-table.ts";
import { FakeDataplane, type InnerPacket } from "./fake-dataplane.ts";
import { NobleCrypto } from "./noble-crypto.ts";
import { SeededRandom } from "./seeded-random.ts";
import { type NetworkConditions, VirtualNetwork } from "./virtual-network.ts";

const wallAtStartMs = Date.UTC(2026, 0, 1);

export class World {
  readonly random: SeededRandom;
  readonly network: VirtualNetwork;
  readonly nodes: PeerNode[] = [];
  readonly #agenda = new Deadlines<() => void>();
  #nowMs = 1_000_000;

  constructor(seed: number, conditions: Partial<NetworkConditions> = {}) {
    this.random = new SeededRandom(seed);
    this.network = new VirtualNetwork(this.random, conditions);
  }

  get now(): Instant {
    return { ms: this.#nowMs, wallMs: wallAtStartMs + this.#nowMs };
  }

  node(options: NodeOptions = {}): PeerNode {
    const address = options.address ?? `192.0.2.${this.nodes.length + 1}`;
    const node = new PeerNode(this, { address, port: 51820 }, options);
    this.nodes.push(node);
    return node;
  }

  /** Two nodes that are peers of each other and know each other's endpoint. */
  pair(options: NodeOptions = {}): [PeerNode, PeerNode] {
    const [a, b] = [this.node(options), this.node(options)];
    a.meet(b);
    b.meet(a);
    return [a, b];
  }

  /** Does that after so long. */
  after(delayMs: number, action: () => void): void {
    this.#agenda.set(() => action(), this.#nowMs + delayMs);
  }

  /** Lets so much time pass, with everything that happens in it. */
  run(durationMs: number): void {
    const untilMs = this.#nowMs + durationMs;
    this.#settle();
    for (;;) {
      const nextMs = this.#next();
      if (nextMs > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, nextMs);
      this.network.deliver(this.#nowMs);
      for (let act = this.#agenda.takeDue(this.#nowMs); act !== undefined; ) {
        act();
        act = this.#agenda.takeDue(this.#nowMs);
      }
      this.#settle();
    }
    this.#nowMs = untilMs;
  }

  #settle(): void {
    for (const node of this.nodes) node.turn();
  }

  #next(): number {
    let next = Math.min(
      this.network.next() ?? Number.POSITIVE_INFINITY,
      this.#agenda.next() ?? Number.POSITIVE_INFINITY,
    );
    for (const node of this.nodes) {
      next = Math.min(
        next,
        node.table.nextTimeout() ?? Number.POSITIVE_INFINITY,
        node.dataplane.nextTimeout() ?? Number.POSITIVE_INFINITY,
      );
    }
    return next;
  }
}

export interface NodeOptions extends HandshakeHistory {
  readonly address?: string;
  /** The private key; a random one if need be. */
  readonly key?: Uint8Array;
  /** Real X25519 instead of the fast pretended one. */
  readonly realDh?: boolean;
}

export class PeerNode {
  readonly crypto: NobleCrypto;
  readonly table: PeerTable;
  readonly dataplane: FakeDataplane;
  readonly keyBytes: Uint8Array;
  readonly events: PeerTableEvent[] = [];
  readonly transmits: Transmit[] = [];
  readonly packets: InnerPacket[] = [];
  /** What a state file would hold. */
  lastSent: Uint8Array | undefined;
  readonly accepted = new Map<string, Uint8Array>();
  endpoint: Endpoint;
  readonly #world: World;

  constructor(world: World, endpoint: Endpoint, options: NodeOptions) {
    this.#world = world;
    this.endpoint = endpoint;
    const random = new SeededRandom(world.random.u32());
    this.crypto = new NobleCrypto({ random, pretendDh: options.realDh !== true });
    this.dataplane = new FakeDataplane(this.crypto);
    const { lastSent, accepted } = options;
    this.table = new PeerTable({ crypto: this.crypto, random, lastSent, accepted });
    this.keyBytes = options.key ?? random.bytes(32);
    this.table.setLocalKey(world.now, this.crypto.importSecret(this.keyBytes));
    world.network.listen(endpoint, (packet) => this.receive(packet.from, packet.bytes));
    this.turn();
  }

  get publicKey(): Uint8Array {
    return this.table.localPublicKey ?? new Uint8Array(32);
  }

  /** Adds the other as a peer, with its endpoint. */
  meet(other: PeerNode, endpoint: Endpoint | undefined = other.endpoint): Peer {
    const peer = this.table.addPeer(this.#world.now, other.publicKey);
    if (endpoint !== undefined) this.table.setEndpoint(this.#world.now, peer, endpoint);
    this.turn();
    return peer;
  }

  peer(other: PeerNode): Peer {
    const peer = this.table.find(other.publicKey);
    if (peer === undefined) throw new Error("the other is no peer");
    return peer;
  }

  presharedKey(other: PeerNode, bytes: Uint8Array | undefined): void {
    const secret: Secret | undefined = bytes && this.crypto.importSecret(bytes);
    this.table.setPresharedKey(this.peer(other), secret);
  }

  initiate(other: PeerNode): void {
    this.table.initiate(this.#world.now, this.peer(other));
    this.turn();
  }

  /** Sends an inner packet that says `text`. */
  send(other: PeerNode, text: string): void {
    const bytes = new TextEncoder().encode(`E${text}`); // 0x45: an IPv4 header's first byte
    this.dataplane.sendPacket(this.#world.now, this.peer(other).ref, bytes);
    this.turn();
  }

  receive(from: Endpoint, bytes: Uint8Array): void {
    this.dataplane.receiveDatagram(this.#world.now, from, bytes, this.endpoint);
  }

  /** What arrived and was said, in order, since it was last asked. */
  heard(): string[] {
    return this.packets.splice(0).map(({ bytes }) => new TextDecoder().decode(bytes.subarray(1)));
  }

  /** How many events of that kind there were. */
  count(kind: PeerTableEvent["kind"]): number {
    return this.events.filter((event) => event.kind === kind).length;
  }

  /** The driver's turns, until nothing is left to do now. */
  turn(): void {
    do this.#turn();
    while (this.dataplane.eventful);
  }

  #turn(): void {
    const { table, dataplane } = this;
    const { now } = this.#world;
    dataplane.handleTimeout(now);
    for (let event = dataplane.pollEvent(); event !== undefined; event = dataplane.pollEvent()) {
      table.handleEvent(now, event);
    }
    for (let it = dataplane.pollDatagram(); it !== undefined; it = dataplane.pollDatagram()) {
      table.handleDatagram(now, it);
    }
    table.handleTimeout(now);
    this.#persist();
    for (let it = table.pollCommand(); it !== undefined; it = table.pollCommand()) {
      dataplane.apply(now, it);
    }
    for (let it = table.pollTransmit(); it !== undefined; it = table.pollTransmit()) {
      this.transmits.push(it);
      dataplane.send(now, it);
    }
    for (let it = dataplane.pollPacket(); it !== undefined; it = dataplane.pollPacket()) {
      this.packets.push(it);
    }
    for (let it = dataplane.pollOutgoing(); it !== undefined; it = dataplane.pollOutgoing()) {
      this.#world.network.send(now.ms, this.endpoint, it.to, it.bytes);
    }
  }

  /** Moves to another address, as a device does that changes networks. */
  move(address: string): void {
    const { network } = this.#world;
    network.leave(this.endpoint);
    this.endpoint = { address, port: this.endpoint.port };
    network.listen(this.endpoint, (packet) => this.receive(packet.from, packet.bytes));
  }

  /** Takes everything down; how many secrets are left, which is how many leaked. */
  close(): number {
    const { table, dataplane } = this;
    const { now } = this.#world;
    this.turn();
    for (const peer of [...table.peers()]) table.removePeer(now, peer);
    table.setLocalKey(now, undefined);
    this.turn();
    dataplane.close();
    this.#world.network.leave(this.endpoint);
    return this.crypto.live() + table.indexCount;
  }

  #persist(): void {
    for (let it = this.table.pollEvent(); it !== undefined; it = this.table.pollEvent()) {
      this.events.push(it);
      if (it.kind === "timestamp_sent") this.lastSent = it.tai64n;
      if (it.kind === "timestamp_accepted") {
        this.accepted.set(formatKey(it.publicKey), it.tai64n);
      }
    }
  }
}
