/**
 * A mesh node and what it finds out of its place in the network by asking outside of the mesh, as one
 * engine: STUN requests go out by the node's own socket and their answers come in there. Where others
 * may reach the node follows from all of it: the operator's word, what a gateway maps, what STUN
 * servers agree on, and the interfaces. Decides nothing else; no I/O.
 */
import type { Candidate } from "../base/candidate.ts";
import { earliest, type Instant } from "../base/clock.ts";
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import type { Random } from "../base/random.ts";
import { StunClient, type StunServerStatus } from "../nat/stun-client.ts";
import type { Behaviour } from "../nat/stun-verdict.ts";
import type { Command, DataplaneEvent, ReceivedDatagram, Transmit } from "./dataplane.ts";
import type { MeshNode } from "./node.ts";
import { type NodeEvent, prefixed } from "./report.ts";

export class Outlook {
  readonly stun: StunClient;
  readonly #node: MeshNode;
  /** What the operator announces comes first. */
  #local: readonly Candidate[] = [];
  #mapped: readonly Candidate[] = [];

  /** Addresses of the gateway's that nobody outside sees. */
  #disagreed = 0;

  constructor(node: MeshNode, random: Random) {
    this.#node = node;
    this.stun = new StunClient(random);
  }

  /** What the machine itself says: what is announced, and its interfaces. */
  setLocal(now: Instant, candidates: readonly Candidate[]): void {
    this.#local = candidates;
    const own = candidates.filter(({ kind }) => kind === "interface");
    this.stun.setOwn(own.map(({ address }) => address));
    this.#tell(now);
  }

  /** What a gateway forwards to this node. */
  setMapped(now: Instant, candidates: readonly Candidate[]): void {
    this.#mapped = candidates;
    this.#tell(now);
  }

  handleEvent(now: Instant, event: DataplaneEvent): void {
    this.#node.handleEvent(now, event);
    if (event.kind !== "network_changed") return;
    this.stun.networkChanged(now);
    this.#heed(now);
  }

  handleDatagram(now: Instant, datagram: ReceivedDatagram): void {
    if (datagram.kind !== "stun") {
      this.#node.handleDatagram(now, datagram);
      return;
    }
    this.stun.handle(now, datagram.bytes, datagram.remote);
    this.#heed(now);
  }

  handleTimeout(now: Instant): void {
    this.#node.handleTimeout(now);
    this.stun.handleTimeout(now);
    this.#heed(now);
  }

  nextTimeout(): number | undefined {
    return earliest([this.#node.nextTimeout(), this.stun.nextTimeout()]);
  }

  pollCommand(): Command | undefined {
    const expected = this.stun.pollExpectation();
    if (expected !== undefined) return { kind: "stun_expect", ...expected };
    return this.#node.pollCommand();
  }

  pollTransmit(): Transmit | undefined {
    const request = this.stun.pollTransmit();
    return request === undefined ? this.#node.pollTransmit() : { kind: "datagram", ...request };
  }

  pollEvent(): NodeEvent | undefined {
    return this.#node.pollEvent();
  }

  /** What outside says of this node's place. */
  view(now: Instant): {
    readonly stun: readonly StunServerStatus[];
    readonly asking: boolean;
    readonly mapping: Behaviour;
    readonly filtering: Behaviour;
  } {
    const { mapping } = this.stun.verdict(now);
    const { busy: asking, filtering } = this.stun;
    return { stun: this.stun.status(now), asking, mapping, filtering };
  }

  allCounters(): Readonly<Record<string, number>> {
    return {
      ...this.#node.allCounters(),
      ...prefixed("stun", this.stun.counters),
      portmap_disagreed: this.#disagreed,
    };
  }

  #heed(now: Instant): void {
    if (this.stun.takeNews(now)) this.#tell(now);
  }

  #tell(now: Instant): void {
    const { kind, reflexive } = this.stun.verdict(now);
    const seen = reflexive.map(
      ({ address, port }): Candidate => ({ kind: "reflexive", address, port }),
    );
    const mapped = this.#mapped.filter(({ address }) => isSeen(address, reflexive));
    if (mapped.length < this.#mapped.length) this.#disagreed += 1;
    const announced = this.#local.filter((it) => it.kind === "announced");
    const rest = this.#local.filter((it) => it.kind !== "announced");
    // What the machine knows of itself, nobody need tell it.
    const told = [...mapped, ...seen].filter((it, at, all) => {
      const isSame = (other: Candidate): boolean => sameEndpoint(it, other);
      return !this.#local.some(isSame) && all.findIndex(isSame) === at;
    });
    this.#node.setCandidates(now, [...announced, ...told, ...rest], kind);
  }
}

/** Where servers agree on this node's address, a gateway that says another one is not heeded. */
function isSeen(mapped: string, reflexive: readonly Endpoint[]): boolean {
  const ofFamily = reflexive.filter(
    ({ address }) => address.includes(":") === mapped.includes(":"),
  );
  return ofFamily.length === 0 || ofFamily.some(({ address }) => address === mapped);
}
