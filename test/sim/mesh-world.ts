/**
 * Whole mesh nodes over fake data planes on one virtual network and clock. Set the scene, run,
 * assert: everything follows from the seed, and `trace` is a number over every datagram that was
 * sent, so that two runs of a seed can be compared. What would be on disk is kept over a restart.
 */
import { formatKey } from "../../src/base/base64.ts";
import { toHex } from "../../src/base/bytes.ts";
import type { Instant } from "../../src/base/clock.ts";
import { Deadlines } from "../../src/base/deadlines.ts";
import { type Endpoint, formatEndpoint } from "../../src/base/endpoint.ts";
import { assert } from "../../src/base/errors.ts";
import type { IpPrefix } from "../../src/base/ip.ts";
import type { TrustState } from "../../src/mesh/admission.ts";
import type { Command } from "../../src/mesh/dataplane.ts";
import type { Joining } from "../../src/mesh/dial-target.ts";
import { introductionBytes, introductionPassesGate } from "../../src/mesh/introduction.ts";
import { MeshNode, type NodeEvent, type NodeMemory, type Seed } from "../../src/mesh/node.ts";
import type { Profile } from "../../src/swim/profile.ts";
import { ipv4PrefixDefault } from "../../src/trust/address.ts";
import { formatIdentity, identityOf, networkIdOf } from "../../src/trust/identity.ts";
import { InviteBook, type InviteEntry } from "../../src/trust/invite-book.ts";
import { FakeDataplane, type InnerPacket } from "../support/fake-dataplane.ts";
import { NobleCrypto } from "../support/noble-crypto.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { type NetworkConditions, VirtualNetwork } from "../support/virtual-network.ts";

const wallStartMs = Date.UTC(2026, 0, 1);
/** Verifying is the same everywhere, so one answer serves all nodes of a process. */
const verified = new Map<string, boolean>();

class WorldCrypto extends NobleCrypto {
  override verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const key = `${toHex(publicKey)}${toHex(signature)}${toHex(this.digest(16, message))}`;
    let holds = verified.get(key);
    if (holds === undefined) {
      holds = super.verify(publicKey, message, signature);
      verified.set(key, holds);
    }
    return holds;
  }
}

export interface MeshWorldOptions {
  readonly conditions?: Partial<NetworkConditions>;
  readonly ipv4Prefix?: IpPrefix;
}

export class MeshWorld {
  readonly random: SeededRandom;
  readonly network: VirtualNetwork;
  readonly hosts: MeshHost[] = [];
  readonly timers = new Deadlines<MeshHost>();
  readonly ipv4Prefix: IpPrefix;
  readonly networkId = networkIdOf(new NobleCrypto(), "sim");
  /** FNV-1a over time, sender, receiver and bytes of every datagram. */
  trace = 0x811c9dc5;
  #nowMs = 1_000;

  constructor(seed: number, options: MeshWorldOptions = {}) {
    this.random = new SeededRandom(seed);
    this.network = new VirtualNetwork(this.random, options.conditions);
    this.ipv4Prefix = options.ipv4Prefix ?? ipv4PrefixDefault;
  }

