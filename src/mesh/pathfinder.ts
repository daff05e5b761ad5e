/**
 * Paths, for the members of a node: which members relay for which, where this node may be, what NAT it
 * is behind, and what of all that goes to the data plane and into the record. It names members by
 * SWIM's slots to `nat/paths.ts`, which decides; node.ts says who is a member and has a session.
 */
import type { Candidate, CandidateKind, NatKind } from "../base/candidate.ts";
import { earliest, type Instant } from "../base/clock.ts";
import {
  type Endpoint,
  formatEndpoint,
  isCarried,
  relayEndpoint,
  relayWayOf,
  sameEndpoint,
} from "../base/endpoint.ts";
import { Fifo } from "../base/fifo.ts";
import type { Random } from "../base/random.ts";
import { outsideOf } from "../nat/birthday.ts";
import { Observations } from "../nat/kind.ts";
import type { LinkTerms } from "../nat/link-terms.ts";
import {
  type Choice,
  MemberPaths,
  relayWaysMax,
  type Way,
  type WaySource,
} from "../nat/member-paths.ts";
import { encodeFrame, frameIdOf, isCandidate } from "../nat/message.ts";
import type { PathCounters } from "../nat/path-counters.ts";
import { Paths } from "../nat/paths.ts";
import type { MemberTable } from "../swim/state.ts";
import type { Command, DataplaneEvent, Transmit } from "./dataplane.ts";
import { HomeRelays } from "./home-relays.ts";
import type { Member, Members } from "./member.ts";
import type { Peer, PeerTable, PeerTableEvent } from "./peer-table.ts";

const heardEarlyMax = 64;
const heardEarlyMs = 1_000;
/** What a member that offers no relay forwards for each pair all the same: enough for handshakes. */
const forwardKibPerSecond = 16;
/** What others see of this node goes into its record no more often. */
const publishMsMin = 60_000;
/** One member's word for a NAT with one mapping for each destination waits so long: a second one mostly says otherwise. */
const guessMs = 10_000;
/** An initiation goes to so many places at once. */
const fanoutMax = 8;
/** Where they relay, or are near, all with sessions are compared no more often. */
const rankMs = 10_000;
/** Longer than any round trip that is measured. */
const rttUnknownMs = 1e6;
/** In a mesh of so many sessions are kept, and each begins with both sides' whereabouts. */
const tellAlwaysMax = 64;
/** What keeps a NAT's mapping, and the session, for those through whom others come. */
const homeKeepaliveSeconds = 25;
/** Whether its own relays are linked is looked at so often. */
const homesEveryMs = 5_000;
/** Time for sessions with another's relays, before they are needed. */
const homesFirstMs = 400;
/** So many members' word where they see this node is kept fresh. */
const observersWanted = 4;
/** No turn for so long: the machine slept, or this process did. */
const sleptMs = 20_000;

export interface RelayOffer {
  /** For each pair of members; 0: without a limit. */
  readonly kibPerSecond: number;
}

export interface PathfinderOptions {
  readonly random: Random;
  readonly identity: Uint8Array;
  readonly members: Members;
  readonly peers: PeerTable;
  /** What probing has measured of them. */
  readonly table: MemberTable;
  /** undefined: it relays for nobody. */
  readonly relay: RelayOffer | undefined;
}

/** How a way to a member stands, for a status. Times are those of the engine's clock. */
export interface WayStatus {
  readonly way: string;
  /** The kind of candidate that the member's record calls it, `told` inside the session, `heard` or `relay`. */
  readonly source: CandidateKind | WaySource;
  readonly used: boolean;
  readonly rttMs: number | undefined;
  /** Share of probes lost. */
  readonly loss: number;
  /** The longest packet that it carries; 0: nothing says that there is a limit. */
  readonly mtu: number;
  /** Of the last probe; undefined: none was sent. */
  readonly probedMs: number | undefined;
  /** Of its last answer; undefined: it never answered. */
  readonly answeredMs: number | undefined;
  /** When it was given up while in use. */
  readonly failedMs: number | undefined;
}

