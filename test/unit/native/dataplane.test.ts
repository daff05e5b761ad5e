/**
 * Two devices of the library without interfaces, on the loopback, each under the real loop and the
 * real table of peers: what crosses the border means on both sides what it should.
 */
import { afterEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { Instant } from "../../../src/base/clock.ts";
import { MeshError } from "../../../src/base/errors.ts";
import { systemClock } from "../../../src/daemon/clock.ts";
import { Driver, type Duties, type Engine } from "../../../src/daemon/driver.ts";
import type { DataplaneEvent, ReceivedDatagram, Transmit } from "../../../src/mesh/dataplane.ts";
import { type Peer, PeerTable, type PeerTableEvent } from "../../../src/mesh/peer-table.ts";
import { abi } from "../../../src/native/abi.ts";
import { NativeCrypto } from "../../../src/native/crypto.ts";
import { NativeDataplane, openError } from "../../../src/native/dataplane.ts";
import { loadLibrary } from "../../../src/native/library.ts";

const library = loadLibrary();
const crypto = new NativeCrypto(library);
const clock = systemClock(library);
const nodes: Node[] = [];

afterEach(() => {
  for (const node of nodes.splice(0)) node.close();
});

/** A device, its table and its loop. */
class Node implements Duties<PeerTableEvent>, Engine<PeerTableEvent> {
  readonly table = new PeerTable({ crypto, random: crypto });
  readonly dataplane = NativeDataplane.open(library, { interfaceName: "", tun: false });
  readonly driver = new Driver<PeerTableEvent>(this, this.dataplane, clock, this);
  readonly events: string[] = [];
  readonly messages: { text: string; peer: Peer | undefined }[] = [];
  readonly outbox: Transmit[] = [];
  errors: unknown[] = [];
  #waiting: { until: () => boolean; resolve: () => void }[] = [];

  constructor() {
    nodes.push(this);
    this.table.setLocalKey(clock(), crypto.generate());
  }

  get publicKey(): Uint8Array {
    return this.table.localPublicKey as Uint8Array;
  }

  get port(): number {
    return this.dataplane.deviceState().listenPort;
  }

  async start(): Promise<void> {
    this.dataplane.start();
    await this.driver.start();
  }

  meet(other: Node): Peer {
    const peer = this.table.addPeer(clock(), other.publicKey);
    this.table.setEndpoint(clock(), peer, { address: "127.0.0.1", port: other.port });
    return peer;
  }

  /** Resolves when the condition holds after a turn. */
  async until(condition: () => boolean): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve) => this.#waiting.push({ until: condition, resolve }));
  }

  handleEvent(now: Instant, event: DataplaneEvent): void {
    this.table.handleEvent(now, event);
  }
  handleDatagram(now: Instant, datagram: ReceivedDatagram): void {
    if (datagram.kind === "session_message") {
      const text = new TextDecoder().decode(datagram.bytes.subarray(4));
      const peer = datagram.peer === undefined ? undefined : this.table.at(datagram.peer);
      this.messages.push({ text, peer });
    } else this.table.handleDatagram(now, datagram);
  }
  handleTimeout(now: Instant): void {
    this.table.handleTimeout(now);
  }
  nextTimeout(): number | undefined {
    return this.table.nextTimeout();
  }
  pollCommand(): ReturnType<PeerTable["pollCommand"]> {
    return this.table.pollCommand();
  }
  pollTransmit(): Transmit | undefined {
    return this.table.pollTransmit() ?? this.outbox.shift();
  }
  pollEvent(): PeerTableEvent | undefined {
    return this.table.pollEvent();
  }

  record(_now: Instant, reports: readonly PeerTableEvent[]): void {
    for (const report of reports) this.events.push(report.kind);
  }
  observe(): boolean {
    return true;
  }
  serve(): void {
    this.#waiting = this.#waiting.filter(({ until, resolve }) => {
      if (until()) resolve();
      else return true;
      return false;
    });
  }
  refused(failures: readonly unknown[]): void {
    this.errors.push(...failures);
  }
  warn(text: string): void {
    this.errors.push(text);
  }
  failed(error: unknown): void {
    this.errors.push(error);
  }

  /** A control message to the peer: type, flags, its whole length, the text. */
  say(peer: Peer, text: string): void {
    const body = new TextEncoder().encode(text);
    const bytes = new Uint8Array(4 + body.length);
    bytes.set([1, 0, bytes.length & 0xff, bytes.length >> 8]);
    bytes.set(body, 4);
    this.outbox.push({ kind: "session_message", peer: peer.ref, bytes });
    this.driver.wake();
  }

  close(): void {
    this.driver.stop();
    this.table.setLocalKey(clock(), undefined);
    this.driver.flush(clock());
    this.dataplane.close();
  }
}

