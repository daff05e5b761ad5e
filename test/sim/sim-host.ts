/**
 * One simulated machine: the real `MeshNode`, its keys, its clock and its disk, over sessions of
 * `sim-peers.ts`. It runs, stands still, crashes and starts again, with what was on its disk or
 * without. The simulation delivers to it and carries what it sends.
 */
import type { Instant } from "../../src/base/clock.ts";
import type { Secret } from "../../src/base/crypto.ts";
import type { Endpoint } from "../../src/base/endpoint.ts";
import type { DataplaneEvent } from "../../src/mesh/dataplane.ts";
import { introductionPassesGate } from "../../src/mesh/introduction.ts";
import { MeshNode, type NodeMemory, type Seed } from "../../src/mesh/node.ts";
import type { PeerTable } from "../../src/mesh/peer-table.ts";
import { ipv4PrefixDefault } from "../../src/trust/address.ts";
import type { Identity } from "../../src/trust/identity.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import type { Packet } from "./sim-network.ts";
import { hostEndpoint } from "./sim-network.ts";
import { type PeerMessage, SimPeers } from "./sim-peers.ts";
import { SimRoster } from "./sim-roster.ts";
import type { Simulation } from "./simulation.ts";

/** Datagrams that wait for one that stands still, as a socket's buffer holds them. */
const backlogMax = 256;
/** An event that only has a node look at its peers. */
const look: DataplaneEvent = { kind: "mtu_changed", mtu: 0 };

export class SimHost {
  readonly index: number;
  readonly identity: Identity;
  readonly wireguardKey: Secret;
  readonly endpoint: Endpoint;
  readonly simulation: Simulation;
  seeds: readonly Seed[] = [];
  node: MeshNode | undefined;
  peers: SimPeers | undefined;
  startedMs = 0;
  wallOffsetMs = 0;
  /** When its timer is set for; the timeline may hold stale ones. */
  timerMs = Number.POSITIVE_INFINITY;
  /** The highest that it has signed in any of its lives. */
  signedSequence = 0;
  /** It stands still until then. */
  pausedUntilMs = 0;
  /** Sees what arrives before the node does; true: the node does not see it. */
  intercept: ((packet: Packet) => boolean) | undefined;
  readonly backlog: Packet[] = [];
  #memory: NodeMemory | undefined;
  #records: Uint8Array[] = [];
  #lives = 0;
  readonly #random: SeededRandom;

  constructor(simulation: Simulation, index: number) {
    const { crypto } = simulation;
    this.simulation = simulation;
    this.index = index;
    this.#random = new SeededRandom(simulation.random.u32());
    const seed = crypto.importSecret(simulation.random.bytes(32));
    this.identity = { seed, publicKey: crypto.identityPublicKey(seed) };
    this.wireguardKey = crypto.importSecret(simulation.random.bytes(32));
    this.endpoint = hostEndpoint(index);
  }

  get isUp(): boolean {
    return this.node !== undefined;
  }

  get now(): Instant {
    const { nowMs } = this.simulation.timeline;
    const wallMs = Math.floor(this.simulation.wallStartMs + nowMs) + this.wallOffsetMs;
    return { ms: nowMs, wallMs };
  }

  get running(): MeshNode {
    if (this.node === undefined) throw new Error(`host ${this.index} does not run`);
    return this.node;
  }

