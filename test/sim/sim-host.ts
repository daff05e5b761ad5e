/**
 * One simulated machine: the real `MeshNode`, its keys, its clock and its disk, over sessions of
 * `sim-peers.ts`. It runs, stands still, crashes and starts again, with what was on its disk or
 * without. The simulation delivers to it and carries what it sends.
 */

import type { Candidate } from "../../src/base/candidate.ts";
import type { Instant } from "../../src/base/clock.ts";
import type { Secret } from "../../src/base/crypto.ts";
import { type Endpoint, relayEndpoint, relayWayOf } from "../../src/base/endpoint.ts";
import type { Command, DataplaneEvent, PeerRef } from "../../src/mesh/dataplane.ts";
import { introductionPassesGate } from "../../src/mesh/introduction.ts";
import { MeshNode, type NodeMemory, type Seed } from "../../src/mesh/node.ts";
import type { Peer } from "../../src/mesh/peer.ts";
import type { PeerTable } from "../../src/mesh/peer-table.ts";
import { selfSlot } from "../../src/swim/state.ts";
import { ipv4PrefixDefault } from "../../src/trust/address.ts";
import type { Identity } from "../../src/trust/identity.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { hostEndpoint, hostEndpoint6, privateEndpoint } from "./sim-nat.ts";
import type { Packet } from "./sim-network.ts";
import { datagramBytes, type PeerMessage, SimPeers } from "./sim-peers.ts";
import { type Frame, SimRelay } from "./sim-relay.ts";
import { SimRoster } from "./sim-roster.ts";
import type { Simulation } from "./simulation.ts";

/** Datagrams that wait for one that stands still, as a socket's buffer holds them. */
const backlogMax = 256;
/** So many turns by its timer at one time: it asks for a time that its engine does nothing at. */
const turnsAtOnceMax = 1_000;
/** Of a control message: a path probe. */
const typeProbe = 13;
/** An event that only has a node look at its peers. */
const look: DataplaneEvent = { kind: "mtu_changed", mtu: 0 };

export class SimHost {
  readonly index: number;
  readonly identity: Identity;
  readonly wireguardKey: Secret;
  readonly endpoint: Endpoint;
  readonly simulation: Simulation;
  seeds: readonly Seed[] = [];
  /** Of a simulation on two threads, the other has the nodes of half of the hosts. */
  readonly isHere: boolean;
  isUp = false;
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
  /** It relays for others, so many KiB a second for each pair. */
  relayKibPerSecond: number | undefined;
  /** Its part in relaying, where paths are simulated. */
  relay: SimRelay | undefined;
  /** Path probes that it has sent. */
  probes = 0;
  /** Sees what arrives before the node does; true: the node does not see it. */
  intercept: ((packet: Packet) => boolean) | undefined;
  readonly backlog: Packet[] = [];
  #now: Instant = { ms: -1, wallMs: 0 };
  #turnMs = -1;
  #turnsAtOnce = 0;
  /** When the node itself has something to do. */
  #nodeMs = Number.POSITIVE_INFINITY;
  /** Whether its sessions had news for the node, in this turn. */
  #wasTold = false;
  #memory: NodeMemory | undefined;
  #records: Uint8Array[] = [];
  #lives = 0;
  readonly #random: SeededRandom;
  /** By peer. */
  readonly #probesTo = new Map<number, number>();
  /** Peers by frame id, as the data plane knows them. */
  readonly #members = new Map<number, PeerRef>();

  constructor(simulation: Simulation, index: number) {
    const { crypto } = simulation;
    this.simulation = simulation;
    this.index = index;
    this.#random = new SeededRandom(simulation.random.u32());
    const seed = crypto.importSecret(simulation.random.bytes(32));
    this.identity = { seed, publicKey: crypto.identityPublicKey(seed) };
    this.wireguardKey = crypto.importSecret(simulation.random.bytes(32));
    this.endpoint = hostEndpoint(index);
    this.isHere = simulation.hasHere(index);
  }