async function pair(): Promise<{ alice: Node; bob: Node; toBob: Peer; toAlice: Peer }> {
  const [alice, bob] = [new Node(), new Node()];
  const [toBob, toAlice] = [alice.meet(bob), bob.meet(alice)];
  await Promise.all([alice.start(), bob.start()]);
  return { alice, bob, toBob, toAlice };
}

test("two devices make a session and messages cross it, both ways and from the right peer", async () => {
  const { alice, bob, toBob, toAlice } = await pair();
  alice.table.initiate(clock(), toBob);
  alice.driver.wake();
  await alice.until(() => toBob.sessionLive);
  alice.say(toBob, "over the border");
  await bob.until(() => bob.messages.length > 0);
  expect(bob.messages).toEqual([{ text: "over the border", peer: toAlice }]);
  bob.say(toAlice, "and back");
  await alice.until(() => alice.messages.length > 0);
  expect(alice.messages).toEqual([{ text: "and back", peer: toBob }]);
  expect(bob.events).toContain("session_established");
  expect(bob.events).toContain("timestamp_accepted");
  expect([...alice.errors, ...bob.errors]).toEqual([]);
});

test("a message for a peer without a session asks for one, and arrives when it is made", async () => {
  const { alice, bob, toBob } = await pair();
  alice.say(toBob, "first words");
  await bob.until(() => bob.messages.length > 0);
  expect(bob.messages[0]?.text).toBe("first words");
  expect(alice.errors).toEqual([]);
});

test("what passed is counted, in all and for the peer, under the peer's address", async () => {
  const { alice, bob, toBob } = await pair();
  alice.say(toBob, "counted");
  await bob.until(() => bob.messages.length > 0);
  const [stats] = alice.dataplane.peerStats();
  expect(stats?.peer).toEqual(toBob.ref);
  expect(stats?.remote).toEqual({ address: "127.0.0.1", port: bob.port });
  expect(stats?.txBytes).toBeGreaterThanOrEqual(148 + 32);
  expect(stats?.rxBytes).toBeGreaterThanOrEqual(92);
  expect(stats?.keypairAtMs).toBeGreaterThan(0);
  expect(Math.abs((stats?.keypairAtMs ?? 0) - clock().ms)).toBeLessThan(60_000);
  const counters = bob.dataplane.counters();
  expect(Object.keys(counters)).toEqual(Object.keys(abi.enums.Counter));
  expect(counters.handshakes_received).toBeGreaterThanOrEqual(1);
  expect(counters.session_messages_received).toBe(1);
  expect(counters.mac1_invalid).toBe(0);
});

test("a refused command is named with its reason, and those around it take effect", () => {
  const node = new Node();
  node.dataplane.apply([{ kind: "local_key_set", publicKey: node.publicKey }]);
  const ref = { slot: 3, generation: 1 };
  const stale = { slot: 3, generation: 2 };
  const failures = node.dataplane.apply([
    { kind: "peer_add", peer: ref, publicKey: new Uint8Array(32).fill(9) },
    { kind: "peer_keepalive_set", peer: stale, seconds: 5 },
    { kind: "allowed_ip_add", peer: ref, prefix: { address: "10.0.0.0", bits: 8 } },
    { kind: "allowed_ip_add", peer: ref, prefix: { address: "fd00::", bits: 8 } },
    {
      kind: "peer_endpoint_set",
      peer: ref,
      remote: { address: "2001:db8::7", port: 9 },
    },
  ]);
  expect(failures.map(({ command, error }) => [command.kind, error])).toEqual([
    ["peer_keepalive_set", "stale_peer"],
  ]);
  expect(node.dataplane.peerStats().map(({ remote }) => remote)).toEqual([
    { address: "2001:db8::7", port: 9 },
  ]);
});