  /** Starts, with what its disk holds of an earlier life. */
  start(): void {
    const { simulation } = this;
    const { crypto, networkId, admitted, organisation } = simulation;
    const rosterOptions = { crypto, networkId, self: this.identity.publicKey };
    this.#lives += 1;
    this.startedMs = simulation.timeline.nowMs;
    this.pausedUntilMs = 0;
    const peers = new SimPeers(
      {
        send: (to, kind, session, bytes) => this.#sendPeer(to, kind, session, bytes),
        peerOf: (identity) => this.node?.peerOf(this.now, identity),
      },
      crypto.publicKey(this.wireguardKey),
      this.index * 2 ** 32 + this.#lives * 2 ** 24 + 1,
    );
    this.peers = peers;
    this.node = new MeshNode({
      crypto,
      random: new SeededRandom(this.#random.u32()),
      identity: this.identity,
      networkId,
      name: `n${this.index}`,
      wireguardKey: this.wireguardKey,
      ipv4Prefix: ipv4PrefixDefault,
      mtu: 1360,
      trusted: [],
      ...(organisation === undefined ? {} : { trust: organisation.trustOf(this) }),
      seeds: this.seeds,
      candidates: simulation.network.isBehindNat(this.index)
        ? []
        : [{ ...this.endpoint, kind: "interface" }],
      members: this.#records,
      profile: simulation.profile,
      shared: {
        records: simulation.records,
        statements: simulation.statements,
        roster: organisation === undefined ? new SimRoster(rosterOptions, admitted) : undefined,
        // The part of it that a node uses: a class with private fields has no other stand-in.
        peers: peers as unknown as PeerTable,
        watch: (slot, state) => simulation.watch(this, slot, state),
      },
      ...(this.#memory === undefined ? {} : { memory: this.#memory }),
    });
    this.node.start(this.now);
    this.settle();
  }

  /** As `kill -9` ends it. With its disk it comes back knowing whom it knew. */
  crash(keepDisk: boolean): void {
    const node = this.running;
    if (keepDisk) {
      const { table } = node.membership;
      this.#records = [];
      for (let slot = 1; slot < table.slotsEnd; slot += 1) {
        if (table.has(slot)) this.#records.push(table.recordBytes(slot));
      }
    } else {
      this.#records = [];
      this.#memory = undefined;
    }
    this.node = undefined;
    this.peers = undefined;
    this.backlog.length = 0;
    this.timerMs = Number.POSITIVE_INFINITY;
  }

  /** It stands still: what arrives waits, as much as a socket's buffer holds. */
  pause(ms: number): void {
    this.pausedUntilMs = this.simulation.timeline.nowMs + ms;
    if (this.timerMs > this.pausedUntilMs) this.#arm(this.pausedUntilMs);
  }

  /** Its operator has what the organisation says on the disk, and has the node read it. */
  revoke(statements: readonly Uint8Array[]): void {
    const trust = this.simulation.organisation?.trustOf(this);
    this.running.setTrust(this.now, [], { ...trust, statements });
    this.settle();
  }

  leave(): void {
    this.running.leave(this.now);
    this.settle();
    this.crash(true);
  }

  receive(packet: Packet): void {
    const { node, peers } = this;
    if (node === undefined || peers === undefined) return;
    if (this.pausedUntilMs > this.simulation.timeline.nowMs) {
      if (this.backlog.length < backlogMax) this.backlog.push(packet);
      return;
    }
    if (this.intercept?.(packet) === true) return;
    const { now } = this;
    const { kind, from, session, bytes } = packet;
    switch (kind) {
      case "initiation": {
        const { publicKey } = (this.simulation.hosts[packet.fromHost] as SimHost).identity;
        peers.receiveInitiation(from, publicKey, session);
        node.handleEvent(now, look);
        break;
      }
      case "response":
        peers.receiveResponse(now, from, session);
        node.handleEvent(now, look);
        break;
      case "message": {
        const peer = peers.receiveMessage(now, from, session, bytes === undefined);
        if (peer === undefined || bytes === undefined) {
          node.handleEvent(now, look);
          break;
        }
        if (peers.hasNews) node.handleEvent(now, look);
        this.simulation.onMessage?.(this, packet);
        node.handleDatagram(now, { kind: "session_message", bytes, remote: from, peer: peer.ref });
        break;
      }
      default:
        if (bytes === undefined) break;
        // The gate of the data plane.
        if (!introductionPassesGate(this.simulation.crypto, this.identity.publicKey, bytes)) break;
        node.handleDatagram(now, { kind: "introduction", bytes, remote: from });
    }
    this.settle();
  }

  tick(): void {
    const { nowMs } = this.simulation.timeline;
    if (this.node === undefined || this.timerMs > nowMs) return;
    this.timerMs = Number.POSITIVE_INFINITY;
    if (this.pausedUntilMs > nowMs) {
      this.#arm(this.pausedUntilMs);
      return;
    }
    // What waited in the socket is read before timers are looked at.
    for (const packet of this.backlog.splice(0)) this.receive(packet);
    this.node.handleTimeout(this.now);
    this.settle();
  }

  /** Carries what the node says, and sets its timer. */
  settle(): void {
    const { node, peers } = this;
    if (node === undefined || peers === undefined) return;
    const { now } = this;
    for (let it = node.pollEvent(); it; it = node.pollEvent()) {
      if (it.kind !== "persist_record") continue;
      const { kind: _, ...memory } = it;
      this.#memory = memory;
      this.signedSequence = Math.max(this.signedSequence, memory.sequence);
    }
    while (node.pollCommand() !== undefined);
    for (let it = node.pollTransmit(); it; it = node.pollTransmit()) {
      if (it.kind === "session_message") peers.send(now, it.peer, it.bytes);
      else this.simulation.send(this, it.to, "datagram", 0, it.bytes);
    }
    const next = node.nextTimeout();
    if (next !== undefined && next < this.timerMs) this.#arm(Math.max(next, now.ms));
  }

  #arm(atMs: number): void {
    this.timerMs = atMs;
    this.simulation.timeline.schedule(atMs, this);
  }

  #sendPeer(to: Endpoint, kind: PeerMessage, session: number, bytes: Uint8Array | undefined): void {
    this.simulation.send(this, to, kind, session, bytes);
  }
}