export interface MemberWays {
  readonly ways: readonly WayStatus[];
  /** Why the one in use was taken. */
  readonly why: Choice | undefined;
}

export class Pathfinder {
  readonly #options: PathfinderOptions;
  readonly #paths: Paths;
  readonly #observations = new Observations();
  readonly #id: number;
  readonly #commands = new Fifo<Command>();
  #own: readonly Candidate[] = [];
  /** As STUN servers agree. */
  #stunKind: NatKind = "unknown";
  /** As it was last judged. */
  #kind: NatKind = "unknown";
  /** What is seen of this node, as its record says it; and what it does not say yet. */
  #published = "";
  #news: string | undefined;
  #publishAtMs = Number.NEGATIVE_INFINITY;
  /** Since when such a guess is all there is. */
  #guessedAtMs: number | undefined;
  /** Members that others may be reached through: who offers it first, then the nearest. */
  #relays: readonly Member[] = [];
  #rankAtMs = Number.NEGATIVE_INFINITY;
  /** Members that were reached through another, and may be still. */
  readonly #relayed = new Set<Member>();
  /** Where members without a session were heard last, by slot: the one that comes up is probably there. */
  readonly #heardEarly = new Map<number, { readonly remote: Endpoint; readonly untilMs: number }>();
  /** Slots of those for whom there is data. */
  readonly #sought = new Set<number>();
  readonly #homeRelays: HomeRelays;
  /** Those of this node, as peers that are kept. */
  #homes: readonly Peer[] = [];
  #homesAtMs = 0;
  /** Slots with whom a session is wanted, to reach others or be reached through them. */
  readonly #wanted: number[] = [];
  #turnMs: number | undefined;

