/**
 * A node of the mesh: the peer table, introductions and SWIM, bound together by the roster. Here
 * alone a verified record of an admitted identity becomes a member with a peer, addresses and a
 * session. Members come and go by the roster only; what happens on the network changes when and
 * where they are tried. No I/O: five verbs, commands for the data plane, events for the daemon.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Candidate } from "../base/candidate.ts";
import type { Instant } from "../base/clock.ts";
import type { Secret } from "../base/crypto.ts";
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { Fifo } from "../base/fifo.ts";
import { shortId } from "../swim/message.ts";
import { type MemberState, selfSlot } from "../swim/state.ts";
import { Swim } from "../swim/swim.ts";
import { decodeCertificate } from "../trust/certificate.ts";
import { formatIdentity } from "../trust/identity.ts";
import {
  decodeRecord,
  type Record,
  type Unverified,
  type Verified,
  verifyRecord,
  verifyStoredRecord,
} from "../trust/record.ts";
import type { Roster } from "../trust/roster.ts";
import { Addressing } from "./addressing.ts";
import { Admission, noBytes, type TrustState, trustOf } from "./admission.ts";
import type { Command, DataplaneEvent, ReceivedDatagram, Transmit } from "./dataplane.ts";
import type { Joining } from "./dial-target.ts";
import { Introducer, type Seed } from "./introducer.ts";
import { Member, Members, udpEndpoints } from "./member.ts";
import type { MeshNodeOptions } from "./node-options.ts";
import { memberStatus, withClashes } from "./node-status.ts";
import { Openings } from "./openings.ts";
import { advertised, OwnRecord } from "./own-record.ts";
import { type HandshakeHistory, type Peer, PeerTable, type PeerTableEvent } from "./peer-table.ts";
import {
  type NodeCounters,
  type NodeEvent,
  type NodeStatus,
  prefixed,
  type WarningCode,
} from "./report.ts";
import { isTrustMessage } from "./trust-message.ts";

export type { Seed } from "./introducer.ts";
export type { MeshNodeOptions } from "./node-options.ts";
export type { MemberStatus, NodeEvent, NodeMemory, NodeStatus, WarningCode } from "./report.ts";

/** Between two attempts at a session, each at the next endpoint; above WireGuard's 5 s. */
const attemptIntervalMs = 5_400;
/** Then probing takes over, ever more slowly. */
const attemptsMax = 16;
/** Who asked for an introduction opens the session; after this we try ourselves. */
const askedGraceMs = 1_000;
/** So many attempts in vain: it may lack our record, and is introduced to us. */
const attemptsAlone = 2;
const hintEndpointsMax = 2;
const eventsMax = 65_536;
const warningsMax = 256;

export class MeshNode {
  readonly roster: Roster;
  readonly #admission: Admission;
  #joining: Joining | undefined;
  /** For a status and for plain peers; members' peers are this node's alone. */
  readonly peers: PeerTable;
  readonly counters: NodeCounters = {
    records_malformed: 0,
    records_not_authentic: 0,
    records_not_admitted: 0,
    wireguard_key_duplicates: 0,
    members_refused: 0,
    own_record_jumps: 0,
    strangers: 0,
    messages_without_member: 0,
    session_attempts: 0,
    events_dropped: 0,
  };
  readonly #options: MeshNodeOptions;
  readonly #swim: Swim;
  readonly #introducer: Introducer;
  readonly #addressing: Addressing;
  readonly #openings = new Openings();
  readonly #self: string;
  readonly #own: OwnRecord;
  readonly #members = new Members();
  #candidates: readonly Candidate[];
  #started = false;
  #timestampSent: NodeEvent | undefined;
  readonly #warned = new Set<string>();
  readonly #commands = new Fifo<Command>();
  readonly #transmits = new Fifo<Transmit>();
  readonly #events = new Fifo<NodeEvent>();