  get now(): Instant {
    const { nowMs } = this.simulation.timeline;
    const wallMs = Math.floor(this.simulation.wallStartMs + nowMs) + this.wallOffsetMs;
    if (this.#now.ms !== nowMs || this.#now.wallMs !== wallMs) this.#now = { ms: nowMs, wallMs };
    return this.#now;
  }

  get running(): MeshNode {
    if (this.node === undefined) throw new Error(`host ${this.index} does not run`);
    return this.node;
  }

  /** Starts, with what its disk holds of an earlier life. */
  start(): void {
    this.isUp = true;
    if (!this.isHere) return;
    const { simulation } = this;
    const { crypto, networkId, admitted, organisation } = simulation;
    const rosterOptions = { crypto, networkId, self: this.identity.publicKey };
    this.#lives += 1;
    this.startedMs = simulation.timeline.nowMs;
    this.pausedUntilMs = 0;
    const peers = new SimPeers(
      {
        send: (to, kind, session, bytes) => this.#sendPeer(to, kind, session, bytes),
        sendFrame: (to, session, frame) =>
          this.simulation.send(this, to, "frame", session, undefined, frame),
        peerOf: (identity) => this.node?.peerOf(this.now, identity),
      },
      crypto.publicKey(this.wireguardKey),
      this.index * 2 ** 32 + this.#lives * 2 ** 24 + 1,
      simulation.simulatesPaths,
    );
    this.peers = peers;
    if (simulation.simulatesPaths) this.relay = this.#makeRelay();
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
      candidates: this.#candidates(),
      ...(this.relayKibPerSecond === undefined
        ? {}
        : { relay: { kibPerSecond: this.relayKibPerSecond } }),
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
    this.isUp = false;
    if (!this.isHere) return;
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
    this.relay = undefined;
    this.#members.clear();
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
    if (packet.kind !== "frame") {
      const isKeepalive = packet.kind === "message" && packet.bytes === undefined;
      this.#take(node, peers, packet);
      if (isKeepalive && !this.#wasTold) {
        this.#rearm(peers);
        return;
      }
    } else if (packet.frame !== undefined) {
      const carrier = peers.receiveMessage(this.now, packet.from, packet.session, false);
      if (carrier !== undefined) this.relay?.take(this.now.ms, carrier, packet.frame);
      this.#tellNews(node, peers);
    }
    this.settle();
  }

  /** What came by an address, or out of a frame. */
  #take(node: MeshNode, peers: SimPeers, packet: Omit<Packet, "toHost" | "frame" | "size">): void {
    const { now } = this;
    const { kind, from, session, bytes } = packet;
    switch (kind) {
      case "initiation": {
        const { publicKey } = (this.simulation.hosts[packet.fromHost] as SimHost).identity;
        peers.receiveInitiation(from, publicKey, session);
        this.#tellNews(node, peers);
        return;
      }
      case "response":
        peers.receiveResponse(now, from, session);
        this.#tellNews(node, peers);
        return;
      case "message": {
        const peer = peers.receiveMessage(now, from, session, bytes === undefined);
        this.#tellNews(node, peers);
        // A keepalive is the session's alone.
        if (peer === undefined || bytes === undefined) return;
        this.simulation.onMessage?.(this, packet);
        node.handleDatagram(now, { kind: "session_message", bytes, remote: from, peer: peer.ref });
        return;
      }
      default:
        if (bytes === undefined) return;
        // The gate of the data plane.
        if (!introductionPassesGate(this.simulation.crypto, this.identity.publicKey, bytes)) return;
        node.handleDatagram(now, { kind: "introduction", bytes, remote: from });
    }
  }

  #tellNews(node: MeshNode, peers: SimPeers): void {
    this.#wasTold = peers.hasNews;
    if (!this.#wasTold) return;
    const { now } = this;
    for (let it = peers.pollPlaneEvent(); it; it = peers.pollPlaneEvent()) {
      node.handleEvent(now, it);
    }
    node.handleEvent(now, look);
  }

  tick(): void {
    const { nowMs } = this.simulation.timeline;
    if (this.node === undefined || this.timerMs > nowMs) return;
    this.timerMs = Number.POSITIVE_INFINITY;
    this.#countTurn(nowMs);
    if (this.pausedUntilMs > nowMs) {
      this.#arm(this.pausedUntilMs);
      return;
    }
    // What waited in the socket is read before timers are looked at.
    for (const packet of this.backlog.splice(0)) this.receive(packet);
    const { node, peers, now } = this;
    this.#wasTold = false;
    if (peers !== undefined && peers.dueMs() <= nowMs) {
      peers.tick(now);
      this.#tellNews(node, peers);
    }
    if (this.relay === undefined) this.#takeCommands(node);
    if (this.#nodeMs <= nowMs) node.handleTimeout(now);
    else if (peers !== undefined && !this.#wasTold) {
      this.#rearm(peers);
      return;
    }
    this.settle();
  }

  /** Time that stands still here would stand still for all: that ends the run, and says whose timer it is. */
  #countTurn(nowMs: number): void {
    this.#turnsAtOnce = nowMs === this.#turnMs ? this.#turnsAtOnce + 1 : 1;
    this.#turnMs = nowMs;
    if (this.#turnsAtOnce <= turnsAtOnceMax) return;
    throw new Error(`host ${this.index} asks for its turn at ${nowMs} ms again and again`);
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
    if (this.relay !== undefined) this.#takeCommands(node);
    for (let it = node.pollTransmit(); it; it = node.pollTransmit()) {
      if (it.kind === "session_message") {
        if (it.bytes[0] === typeProbe && this.relay !== undefined) this.#countProbe(it.peer);
        peers.send(now, it.peer, it.bytes, it.to);
      } else this.simulation.send(this, it.to, "datagram", 0, it.bytes);
    }
    this.#nodeMs = node.nextTimeout() ?? Number.POSITIVE_INFINITY;
    this.#rearm(peers);
  }

  /** Where no paths are simulated they concern nobody, and are let go now and then. */
  #takeCommands(node: MeshNode): void {
    for (let it = node.pollCommand(); it; it = node.pollCommand()) {
      if (this.relay !== undefined) this.#obey(this.relay, it);
    }
  }