  constructor(options: PathfinderOptions) {
    this.#options = options;
    this.#paths = new Paths(options.random, (slot) => {
      const member = options.members.inSlot(slot);
      return member === undefined ? [] : this.relayWays(member);
    });
    this.#id = frameIdOf(options.identity);
    this.#homeRelays = new HomeRelays(options.table);
  }

  get counters(): Readonly<PathCounters> {
    return this.#paths.counters;
  }

  get offersRelay(): boolean {
    return this.#options.relay !== undefined;
  }

  start(): void {
    const kibPerSecond = this.#options.relay?.kibPerSecond ?? forwardKibPerSecond;
    this.#commands.push({ kind: "relay_set", id: this.#id, kibPerSecond });
  }

  /** Where this node may be, as far as it, its operator and those it asks outside of the mesh know. */
  setOwn(now: Instant, candidates: readonly Candidate[], nat: NatKind = "unknown"): void {
    const moved = this.#own.length > 0 && !sameCandidates(local(this.#own), local(candidates));
    this.#own = candidates;
    this.#stunKind = nat;
    if (moved) this.networkChanged(now);
    this.#compose(now);
  }

  /** What it says of itself in its record, beside what it was told. */
  observed(now: Instant): readonly Candidate[] {
    const seen = this.#natKind(now) === "hard" ? [] : this.#observations.candidates(now.ms);
    return seen
      .filter((endpoint) => !this.#own.some((own) => sameEndpoint(own, endpoint)))
      .slice(0, 2)
      .map(({ address, port }) => ({ kind: "observed", address, port }));
  }

  get lastNatKind(): NatKind {
    return this.#kind;
  }

  natKind(now: Instant): NatKind {
    return this.#natKind(now);
  }

  /** Whether there is something that the record does not say yet. */
  get hasNews(): boolean {
    return this.#news !== undefined;
  }

  /** Whether the record should be signed anew for what was observed. */
  takeNews(now: Instant): boolean {
    if (this.#news === undefined || now.ms < this.#publishAtMs) return false;
    if (this.#guessedAtMs !== undefined && now.ms < this.#guessedAtMs + guessMs) return false;
    this.#published = this.#news;
    this.#news = undefined;
    this.#publishAtMs = now.ms + publishMsMin;
    return true;
  }

  /** Its peer is new: the data plane learns that it is a member. */
  bind(member: Member): void {
    const id = frameIdOf(member.identity);
    this.#commands.push({ kind: "peer_member_set", peer: member.peer.ref, id });
    this.#options.peers.pin(member.peer);
  }

  setLink(now: Instant, member: Member, linked: boolean): void {
    if (!linked) {
      this.#unlink(now, member);
      return;
    }
    const { endpoint } = member.peer;
    const terms: LinkTerms = {
      tell: this.#options.table.size <= tellAlwaysMax || this.#news !== undefined,
      observe: this.#observations.observers(now.ms) < observersWanted,
      seek: !this.#isLarge || this.#sought.has(member.slot),
    };
    if (!isQuiet(terms, endpoint) || this.#paths.paths(member.slot) !== undefined) {
      this.#paths.link(now, member.slot, endpoint, terms);
    }
    if (endpoint !== undefined && relayWayOf(endpoint) !== undefined) this.#relayed.add(member);
    const early = this.#heardEarly.get(member.slot);
    this.#heardEarly.delete(member.slot);
    if (early !== undefined && now.ms < early.untilMs && !sameEndpoint(early.remote, endpoint)) {
      this.#paths.handleHeard(now, this.#wake(now, member), early.remote);
    }
    this.#consider(now, member);
  }

  /** What confirms a session is heard before it is up; the data plane does not say so again for 5 s. */
  #hearEarly(now: Instant, slot: number, remote: Endpoint): void {
    this.#heardEarly.delete(slot);
    const [oldest] = this.#heardEarly.keys();
    if (oldest !== undefined && this.#heardEarly.size >= heardEarlyMax)
      this.#heardEarly.delete(oldest);
    this.#heardEarly.set(slot, { remote, untilMs: now.ms + heardEarlyMs });
  }

  /** What the record in the slot says of relaying. */
  recordTaken(slot: number, { relay }: { readonly relay: boolean }): void {
    this.#homeRelays.set(slot, relay);
  }

  /** With whom sessions are wanted for others' sake. */
  takeWanted(): readonly number[] {
    return this.#wanted.length === 0 ? noSlots : this.#wanted.splice(0);
  }

  /** How long the member is to wait for sessions with those that it is reached through. */
  headStartMs(member: Member): number {
    // Who relays keeps no session with another that does: to look for one there would open them all in turn.
    if (!this.#isLarge || this.#homeRelays.isEmpty || this.#homeRelays.offers(member.slot))
      return 0;
    if (!this.#isHidden(member, member.attempts)) return 0;
    const { table } = this.#options;
    const homes = this.#homeRelays.of(frameIdOf(member.identity));
    const missing = homes.filter((slot) => slot !== member.slot && !table.isLinked(slot));
    this.#wanted.push(...missing);
    return missing.length === 0 ? 0 : homesFirstMs;
  }

  /** Whether there is data for the member in the slot. */
  seeks(slot: number): boolean {
    return this.#sought.has(slot);
  }

  /** What a member's record says of relaying may have changed. */
  recordChanged(now: Instant, member: Member): void {
    if (member.linked) this.#consider(now, member);
  }

  /** Every other place where an initiation to the member may find it. */
  fanout(member: Member): readonly Endpoint[] {
    const direct = member.endpoints().slice(0, fanoutMax - 2);
    if (this.#isLarge && !this.#isHidden(member, member.attempts - 1)) return direct;
    return [...direct, ...this.relayWays(member, 2)];
  }

  /** Up to so many. */
  relayWays(member: Member, most = relayWaysMax): readonly Endpoint[] {
    const far = frameIdOf(member.identity);
    const out: Endpoint[] = [];
    const seen: Member[] = [member];
    const add = (relay: Member): void => {
      if (out.length >= most || seen.includes(relay)) return;
      seen.push(relay);
      const { slot, generation } = relay.peer.ref;
      out.push(relayEndpoint({ slot, generation, far }));
    };
    for (const slot of this.#isLarge ? this.#homeRelays.of(far) : noSlots) {
      const home = this.#options.members.inSlot(slot);
      if (home !== undefined && this.#isAble(home)) add(home);
    }
    for (const relay of this.#relays) add(relay);
    return out;
  }

  handleEvent(now: Instant, event: DataplaneEvent): void {
    switch (event.kind) {
      case "path_heard": {
        const member = this.#options.members.ofPeer(event.peer);
        if (member === undefined) return;
        if (member.linked) this.#paths.handleHeard(now, this.#wake(now, member), event.remote);
        else this.#hearEarly(now, member.slot, event.remote);
        return;
      }
      case "path_silent": {
        const member = this.#options.members.ofPeer(event.peer);
        if (member !== undefined) this.#paths.handleSilent(now, this.#wake(now, member));
        return;
      }
      case "path_mtu_wanted": {
        const member = this.#options.members.ofPeer(event.peer);
        if (member !== undefined) {
          this.#paths.handleSizeWanted(now, this.#wake(now, member), event.mtu);
        }
        return;
      }
      case "handshake_wanted": {
        const member = this.#options.members.ofPeer(event.peer);
        if (member !== undefined && event.reason === "no_keypair") this.seek(now, member);
        return;
      }
      case "network_changed":
        this.networkChanged(now);
        return;
      default:
        return;
    }
  }

  /** Data waits for the member. */
  seek(now: Instant, member: Member): void {
    this.#sought.add(member.slot);
    this.#paths.seek(now, this.#wake(now, member));
  }

  /** A handshake came from elsewhere, or the data plane has moved the member. */
  handlePeerEvent(now: Instant, event: PeerTableEvent): void {
    if (event.kind !== "endpoint_heard" && event.kind !== "endpoint_changed") return;
    const member = this.#options.members.ofPeer(event.peer.ref);
    if (member === undefined) return;
    const isKnown = this.#paths.paths(member.slot) !== undefined;
    const slot = this.#wake(now, member);
    if (event.kind === "endpoint_heard") this.#paths.handleHeard(now, slot, event.remote);
    else if (!isKnown) this.#paths.handleSilent(now, slot);
    else if (event.peer.endpoint !== undefined) {
      this.#paths.handleMoved(now, slot, event.peer.endpoint);
    }
  }

  handleMessage(now: Instant, member: Member, bytes: Uint8Array, remote: Endpoint): void {
    this.#paths.handleMessage(now, this.#wake(now, member), bytes, remote);
  }

  /** Nothing that was seen of this node still holds. */
  networkChanged(now: Instant): void {
    this.#observations.clear();
    this.#wakeAll(now, quietTerms);
    this.#paths.networkChanged(now);
  }

  handleTimeout(now: Instant): void {
    this.#paths.handleTimeout(now);
    if (now.ms >= this.#homesAtMs) this.#keepHomes(now);
  }

  /** Whether no turn was taken for long: what lives only by being kept up has ended. */
  takeSleep(now: Instant): boolean {
    const slept = this.#turnMs !== undefined && now.ms - this.#turnMs > sleptMs;
    this.#turnMs = now.ms;
    return slept;
  }

  nextTimeout(): number | undefined {
    const next = this.#paths.nextTimeout();
    if (!this.#isLarge) return next;
    return earliest([next, this.#homesAtMs]);
  }

  /** Carries out what was decided. */
  settle(now: Instant): void {
    const { members, peers } = this.#options;
    for (let it = this.#paths.pollEvent(); it; it = this.#paths.pollEvent()) {
      if (it.kind === "sockets") {
        this.#commands.push({ kind: it.open ? "side_sockets_open" : "side_sockets_close" });
        continue;
      }
      const member = members.inSlot(it.slot);
      if (member === undefined) continue;
      switch (it.kind) {
        case "use":
          peers.setEndpoint(now, member.peer, it.endpoint);
          if (relayWayOf(it.endpoint) === undefined) member.seen = it.endpoint;
          else this.#relayed.add(member);
          this.#consider(now, member);
          break;
        case "observed":
          this.#observe(now, it.by, it.seen);
          break;
        case "size":
          this.#commands.push({ kind: "peer_mtu_set", peer: member.peer.ref, bytes: it.bytes });
          break;
        case "lost":
          // Perhaps the other side has forgotten the session.
          this.shakeHands(now, member);
      }
    }
  }

  /** An initiation to everywhere the member may be: it answers the first that comes. */
  shakeHands(now: Instant, member: Member): void {
    const { peers } = this.#options;
    peers.setFanout(member.peer, this.fanout(member));
    peers.initiate(now, member.peer);
  }

  pollCommand(): Command | undefined {
    return this.#commands.shift();
  }

  /** What is to be sent, in order, behind what waits already. */
  drain(out: Fifo<Transmit>): void {
    for (let it = this.#paths.pollTransmit(); it; it = this.#paths.pollTransmit()) {
      const member = this.#options.members.inSlot(it.to);
      if (member === undefined) continue;
      const { ref } = member.peer;
      const message = { kind: "session_message", peer: ref, bytes: it.bytes } as const;
      out.push(
        it.by === undefined
          ? message
          : { ...message, to: it.by, ...(it.padded && { padded: it.padded }) },
      );
    }
  }

  /** A datagram to a way through a member travels in the session with that member. */
  wrap(transmit: Transmit): Transmit {
    if (transmit.kind !== "datagram") return transmit;
    const way = relayWayOf(transmit.to);
    if (way === undefined) return transmit;
    const peer = { slot: way.slot, generation: way.generation };
    const bytes = encodeFrame(this.#id, way.far, transmit.bytes);
    return { kind: "session_message", peer, bytes };
  }

  /** `direct ADDRESS:PORT`, `relay NAME`, `tcp`, or undefined. */
  describe(endpoint: Endpoint | undefined): string | undefined {
    if (endpoint === undefined) return undefined;
    const way = relayWayOf(endpoint);
    if (way === undefined) {
      return isCarried(endpoint) ? "tcp" : `direct ${formatEndpoint(endpoint)}`;
    }
    const relay = this.#options.members.ofPeer(way);
    return `relay ${relay === undefined ? "?" : relay.record.name || relay.name}`;
  }

  ways({ linked, peer, record, slot }: Member): MemberWays {
    const paths = this.#paths.paths(slot) ?? (linked ? quietPaths(peer.endpoint) : undefined);
    const named = (way: Way): CandidateKind | WaySource =>
      record.candidates.find((it) => it.kind !== "tls" && sameEndpoint(way.endpoint, placeOf(it)))
        ?.kind ?? way.source;
    const ways = (paths?.ways ?? []).map((way) => ({
      way: this.describe(way.endpoint) ?? "",
      source: named(way),
      used: way === paths?.current,
      rttMs: way.rttMs,
      loss: way.loss,
      mtu: way.size?.limit ?? 0,
      probedMs: way.sentMs < 0 ? undefined : way.sentMs,
      answeredMs: way.confirmedMs,
      failedMs: way.failedMs,
    }));
    return { ways, why: paths?.current === undefined ? undefined : paths.why };
  }

  /**
   * A quiet session is kept in mind by its peer's endpoint alone: most in a large mesh only ask whether
   * somebody lives. When something happens to one it is a way like others. The member's slot.
   */
  #wake(now: Instant, { linked, peer, slot }: Member, terms = quietTerms): number {
    if (linked && peer.endpoint !== undefined && this.#paths.paths(slot) === undefined) {
      this.#paths.link(now, slot, peer.endpoint, terms);
    }
    return slot;
  }

  #wakeAll(now: Instant, terms: LinkTerms): void {
    for (const member of this.#options.members) this.#wake(now, member, terms);
  }

  #observe(now: Instant, by: Endpoint, seen: Endpoint): void {
    if (!isCandidate(seen)) return;
    this.#observations.add({ observer: by, seen, atMs: now.ms });
    this.#compose(now);
  }

  /** Where it may be, for members and for its record, as far as anything says now. */
  #compose(now: Instant): void {
    const kind = this.#natKind(now);
    const isNews = this.#paths.setOwn(now, this.#ownEndpoints(now), kind);
    if (isNews) this.#wakeAll(now, { ...quietTerms, tell: true });
    if (kind === "unknown") return;
    const seen = this.observed(now).map(formatEndpoint);
    // That there is nothing to say is said with the next record.
    const text = kind === "none" && seen.length === 0 ? "" : `${kind} ${seen.join(" ")}`;
    this.#news = text === this.#published ? undefined : text;
  }

  /** Members saw it inside their sessions; what STUN says goes before a guess from them. */
  #natKind(now: Instant): NatKind {
    const { kind, isGuess } = this.#observations.judge(
      now.ms,
      this.#own.filter(({ kind }) => kind === "interface").map(({ address }) => address),
      this.#own.find(({ kind }) => kind === "interface")?.port ?? 0,
    );
    const isAlone = isGuess && this.#stunKind === "unknown";
    this.#kind = isGuess && !isAlone ? this.#stunKind : kind;
    this.#guessedAtMs = isAlone && kind === "hard" ? (this.#guessedAtMs ?? now.ms) : undefined;
    return this.#kind;
  }

  /** Told to members: the operator's word first, then what is seen from outside. */
  #ownEndpoints(now: Instant): readonly Endpoint[] {
    const own = this.#own.filter(({ kind }) => kind !== "tls");
    const announced = own.filter(({ kind }) => kind === "announced");
    const rest = own.filter(({ kind }) => kind !== "announced");
    const out: Endpoint[] = [];
    for (const { address, port } of [
      ...announced,
      ...this.#observations.candidates(now.ms).slice(0, 4),
      ...rest,
    ]) {
      if (!out.some((known) => sameEndpoint(known, { address, port }))) out.push({ address, port });
    }
    return out;
  }

  /** Its session, its way or its record is new: may others be reached through it? */
  #consider(now: Instant, member: Member): void {
    const isKnown = this.#relays.includes(member);
    if (now.ms >= this.#rankAtMs || (isKnown && !this.#isAble(member))) this.#rank(now);
    // That it is nearer than they are is seen when all are compared.
    const isFull = this.#relays.length > relayWaysMax && !member.record.relay;
    if (!isFull && !this.#relays.includes(member) && this.#isAble(member)) {
      this.#relays = this.#best([...this.#relays, member]);
    }
  }

  #isAble({ linked, peer, slot }: Member): boolean {
    if (!linked) return false;
    const endpoint = this.#paths.paths(slot)?.current?.endpoint ?? peer.endpoint;
    return endpoint !== undefined && relayWayOf(endpoint) === undefined;
  }

  /** What probing has measured meanwhile counts too. */
  #rank(now: Instant): void {
    const { members, table } = this.#options;
    this.#rankAtMs = now.ms + rankMs;
    const able: Member[] = [];
    for (const { slot } of table.links) {
      const member = members.inSlot(slot);
      if (member !== undefined && this.#isAble(member)) able.push(member);
    }
    this.#relays = this.#best(able);
  }

  /** Few of many: who offers it first, then the nearest. Of two alike the first. */
  #best(members: readonly Member[]): readonly Member[] {
    const { table } = this.#options;
    const best: Member[] = [];
    const ranks: number[] = [];
    for (const member of members) {
      const rttMs = table.rttMs(member.slot) ?? rttUnknownMs;
      const rank = member.record.relay ? rttMs - 2 * rttUnknownMs : rttMs;
      let at = best.length;
      while (at > 0 && rank < (ranks[at - 1] as number)) at -= 1;
      if (at > relayWaysMax) continue;
      best.splice(at, 0, member);
      ranks.splice(at, 0, rank);
      if (best.length > relayWaysMax + 1) {
        best.pop();
        ranks.pop();
      }
    }
    return best;
  }

  /** More members than a session is kept with. */
  get #isLarge(): boolean {
    return this.#options.table.size > tellAlwaysMax;
  }

  /** Whether the member is unlikely to be reached by an address that its record names. */
  #isHidden({ record }: Member, attempts: number): boolean {
    const { natKind } = record;
    if (attempts > 0 || this.#kind === "unknown") return true;
    if (natKind !== "none" && natKind !== "unknown") return true;
    return natKind === "unknown" && !isOpenTo(record.candidates, this.#own);
  }

  /** Who is not reached by an address keeps sessions with those that others reach it through. */
  #keepHomes(now: Instant): void {
    const { members, peers, table } = this.#options;
    this.#homesAtMs = now.ms + homesEveryMs;
    const isNeeded = this.#isLarge && this.#kind !== "none" && !this.offersRelay;
    const slots = isNeeded ? this.#homeRelays.of(this.#id) : [];
    const homes = slots.flatMap((slot) => members.inSlot(slot)?.peer ?? []);
    for (const peer of homes) {
      if (peer.keepaliveSeconds === 0) peers.setKeepalive(now, peer, homeKeepaliveSeconds);
    }
    for (const peer of this.#homes) {
      if (!homes.includes(peer) && peers.at(peer.ref) === peer) peers.setKeepalive(now, peer, 0);
    }
    this.#homes = homes;
    this.#wanted.push(...slots.filter((slot) => !table.isLinked(slot)));
  }

  #unlink(now: Instant, member: Member): void {
    this.#paths.unlink(member.slot);
    this.#sought.delete(member.slot);
    this.#relayed.delete(member);
    if (!this.#relays.includes(member)) return;
    this.#rank(now);
    // Whoever was reached through it is looked for.
    for (const other of this.#relayed) {
      const current = this.#paths.paths(other.slot)?.current;
      const way = current === undefined ? undefined : relayWayOf(current.endpoint);
      if (way?.slot === member.peer.ref.slot) this.#paths.handleSilent(now, other.slot);
    }
  }
}

/** There is nothing to be said by it or asked of it but what SWIM does. */
const quietTerms: LinkTerms = { tell: false, observe: false, seek: false };

function isQuiet({ tell, observe, seek }: LinkTerms, endpoint: Endpoint | undefined): boolean {
  if (tell || observe || seek || endpoint === undefined) return false;
  return relayWayOf(endpoint) === undefined && !isCarried(endpoint);
}

function quietPaths(endpoint: Endpoint | undefined): MemberPaths | undefined {
  if (endpoint === undefined) return undefined;
  const paths = new MemberPaths();
  paths.use(endpoint, "handshake");
  return paths;
}

/** Addresses of the internet, of families that the other side has too. */
function isOpenTo(candidates: readonly Candidate[], own: readonly Candidate[]): boolean {
  const isIpv6 = ({ address }: Candidate): boolean => address.includes(":");
  const hasFamily = (candidate: Candidate): boolean =>
    own.length === 0 || own.some((it) => isIpv6(it) === isIpv6(candidate));
  return candidates.some(
    (it) => it.kind !== "tls" && hasFamily(it) && (isIpv6(it) || outsideOf([it]) !== undefined),
  );
}

const noSlots: readonly number[] = [];

function placeOf({ address, port }: Candidate): Endpoint {
  return { address, port };
}

/** What a machine has by itself: when that changes, it has moved. */
function local(candidates: readonly Candidate[]): readonly Candidate[] {
  return candidates.filter(({ kind }) => kind === "interface" || kind === "announced");
}

function sameCandidates(a: readonly Candidate[], b: readonly Candidate[]): boolean {
  return a.length === b.length && a.every((candidate, at) => sameEndpoint(candidate, b[at]));
}