  constructor(options: MeshNodeOptions) {
    const { crypto, random, identity, networkId, memory } = options;
    this.#options = options;
    this.#self = formatIdentity(identity.publicKey);
    this.#candidates = advertised(options.candidates);
    const { name } = options;
    const sequence = memory?.sequence ?? 0;
    this.#own = new OwnRecord({ crypto, networkId, identity, name, sequence });
    this.#joining = options.joining;
    this.#admission = new Admission({
      crypto,
      random,
      networkId,
      self: identity.publicKey,
      trust: trustOf(options.trusted, options.trust),
      book: options.book,
      pickLinked: (count) => this.#swim.table.pickLinked(random, count, selfSlot),
      memberCount: () => this.#swim.table.size,
    });
    this.roster = this.#admission.roster;
    this.peers = new PeerTable({ crypto, random, lanes: options.lanes ?? 1, ...options.history });
    this.#addressing = new Addressing({
      crypto,
      networkId,
      self: identity.publicKey,
      ipv4Prefix: options.ipv4Prefix,
      candidate: memory?.ipv4Candidate,
      peers: this.peers,
      members: this.#members,
      seniorityOf: (name) => this.#admission.seniorityOf(name),
    });
    const { probeTimes: times } = options;
    const self = identity.publicKey;
    this.#swim = new Swim(times === undefined ? { self, random } : { self, random, times });
    this.#introducer = new Introducer({
      crypto,
      random,
      networkId,
      identity,
      roster: this.roster,
      record: () => this.#own.bytes,
      held: (member) => this.#members.named(formatIdentity(member))?.record,
      redeemer: this.#admission.redeemer,
    });
  }

  /** Once: sets up the interface, takes up the members that were persisted, and dials the seeds. */
  start(now: Instant): void {
    assert(!this.#started, "a node starts once");
    this.#started = true;
    const { identity, mtu, wireguardKey, members, seeds } = this.#options;
    this.peers.setLocalKey(now, wireguardKey);
    this.#commands.push({ kind: "introduction_key_set", identity: identity.publicKey });
    this.#admission.start(now);
    for (const bytes of members ?? []) this.#restore(now, bytes);
    this.#addressing.start(now.ms, mtu);
    this.#tellAddresses();
    this.#publish(now);
    this.#introducer.setSeeds(now, seeds);
    this.#introducer.setJoining(now, this.#joining);
    this.#introducer.handleTimeout(now);
    this.#settle(now);
  }

  /** Admits the identity from now on. False where it was admitted already. */
  trust(now: Instant, identity: Uint8Array): boolean {
    if (!this.roster.trust(identity)) return false;
    const heard = this.#swim.hearsay.take(identity);
    if (heard !== undefined) this.#receiveRecord(now, heard);
    this.#introducer.rosterChanged(now);
    this.#settle(now);
    return true;
  }

  /** Admits it no longer: its sessions, addresses and records are gone when this returns. */
  distrust(now: Instant, identity: Uint8Array): boolean {
    if (!this.roster.distrust(identity)) return false;
    this.#sweep(now);
    this.#settle(now);
    return true;
  }

  /** The operator decided anew whom to trust, and the disk says so. */
  setTrust(now: Instant, trusted: Iterable<Uint8Array>, trust: Partial<TrustState> = {}): void {
    const before = this.#admission.certificate;
    this.#admission.setTrust(now, trustOf(trusted, trust));
    this.#sweep(now);
    const after = this.#admission.certificate;
    if (this.#started && !equalBytes(before ?? noBytes, after ?? noBytes)) this.#publish(now);
    this.#settle(now);
  }

  setSeeds(now: Instant, seeds: readonly Seed[]): void {
    this.#introducer.setSeeds(now, seeds);
    this.#settle(now);
  }

  /** Where this node can be reached has changed: others are told, where it is news. */
  setCandidates(now: Instant, candidates: readonly Candidate[]): void {
    const next = advertised(candidates);
    const same =
      next.length === this.#candidates.length &&
      next.every((it, i) => {
        const before = this.#candidates[i];
        return it.kind === before?.kind && sameEndpoint(it, before);
      });
    if (same) return;
    this.#candidates = next;
    if (this.#started) this.#publish(now);
    this.#settle(now);
  }

  /** Takes another WireGuard key, and tells the others. All sessions are made anew. */
  rotateKey(now: Instant, key: Secret, history?: HandshakeHistory): void {
    this.peers.setLocalKey(now, key, history);
    this.#publish(now);
    for (const member of this.#members) this.#openings.schedule(member, now.ms);
    this.#settle(now);
  }

  handleEvent(now: Instant, event: DataplaneEvent): void {
    this.peers.handleEvent(now, event);
    this.#settle(now);
  }

  handleDatagram(now: Instant, datagram: ReceivedDatagram): void {
    if (datagram.kind === "introduction" || datagram.kind === "introduction_cookie") {
      this.#introducer.handleDatagram(now, datagram);
    } else if (datagram.kind === "session_message") {
      const member = this.#members.ofPeer(datagram.peer);
      if (member === undefined) this.counters.messages_without_member += 1;
      else if (isTrustMessage(datagram.bytes)) this.#receiveTrust(now, member, datagram.bytes);
      else this.#swim.handleMessage(now, member.slot, datagram.bytes);
    } else {
      this.peers.handleDatagram(now, datagram);
    }
    this.#settle(now);
  }

  handleTimeout(now: Instant): void {
    this.peers.handleTimeout(now);
    this.#introducer.handleTimeout(now);
    this.#swim.handleTimeout(now);
    this.#admission.handleTimeout(now);
    for (let next = this.#openings.take(now.ms); next; next = this.#openings.take(now.ms)) {
      this.#attempt(now, next);
    }
    if (now.ms >= this.#own.dueMs) this.#publish(now);
    if (this.#addressing.takeSettled(now.ms)) this.#persistMemory(now);
    this.#settle(now);
  }

  nextTimeout(): number | undefined {
    let next: number | undefined;
    for (const at of [
      this.peers.nextTimeout(),
      this.#introducer.nextTimeout(),
      this.#swim.nextTimeout(),
      this.#admission.nextTimeout(),
      this.#openings.nextTimeout(),
      this.#started ? this.#own.dueMs : undefined,
      this.#addressing.settlesAtMs,
    ]) {
      if (at !== undefined && (next === undefined || at < next)) next = at;
    }
    return next;
  }

  pollCommand(): Command | undefined {
    return this.#commands.shift() ?? this.#addressing.pollCommand() ?? this.peers.pollCommand();
  }

  pollTransmit(): Transmit | undefined {
    return this.peers.pollTransmit() ?? this.#transmits.shift();
  }

  pollEvent(): NodeEvent | undefined {
    const stamp = this.#timestampSent;
    this.#timestampSent = undefined;
    return stamp ?? this.#events.shift();
  }

  status(): NodeStatus {
    const { ipv4, ipv6, ipv4Prefix, ipv6Prefix } = this.#addressing;
    return {
      identity: this.#self,
      name: this.#options.name,
      wireguardKey: this.peers.localPublicKey,
      sequence: this.#own.sequence,
      addresses: ipv4 === undefined ? [ipv6] : [ipv6, ipv4],
      ipv6Prefix,
      ipv4Prefix,
      trusted: this.roster.size,
      organisations: this.roster.organisationCount,
      revoked: this.roster.revokedCount,
      certificate: decodeCertificate(this.#admission.certificate ?? noBytes)?.claimed,
      joining: this.#joining !== undefined,
      candidates: this.#candidates,
      members: withClashes(
        {
          identity: this.#self,
          name: this.#options.name,
          seniority: this.#admission.seniorityOf(),
        },
        [...this.#members].map((member) =>
          memberStatus(member, this.#addressing.of(member), this.#swim.table, this.roster),
        ),
      ),
    };
  }

  /** Every counter of the node and of its parts, by name. */
  allCounters(): Readonly<globalThis.Record<string, number>> {
    return {
      ...this.counters,
      ...this.peers.counters,
      ...prefixed("trust", this.#admission.allCounters()),
      ...prefixed("introductions", this.#introducer.counters),
      ...prefixed("swim", this.#swim.counters),
    };
  }

  /** Carries what one part says to the others until all are silent. */
  #settle(now: Instant): void {
    for (let quiet = false; !quiet; ) {
      quiet = true;
      for (let it = this.peers.pollEvent(); it; it = this.peers.pollEvent()) {
        quiet = false;
        this.#handlePeerEvent(now, it);
      }
      for (let it = this.#introducer.pollEvent(); it; it = this.#introducer.pollEvent()) {
        quiet = false;
        if (it.kind === "introduced") this.#accept(now, it.record, { introduced: it });
        else if (it.kind === "echoed") this.#receiveRecord(now, it.bytes);
        else if (it.kind === "granted") this.#takeGranted(now, it.bytes);
        else if (it.kind === "forward") {
          const issuer = this.#members.named(formatIdentity(it.receiver));
          const linked = issuer?.linked === true ? issuer : undefined;
          this.#admission.forward(now, linked, it.sealed, it.datagram);
        } else this.#warn(it.kind, `${it.endpoint.address} ${it.endpoint.port}`);
      }
      for (let it = this.#swim.pollEvent(); it; it = this.#swim.pollEvent()) {
        quiet = false;
        if (it.kind === "record") this.#receiveRecord(now, it.bytes, it.from);
        else this.#handleState(now, it.slot, it.state);
      }
      if (this.#admission.takeChanged()) {
        quiet = false;
        this.#sweep(now);
      }
    }
    const statements = this.#admission.takeStatements();
    if (statements !== undefined) this.#emit({ kind: "persist_statements", statements });
    for (let it = this.#admission.pollTransmit(); it; it = this.#admission.pollTransmit()) {
      const member = it.kind === "message" ? this.#members.inSlot(it.to) : undefined;
      if (it.kind === "datagram") this.#transmits.push(it);
      else if (member !== undefined) this.#sendMessage(now, member, it.bytes);
    }
    for (let it = this.#introducer.pollTransmit(); it; it = this.#introducer.pollTransmit()) {
      this.#transmits.push(it);
    }
    for (let it = this.#swim.pollTransmit(); it; it = this.#swim.pollTransmit()) {
      const member = this.#members.inSlot(it.to);
      if (member !== undefined) this.#sendMessage(now, member, it.bytes);
    }
  }

  #handlePeerEvent(now: Instant, event: PeerTableEvent): void {
    switch (event.kind) {
      case "timestamp_sent":
        this.#timestampSent = event;
        return;
      case "timestamp_accepted":
        this.#emit(event);
        return;
      case "stranger":
        // It may be a member whose record has not come to us yet.
        this.counters.strangers += 1;
        this.#swim.syncForLack(now);
        return;
      case "session_established":
        this.#setLinked(now, event.peer, true);
        return;
      case "session_lost":
        this.#setLinked(now, event.peer, false);
        return;
      case "handshake_failed":
      case "endpoint_changed":
        return; // attempts go on by their own clock; `seen` is taken when a session comes up
    }
  }

  #setLinked(now: Instant, peer: Peer, linked: boolean): void {
    const member = this.#members.ofPeer(peer.ref);
    if (member === undefined) return;
    if (linked) {
      member.seen = peer.endpoint;
      member.attempts = 0;
      this.#openings.cancel(member);
    }
    const changed = member.linked !== linked;
    member.linked = linked;
    if (changed && !linked) this.#openings.schedule(member, now.ms);
    this.#swim.setLink(now, member.slot, linked);
    this.#introducer.setLink(now, member.name, this.#isReached(member));
    if (!changed) return;
    if (linked) this.#admission.linked(now, member);
    this.#emit({ kind: linked ? "session_up" : "session_down", identity: member.name });
  }

  /** Whoever is admitted no longer goes, and whoever was only heard of may come. */
  #sweep(now: Instant): void {
    for (const member of [...this.#members]) {
      if (!this.roster.admitsText(member.name)) this.#remove(now, member);
    }
    for (const identity of this.#swim.hearsay.identities()) {
      if (!this.roster.mayAdmitUnknown && !this.roster.admits(identity)) continue;
      const heard = this.#swim.hearsay.take(identity);
      if (heard !== undefined) this.#receiveRecord(now, heard);
    }
    this.#introducer.rosterChanged(now);
  }

  #receiveTrust(now: Instant, member: Member, bytes: Uint8Array): void {
    // Whatever it says, the member is alive.
    this.#swim.setLink(now, member.slot, true);
    this.#admission.handleMessage(now, member, bytes, (sealed) =>
      this.#introducer.handleForwarded(now, sealed),
    );
  }

  /** The invitation is redeemed: from now on this node carries a certificate. */
  #takeGranted(now: Instant, bytes: Uint8Array): void {
    if (this.#joining === undefined || !this.#admission.takeGranted(now, bytes)) return;
    this.#joining = undefined;
    this.#introducer.setJoining(now, undefined);
    this.#emit({ kind: "persist_certificate", certificate: bytes });
    this.#publish(now);
  }

  /** A record out of a session: whose signature it bears does not depend on who brought it. */
  #receiveRecord(now: Instant, bytes: Uint8Array, from?: number): void {
    const unverified = decodeRecord(bytes);
    if (unverified === undefined) {
      this.counters.records_malformed += 1;
      return;
    }
    // Before the signature, which costs the most: is it news at all?
    if (!this.#isNews(unverified.claimed)) return;
    const record = this.#verify(now, unverified);
    if (record === undefined) this.counters.records_not_authentic += 1;
    else this.#accept(now, record, from === undefined ? {} : { from });
  }

  #isNews(claimed: Record): boolean {
    const name = formatIdentity(claimed.identity);
    if (name === this.#self) return this.#own.isNews(claimed);
    const member = this.#members.named(name);
    const heard = this.#swim.hearsay.sequence(shortId(claimed.identity));
    return claimed.sequence > Math.max(heard, member?.record.sequence ?? 0);
  }

  #verify(now: Instant, unverified: Unverified<Record>): Verified<Record> | undefined {
    const { crypto, networkId } = this.#options;
    return verifyRecord(crypto, networkId, unverified, now);
  }

  /** The one door by which anything said of a node changes state here. */
  #accept(now: Instant, record: Verified<Record>, source: RecordSource): void {
    const name = formatIdentity(record.identity);
    if (name === this.#self) {
      if (!this.#own.meet(now, record)) return;
      this.counters.own_record_jumps += 1;
      this.#warn("own_record_newer", this.#self);
      return;
    }
    const isAdmitted = this.roster.judge(now, record);
    this.#admission.recordTaken(now);
    if (!isAdmitted) {
      this.counters.records_not_admitted += 1;
      this.#swim.hearsay.add(record.identity, record.sequence, record.bytes);
      return;
    }
    const known = this.#members.named(name);
    if (known === undefined || record.sequence > known.record.sequence) {
      this.#install(now, name, record, source);
    }
    const member = this.#members.named(name);
    if (member === undefined || source.introduced === undefined) return;
    const { endpoint } = source.introduced;
    if (endpoint !== undefined) {
      member.proven = endpoint;
      // It answers there: whatever was tried before, this is tried now.
      if (!this.#isReached(member)) member.seen = undefined;
      member.attempts = 0;
      this.#openings.schedule(member, now.ms);
    }
  }

  /** A new member, or a newer record of one. */
  #install(now: Instant, name: string, record: Verified<Record>, source: RecordSource): void {
    if (this.#isKeyTaken(name, record.wireguardKey)) {
      this.counters.wireguard_key_duplicates += 1;
      this.#warn("wireguard_key_duplicate", name);
      // Known of, so that it is not fetched again and again.
      this.#swim.hearsay.add(record.identity, record.sequence, record.bytes);
      return;
    }
    const slot = this.#swim.learn(now, record.identity, record.sequence, record.bytes, source.from);
    if (slot === undefined) {
      this.counters.members_refused += 1;
      this.#warn("members_full", name);
      return;
    }
    let member = this.#members.named(name);
    if (member === undefined) {
      member = this.#join(now, name, slot, record);
      // Who asked for an introduction, at an address that proves nothing, opens the session himself.
      const asked = source.introduced !== undefined && source.introduced.endpoint === undefined;
      this.#openings.schedule(member, now.ms + (asked ? askedGraceMs : 0));
    } else {
      const rotated = !equalBytes(member.record.wireguardKey, record.wireguardKey);
      member.record = record;
      if (rotated) this.#replacePeer(now, member);
    }
    this.#claim(now, member);
    if (source.stored !== true) {
      this.#emit({ kind: "persist_member", identity: name, record: record.bytes });
    }
  }

  #join(now: Instant, name: string, slot: number, record: Verified<Record>): Member {
    const peer = this.peers.addPeer(now, record.wireguardKey);
    const ipv6 = this.#addressing.ipv6Of(record.identity);
    const member = new Member(slot, name, ipv6, record, peer);
    this.#members.add(member);
    this.#addressing.bind(member);
    this.#emit({ kind: "member_joined", identity: name, name: record.name });
    return member;
  }

  /** One WireGuard key is one identity's: a second claimant could only take the first one's place. */
  #isKeyTaken(name: string, key: Uint8Array): boolean {
    const own = this.peers.localPublicKey;
    if (own !== undefined && equalBytes(own, key)) return true;
    const holder = this.#members.withKey(key);
    return holder !== undefined ? holder.name !== name : this.peers.find(key) !== undefined;
  }

  #replacePeer(now: Instant, member: Member): void {
    this.#setLinked(now, member.peer, false);
    this.peers.removePeer(now, member.peer);
    this.#members.setPeer(member, this.peers.addPeer(now, member.record.wireguardKey));
    this.#addressing.bind(member);
    member.attempts = 0;
    this.#openings.schedule(member, now.ms);
  }

  #remove(now: Instant, member: Member): void {
    this.#setLinked(now, member.peer, false);
    this.#openings.cancel(member);
    this.peers.removePeer(now, member.peer);
    this.#members.remove(member);
    this.#admission.forget(member);
    this.#swim.forget(member.slot);
    this.#addressing.release(now.ms, member);
    this.#emit({ kind: "member_left", identity: member.name });
  }

  /** The member's IPv4 claim, as its record has it now. */
  #claim(now: Instant, member: Member): void {
    const { moved, refused } = this.#addressing.take(now.ms, member);
    if (refused !== undefined) this.#warn(refused, member.name);
    if (!moved) return;
    this.#tellAddresses();
    this.#publish(now);
  }

  #tellAddresses(): void {
    const { ipv6, ipv4 } = this.#addressing;
    if (ipv4 === undefined) this.#warn("ipv4_exhausted", this.#self);
    this.#emit({ kind: "address_assigned", ipv6, ipv4 });
  }

  /** Signs and spreads a new record of this node. */
  #publish(now: Instant): void {
    const wireguardKey = this.peers.localPublicKey;
    assert(wireguardKey !== undefined, "a node that has started has a WireGuard key");
    this.#own.sign(now, {
      wireguardKey,
      candidates: this.#candidates,
      ipv4: this.#addressing.claim,
      certificate: this.#admission.certificate,
    });
    this.#swim.setSelf(now, this.#own.sequence, this.#own.bytes);
    this.#introducer.recordChanged(now);
    this.#persistMemory(now);
  }

  #persistMemory(now: Instant): void {
    const candidate = this.#addressing.settledCandidate(now.ms);
    const ipv4 = candidate === undefined ? {} : { ipv4Candidate: candidate };
    this.#emit({ kind: "persist_record", sequence: this.#own.sequence, ...ipv4 });
  }

  /** Where a session is wanted: at the next endpoint. */
  #attempt(now: Instant, member: Member): void {
    if (this.#isReached(member)) return;
    // What is left of a silent session is not led to where nobody is known to be.
    const endpoint = member.linked ? member.proven : member.nextEndpoint();
    if (endpoint === undefined) return; // it must come to us
    if (!sameEndpoint(member.peer.endpoint, endpoint)) {
      this.peers.setEndpoint(now, member.peer, endpoint);
    }
    member.attempts += 1;
    this.counters.session_attempts += 1;
    this.peers.initiate(now, member.peer);
    if (member.linked) return; // the handshake goes on by itself
    if (member.attempts > attemptsAlone) this.#introduce(now, member);
    if (member.attempts < attemptsMax) {
      this.#openings.schedule(member, now.ms + attemptIntervalMs);
    }
  }

  /** A session says little where probes fail: the other side may have forgotten it. */
  #isReached(member: Member): boolean {
    return member.linked && this.#swim.table.state(member.slot) === "alive";
  }

  #introduce(now: Instant, member: Member): void {
    this.#introducer.dialMember(now, member.identity, () => member.endpoints());
  }

  #sendMessage(now: Instant, member: Member, bytes: Uint8Array): void {
    this.#transmits.push({ kind: "session_message", peer: member.peer.ref, bytes });
    // A probe of one without a session asks for one: at the next endpoint, if this one is silent.
    if (!member.linked && member.attempts >= attemptsMax) {
      this.#openings.schedule(member, now.ms);
    }
  }

  /** A record from our own disk: a member, or where to look for one. */
  #restore(now: Instant, bytes: Uint8Array): void {
    const { crypto, networkId } = this.#options;
    const unverified = decodeRecord(bytes);
    const record = unverified && verifyStoredRecord(crypto, networkId, unverified);
    if (unverified === undefined || record === undefined) {
      this.counters.records_malformed += 1;
      return;
    }
    if (!this.roster.judge(now, record)) return;
    const current = this.#verify(now, unverified);
    if (current !== undefined) {
      this.#accept(now, current, { stored: true });
      return;
    }
    for (const endpoint of udpEndpoints(record).slice(0, hintEndpointsMax)) {
      this.#introducer.addHint(now, { identity: record.identity, endpoint });
    }
  }

  /** A verdict of SWIM's: who does not answer inside its session is dialled beside it. */
  #handleState(now: Instant, slot: number, state: MemberState): void {
    const member = this.#members.inSlot(slot);
    if (member === undefined) return;
    this.#introducer.setLink(now, member.name, this.#isReached(member));
    if (state !== "alive") this.#introduce(now, member);
    this.#emit({ kind: "member_state", identity: member.name, state });
  }

  #warn(code: WarningCode, subject: string): void {
    const key = `${code} ${subject}`;
    if (this.#warned.has(key) || this.#warned.size >= warningsMax) return;
    this.#warned.add(key);
    this.#emit({ kind: "warning", code, subject });
  }

  #emit(event: NodeEvent): void {
    if (this.#events.size >= eventsMax) this.counters.events_dropped += 1;
    else this.#events.push(event);
  }
}

interface RecordSource {
  /** From our own disk. */
  readonly stored?: boolean;
  /** The SWIM slot of the member that sent it. */
  readonly from?: number;
  /** It came by an introduction; with an endpoint, in answer to our own. */
  readonly introduced?: { readonly endpoint?: Endpoint };
}