  get now(): Instant {
    return { ms: this.#nowMs, wallMs: wallStartMs + this.#nowMs };
  }

  /** A machine that has keys and trusts nobody yet. */
  host(options: Partial<HostOptions> = {}): MeshHost {
    const number = this.hosts.length + 1;
    const host = new MeshHost(this, {
      name: `host-${number}`,
      address: `192.0.2.${number}`,
      ...options,
    });
    this.hosts.push(host);
    return host;
  }

  /** Machines that all trust one another; the first is the others' seed. */
  mesh(count: number, options: Partial<HostOptions> = {}): MeshHost[] {
    const hosts = Array.from({ length: count }, () => this.host(options));
    for (const a of hosts) for (const b of hosts) if (a !== b) a.trust(b);
    for (const host of hosts.slice(1)) host.seeds = [(hosts[0] as MeshHost).asSeed()];
    return hosts;
  }

  /** Lets time pass, all of it or until that holds; how long it took. */
  run(ms: number, done: () => boolean = () => false): number {
    const startMs = this.#nowMs;
    const untilMs = startMs + ms;
    while (!done()) {
      const nextMs = Math.min(
        this.network.next() ?? Number.POSITIVE_INFINITY,
        this.timers.next() ?? Number.POSITIVE_INFINITY,
      );
      if (nextMs > untilMs) {
        this.#nowMs = untilMs;
        break;
      }
      this.#nowMs = Math.max(this.#nowMs, nextMs);
      this.network.deliver(this.#nowMs);
      for (let host = this.timers.takeDue(this.#nowMs); host; ) {
        host.turn();
        host = this.timers.takeDue(this.#nowMs);
      }
    }
    return this.#nowMs - startMs;
  }

  send(from: Endpoint, to: Endpoint, bytes: Uint8Array): void {
    for (const byte of new TextEncoder().encode(
      `${this.#nowMs} ${formatEndpoint(from)} ${formatEndpoint(to)} `,
    )) {
      this.#mix(byte);
    }
    for (const byte of bytes) this.#mix(byte);
    this.network.send(this.#nowMs, from, to, bytes);
  }

  #mix(byte: number): void {
    this.trace = Math.imul(this.trace ^ byte, 0x01000193) >>> 0;
  }
}

export interface HostOptions {
  readonly name: string;
  readonly address: string;
  /** Endpoints to advertise beside the real one, tried first. */
  readonly decoys?: readonly Endpoint[];
  /** Nothing is advertised: as if behind a NAT. */
  readonly unlisted?: boolean;
  readonly identitySeed?: Uint8Array;
  readonly wireguardKey?: Uint8Array;
  readonly wallOffsetMs?: number;
  readonly profile?: Profile;
}

export class MeshHost {
  readonly world: MeshWorld;
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly identity: Uint8Array;
  readonly identitySeed: Uint8Array;
  wireguardKey: Uint8Array;
  seeds: Seed[] = [];
  readonly trusted: Uint8Array[] = [];
  node: MeshNode | undefined;
  dataplane: FakeDataplane | undefined;
  crypto: WorldCrypto | undefined;
  /** Of trust, what is on its disk beside the keys in `trusted`. */
  trustState: Partial<TrustState> = {};
  /** With it, it issues invitations. */
  organisationSeed: Uint8Array | undefined;
  invites: readonly InviteEntry[] = [];
  lastSecret: Uint8Array = new Uint8Array(16);
  joining: Joining | undefined;
  #book: InviteBook | undefined;
  /** Of this life. */
  events: NodeEvent[] = [];
  commands: Command[] = [];
  readonly packets: InnerPacket[] = [];
  datagramsSent = 0;
  bytesSent = 0;
  /** What is on its disk. */
  memory: NodeMemory | undefined;
  readonly members = new Map<string, Uint8Array>();
  lastSent: Uint8Array | undefined;
  readonly accepted = new Map<string, Uint8Array>();
  readonly #options: HostOptions;

  constructor(world: MeshWorld, options: HostOptions) {
    this.world = world;
    this.#options = options;
    this.name = options.name;
    this.endpoint = { address: options.address, port: 51820 };
    this.identitySeed = options.identitySeed ?? world.random.bytes(32);
    this.wireguardKey = options.wireguardKey ?? world.random.bytes(32);
    const crypto = new NobleCrypto();
    this.identity = identityOf(crypto, crypto.importSecret(this.identitySeed)).publicKey;
  }

  get identityText(): string {
    return formatIdentity(this.identity);
  }

  get now(): Instant {
    const { ms, wallMs } = this.world.now;
    return { ms, wallMs: wallMs + (this.#options.wallOffsetMs ?? 0) };
  }

  asSeed(): Seed {
    return { identity: this.identity, endpoint: this.endpoint };
  }

  trust(other: { readonly identity: Uint8Array }): void {
    this.trusted.push(other.identity);
    this.node?.trust(this.now, other.identity);
    this.turn();
  }

  distrust(other: { readonly identity: Uint8Array }): void {
    this.trusted.splice(this.trusted.indexOf(other.identity), 1);
    this.node?.distrust(this.now, other.identity);
    this.turn();
  }

  start(): this {
    assert(this.node === undefined, "it runs already");
    const random = new SeededRandom(this.world.random.u32());
    const crypto = new WorldCrypto({ random, pretendDh: true });
    const { decoys = [], unlisted = false } = this.#options;
    this.crypto = crypto;
    this.events = [];
    this.commands = [];
    this.dataplane = new FakeDataplane(crypto);
    this.node = new MeshNode({
      crypto,
      random,
      identity: identityOf(crypto, crypto.importSecret(this.identitySeed)),
      networkId: this.world.networkId,
      name: this.name,
      wireguardKey: crypto.importSecret(this.wireguardKey),
      ipv4Prefix: this.world.ipv4Prefix,
      mtu: 1360,
      trusted: this.trusted,
      trust: this.trustState,
      book: this.#openBook(crypto, random),
      joining: this.joining,
      seeds: this.seeds,
      candidates: unlisted
        ? []
        : [...decoys, this.endpoint].map((it) => ({ kind: "interface" as const, ...it })),
      members: [...this.members.values()],
      ...(this.#options.profile === undefined ? {} : { profile: this.#options.profile }),
      history: { lastSent: this.lastSent, accepted: new Map(this.accepted) },
      ...(this.memory === undefined ? {} : { memory: this.memory }),
    });
    this.world.network.listen(this.endpoint, ({ from, bytes }) => this.#receive(from, bytes));
    this.node.start(this.now);
    this.turn();
    return this;
  }

  /** The secret of a new invitation for one. */
  invite(): Uint8Array {
    assert(this.#book !== undefined, "it issues invitations while it runs");
    this.lastSecret = this.#book.issue(this.now, {
      expiresWallMs: this.now.wallMs + 3_600_000,
      uses: 1,
      name: "",
      groups: [],
      certificateMs: 86_400_000,
    });
    return this.lastSecret;
  }

  /** Holds an invitation of the issuer, and asks those for it. */
  joinBy(issuer: MeshHost, secret: Uint8Array, seeds: readonly MeshHost[]): void {
    assert(issuer.trustState.organisations !== undefined, "it is of an organisation");
    this.trustState = { organisations: issuer.trustState.organisations };
    const from = seeds.map(({ identity, endpoint }) => ({ identity, endpoint }));
    this.joining = { secret, issuer: issuer.identity, seeds: from };
    this.seeds = from;
  }

  /** The operator decides on more; it is on the disk and the node hears of it. */
  setTrust(more: Partial<TrustState>): void {
    this.trustState = { ...this.trustState, ...more };
    this.node?.setTrust(this.now, this.trusted, this.trustState);
    this.turn();
  }

  #openBook(crypto: WorldCrypto, random: SeededRandom): InviteBook | undefined {
    this.#book =
      this.organisationSeed &&
      new InviteBook({
        crypto,
        random,
        networkId: this.world.networkId,
        organisation: identityOf(crypto, crypto.importSecret(this.organisationSeed)),
        entries: this.invites,
        save: (entries) => {
          this.invites = entries;
          return true;
        },
      });
    return this.#book;
  }

  /** As `kill -9` does it: nothing is said to anybody. */
  stop(): void {
    this.world.network.leave(this.endpoint);
    this.world.timers.set(this, undefined);
    this.node = undefined;
    this.dataplane = undefined;
  }

  /** As an operator ends it: the others are told. */
  leave(): void {
    this.running.leave(this.now);
    this.turn();
    this.stop();
  }

  /** Runs; else this is a mistake of the test. */
  get running(): MeshNode {
    assert(this.node !== undefined, `${this.name} does not run`);
    return this.node;
  }

  /** Whether it has a live session with the other, by its own account. */
  isConnectedTo(other: MeshHost): boolean {
    return this.member(other)?.sessionLive === true;
  }

  member(other: MeshHost): ReturnType<MeshNode["status"]>["members"][number] | undefined {
    const { identityText } = other;
    return this.node?.status().members.find(({ identity }) => identity === identityText);
  }

  /** Sends a packet to the other through the tunnel. */
  ping(other: MeshHost, text: string): void {
    const [address] = this.member(other)?.addresses ?? [];
    assert(address !== undefined && this.dataplane !== undefined, "no such member");
    this.dataplane.sendTo(this.world.now, address, new TextEncoder().encode(`E${text}`));
    this.turn();
  }

  /** How many peers its data plane has. */
  get peerCount(): number {
    return [...this.running.peers.peers()].length;
  }

  heard(): string[] {
    return this.packets.splice(0).map(({ bytes }) => new TextDecoder().decode(bytes.subarray(1)));
  }

  warnings(): string[] {
    return this.events.flatMap((event) => (event.kind === "warning" ? [event.code] : []));
  }

  /** The driver's turns, until nothing is left to do now. */
  turn(): void {
    if (this.node === undefined || this.dataplane === undefined) return;
    do this.#turn(this.node, this.dataplane);
    while (this.dataplane?.eventful === true);
    const next = Math.min(
      this.node.nextTimeout() ?? Number.POSITIVE_INFINITY,
      this.dataplane.nextTimeout() ?? Number.POSITIVE_INFINITY,
    );
    this.world.timers.set(this, next === Number.POSITIVE_INFINITY ? undefined : next);
  }

  #receive(from: Endpoint, bytes: Uint8Array): void {
    // The gate: introductions that are not for this identity end here.
    if (bytes.length === introductionBytes && this.crypto !== undefined) {
      if (!introductionPassesGate(this.crypto, this.identity, bytes)) return;
    }
    this.dataplane?.receiveDatagram(this.now, from, bytes, this.endpoint);
    this.turn();
  }

  #turn(node: MeshNode, dataplane: FakeDataplane): void {
    const { now } = this;
    dataplane.handleTimeout(now);
    for (let it = dataplane.pollEvent(); it; it = dataplane.pollEvent()) node.handleEvent(now, it);
    for (let it = dataplane.pollDatagram(); it; it = dataplane.pollDatagram()) {
      node.handleDatagram(now, it);
    }
    const due = node.nextTimeout();
    if (due !== undefined && due <= now.ms) node.handleTimeout(now);
    for (let it = node.pollEvent(); it; it = node.pollEvent()) this.#keep(it);
    for (let it = node.pollCommand(); it; it = node.pollCommand()) {
      this.commands.push(it);
      dataplane.apply(now, it);
    }
    for (let it = node.pollTransmit(); it; it = node.pollTransmit()) dataplane.send(now, it);
    for (let it = dataplane.pollPacket(); it; it = dataplane.pollPacket()) this.packets.push(it);
    for (let it = dataplane.pollOutgoing(); it; it = dataplane.pollOutgoing()) {
      this.datagramsSent += 1;
      this.bytesSent += it.bytes.length;
      this.world.send(this.endpoint, it.to, it.bytes);
    }
  }

  #keep(event: NodeEvent): void {
    this.events.push(event);
    switch (event.kind) {
      case "persist_record": {
        const { kind: _, ...memory } = event;
        this.memory = memory;
        return;
      }
      case "persist_member":
        this.members.set(event.identity, event.record);
        return;
      case "persist_statements":
        this.trustState = { ...this.trustState, statements: event.statements };
        return;
      case "persist_certificate":
        this.trustState = { ...this.trustState, certificate: event.certificate };
        this.joining = undefined;
        return;
      case "member_left":
        this.members.delete(event.identity);
        return;
      case "timestamp_sent":
        this.lastSent = event.tai64n;
        return;
      case "timestamp_accepted":
        this.accepted.set(formatKey(event.publicKey), event.tai64n);
        return;
      default:
        return;
    }
  }
}

/** Whether every one has a live session with every other. */
export function areConnected(hosts: readonly MeshHost[]): boolean {
  return hosts.every((a) => hosts.every((b) => a === b || a.isConnectedTo(b)));
}