  /** What its sessions did was no news to the node, as most keepalives: nothing else is looked at. */
  #rearm(peers: SimPeers): void {
    const next = Math.min(this.#nodeMs, peers.dueMs());
    if (next < this.timerMs) this.#arm(Math.max(next, this.simulation.timeline.nowMs));
  }

  #arm(atMs: number): void {
    this.timerMs = atMs;
    this.simulation.timeline.schedule(atMs, this);
  }

  #sendPeer(to: Endpoint, kind: PeerMessage, session: number, bytes: Uint8Array | undefined): void {
    const way = relayWayOf(to);
    if (way === undefined) {
      this.simulation.send(this, to, kind, session, bytes);
      return;
    }
    const carrier = this.peers?.at(way);
    if (carrier === undefined || this.relay === undefined) return;
    const size = datagramBytes(kind, bytes);
    const datagram = { fromHost: this.index, kind, session, bytes, size };
    this.peers?.sendFrame(this.now, carrier, this.relay.frame(way.far, datagram));
  }

  #candidates(): readonly Candidate[] {
    const { network } = this.simulation;
    const { ipv4 = true, ipv6 = false, blocked = false } = network.accessOf(this.index);
    if (!this.simulation.simulatesPaths) {
      return network.isBehindNat(this.index) ? [] : [{ ...this.endpoint, kind: "interface" }];
    }
    const out: Candidate[] = [];
    if (ipv6 && !blocked) {
      const { address, port } = hostEndpoint6(this.index);
      out.push({ kind: "interface", address, port });
    }
    if (!ipv4) return out;
    const { address, port } =
      network.isBehindNat(this.index) || blocked ? privateEndpoint(this.index) : this.endpoint;
    return [{ kind: "interface", address, port }, ...out];
  }

  #makeRelay(): SimRelay {
    return new SimRelay({
      arrived: (carrier, frame) => {
        if (this.node === undefined || this.peers === undefined) return;
        const from = relayEndpoint({ ...carrier, far: frame.source });
        this.#take(this.node, this.peers, { ...frame, from });
      },
      peerOf: (id) => {
        const ref = this.#members.get(id);
        return ref === undefined ? undefined : this.peers?.at(ref);
      },
      forward: (to, frame) => this.#forward(to, frame),
      wanted: (id) => {
        const identity = this.simulation.identityOfFrameId(id);
        if (identity !== undefined) this.want(identity);
      },
    });
  }

  /** One hop nearer: a frame is not put into another. */
  #forward(to: Peer, frame: Frame): boolean {
    const way = to.endpoint === undefined ? undefined : relayWayOf(to.endpoint);
    const next = way === undefined ? to : this.peers?.at(way);
    return next !== undefined && this.peers?.sendFrame(this.now, next, frame) === true;
  }

  #countProbe({ slot, generation }: PeerRef): void {
    this.probes += 1;
    const key = slot + generation * 2 ** 20;
    this.#probesTo.set(key, 1 + (this.#probesTo.get(key) ?? 0));
  }

  #obey(relay: SimRelay, command: Command): void {
    if (command.kind === "peer_member_set") this.#members.set(command.id, command.peer);
    if (command.kind !== "relay_set") return;
    relay.own = command.id;
    relay.bytesPerSecond = 1024 * command.kibPerSecond;
  }

  /** Where the member is, if a session with it lives. */
  endpointOf(identity: Uint8Array): Endpoint | undefined {
    const { table } = this.running.membership;
    const slot = table.find(identity);
    if (slot === undefined || !table.isLinked(slot)) return undefined;
    return this.running.peerOf(this.now, identity)?.endpoint;
  }

  /** The most probes that any one member was sent since this was last asked. */
  takeBusiest(): number {
    const most = Math.max(0, ...this.#probesTo.values());
    this.#probesTo.clear();
    return most;
  }

  /** Data waits for the member. */
  want(identity: Uint8Array): void {
    const slot = this.running.membership.table.find(identity);
    if (slot === undefined || slot === selfSlot) return;
    this.running.open(this.now, slot);
    const ref = this.running.peerOf(this.now, identity)?.ref;
    const reason = "no_keypair";
    const event = ref && ({ kind: "handshake_wanted", peer: ref, reason } as const);
    this.running.handleEvent(this.now, event ?? look);
    this.settle();
  }
}