test("more commands than one call takes are applied in order", () => {
  const node = new Node();
  const refs = Array.from({ length: 700 }, (_, slot) => ({ slot, generation: 1 }));
  const publicKey = new Uint8Array(32).fill(1);
  const added = refs.map((peer) => ({ kind: "peer_add", peer, publicKey }) as const);
  expect(node.dataplane.apply(added)).toEqual([]);
  expect(node.dataplane.peerStats()).toHaveLength(700);
  const removed = refs.map((peer) => ({ kind: "peer_remove", peer }) as const);
  expect(node.dataplane.apply([...removed, ...removed]).length).toBe(700);
  expect(node.dataplane.peerStats()).toEqual([]);
});

test("a device that cannot be opened says at what, and what the system answered", () => {
  const words = (step: "udp" | "none", errno: number): string =>
    openError("system", { interfaceName: "wg0" }, { step, errno }).sentence();
  expect(words("udp", 24)).toStartWith(
    "cannot make the interface wg0: the system refused the UDP socket (EMFILE); ",
  );
  expect(words("none", 0)).toContain("the system refused its settings (system)");
  expect(() => NativeDataplane.open(library, { interfaceName: "", tun: false, mtu: 1 })).toThrow(
    "cannot make the interface",
  );
});

test("a port that is in use is refused with the system's number, and the old one stays", () => {
  const [first, second] = [new Node(), new Node()];
  const before = second.port;
  const [failure] = second.dataplane.apply([{ kind: "listen_port_set", port: first.port }]);
  expect(failure?.error).toBe("address_in_use");
  expect(failure?.errno).toBe(98);
  expect(second.port).toBe(before);
  const open = (): NativeDataplane =>
    NativeDataplane.open(library, { interfaceName: "", tun: false, listenPort: first.port });
  expect(open).toThrow(MeshError);
});

test("a device that lost its key and was closed leaves no secret", async () => {
  const before = crypto.secretCount();
  const { alice, bob, toBob } = await pair();
  alice.say(toBob, "x");
  await bob.until(() => bob.messages.length > 0);
  expect(crypto.secretCount()).toBeGreaterThan(before);
  for (const node of nodes.splice(0)) node.close();
  expect(crypto.secretCount()).toBe(before);
});

test("what was opened and closed a hundred times leaves no descriptor, thread or secret", async () => {
  const taken = (): { descriptors: number; threads: number; secrets: number } => ({
    descriptors: readdirSync("/proc/self/fd").length,
    threads: readdirSync("/proc/self/task").length,
    secrets: crypto.secretCount(),
  });
  const play = async (): Promise<void> => {
    const [a, b] = [new Node(), new Node()];
    await a.start();
    await b.start();
    a.meet(b);
    b.meet(a);
    for (const node of nodes.splice(0)) node.close();
  };
  for (let round = 0; round < 10; round += 1) await play();
  const before = taken();
  for (let round = 0; round < 100; round += 1) await play();
  // A socket of the runtime closes in a turn of its own, and a joined thread is listed a moment on.
  const deadlineMs = performance.now() + 5_000;
  const more = (now: ReturnType<typeof taken>): boolean =>
    now.descriptors > before.descriptors || now.threads > before.threads;
  while (more(taken()) && performance.now() < deadlineMs) await Bun.sleep(10);
  const after = taken();
  expect(after.descriptors).toBeLessThanOrEqual(before.descriptors);
  expect(after.threads).toBeLessThanOrEqual(before.threads);
  expect(after.secrets).toBe(before.secrets);
});
