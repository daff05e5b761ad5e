/**
 * A node of the mesh: the peer table, introductions and SWIM, bound together by the roster. Here
 * alone a verified record of an admitted identity becomes a member with a peer, addresses and a
 * session. Members come and go by the roster only; what happens on the network changes when and
 * where they are tried. No I/O: five verbs, commands for the data plane, events for the daemon.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Candidate, NatKind } from "../base/candidate.ts";
import type { Instant } from "../base/clock.ts";
import type { Secret } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import { Fifo } from "../base/fifo.ts";
import type { IpPrefix } from "../base/ip.ts";
import { isPathMessage } from "../nat/message.ts";
import { type MemberState, selfSlot } from "../swim/state.ts";
import { Swim } from "../swim/swim.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { Roster } from "../trust/roster.ts";
import { Addressing } from "./addressing.ts";
import { Admission, type TrustState, trustOf } from "./admission.ts";
import type { Command, DataplaneEvent, ReceivedDatagram, Transmit } from "./dataplane.ts";
import type { Joining } from "./dial-target.ts";
import { Introducer, type Seed } from "./introducer.ts";
import { inSession, type Member, Members } from "./member.ts";
import { MemberPeers } from "./member-peers.ts";
import { NextDue } from "./next-due.ts";
import type { MeshNodeOptions } from "./node-options.ts";
import { NodeView } from "./node-view.ts";
import { attempts } from "./openings.ts";
import { advertised, OwnRecord, sameCandidates } from "./own-record.ts";
import { Pathfinder } from "./pathfinder.ts";
import {
  type HandshakeHistory,
  type Peer,
  PeerTable,
  type PeerTableEvent,
  type Strangers,
} from "./peer-table.ts";
import { isNews, RecordIntake, type RecordSource } from "./record-intake.ts";
import { type NodeEvent, type NodeStatus, nodeCounters, prefixed } from "./report.ts";
import { ReportQueue } from "./report-queue.ts";
import { SessionAttempts } from "./session-attempts.ts";
import { statementSigner } from "./statements.ts";
import { isTrustMessage } from "./trust-message.ts";

export type { Seed } from "./introducer.ts";
export type { MeshNodeOptions, SharedParts } from "./node-options.ts";
export type { MemberStatus, NodeEvent, NodeMemory, NodeStatus, WarningCode } from "./report.ts";

export class MeshNode {
  readonly roster: Roster;
  readonly #admission: Admission;
  #joining: Joining | undefined;
  /** For a status and for plain peers; members' peers are this node's alone. */
  readonly peers: PeerTable;
  readonly counters = nodeCounters();
  /** For a status and for the disk. */
  readonly view: NodeView;
  readonly #options: MeshNodeOptions;
  readonly #swim: Swim;
  readonly #records: RecordIntake;
  /** A simulation's: members have no addresses and no place on the disk, and sessions are its own. */
  readonly #bare: boolean;
  readonly #introducer: Introducer;
  readonly #addressing: Addressing;
  readonly #pathfinder: Pathfinder;
  readonly #attempts: SessionAttempts;
  readonly #self: string;
  readonly #own: OwnRecord;
  /** Those that have a peer. */
  readonly #members = new Members();
  readonly #held: MemberPeers;
  #candidates: readonly Candidate[];
  #started = false;
  readonly #due: NextDue;
  readonly #commands = new Fifo<Command>();
  readonly #transmits = new Fifo<Transmit>();
  readonly #reports = new ReportQueue();

  constructor(options: MeshNodeOptions) {
    const { crypto, random, identity, networkId, memory, shared, profile } = options;
    this.#options = options;
    this.#self = formatIdentity(identity.publicKey);
    this.#candidates = advertised(options.candidates);
    const sequence = memory?.sequence ?? 0;
    this.#own = new OwnRecord({ crypto, networkId, identity, name: options.name, sequence });
    this.#joining = options.joining;
    this.#admission = new Admission({
      crypto,
      random,
      networkId,
      self: identity.publicKey,
      trust: trustOf(options.trusted, options.trust),
      book: options.book,
      pickLinked: (count, sinceMs = Number.NEGATIVE_INFINITY) =>
        this.#swim.table.pickLinked(random, count, selfSlot, (link) => {
          return this.#swim.eager || link.sinceMs >= sinceMs;
        }),
      memberCount: () => this.#swim.table.size,
    });
    this.#bare = shared !== undefined;
    this.#records = new RecordIntake(crypto, networkId, shared?.records);
    this.roster = shared?.roster ?? this.#admission.roster;
    const { history, lanes = 1 } = options;
    const strangers: Strangers = {
      knows: (key) => this.#held.roll.withKey(key) !== undefined,
      admit: (now, key) => void this.#held.bring(now, this.#held.roll.withKey(key) as number),
    };
    this.peers = shared?.peers ?? new PeerTable({ crypto, random, lanes, strangers, ...history });
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
    this.#swim = new Swim({
      self: identity.publicKey,
      random,
      signer: statementSigner(crypto, networkId, identity),
      records: this.#records.store,
      ...(shared === undefined ? {} : { statements: shared.statements }),
      ...(profile === undefined ? {} : { profile }),
    });
    const [members, { table }] = [this.#members, this.#swim];
    const parts = { random, identity: identity.publicKey, peers: this.peers, members, table };
    this.#pathfinder = new Pathfinder({ ...parts, relay: options.relay });
    this.#held = new MemberPeers({
      peers: this.peers,
      members,
      table,
      recordOf: (slot) => this.#records.of(table, slot),
      addressing: this.#bare ? undefined : this.#addressing,
      pathfinder: this.#pathfinder,
      holdsAll: () => !this.#bare && this.#swim.eager,
      tell: (kind, slot, peer) => {
        if (!this.#bare) this.#reports.push({ kind, slot, peer });
      },
    });
    this.view = new NodeView({
      self: this.#self,
      name: options.name,
      own: this.#own,
      peers: this.peers,
      addressing: this.#addressing,
      admission: this.#admission,
      joining: () => this.#joining !== undefined,
      candidates: () => this.#candidates,
      members,
      held: this.#held,
      records: this.#records,
      table,
      pathfinder: this.#pathfinder,
    });
    this.#introducer = new Introducer({
      crypto,
      random,
      networkId,
      identity,
      roster: this.roster,
      record: () => this.#own.bytes,
      held: (identity) => this.#records.held(this.#swim.table, identity),
      isAlive: (identity) => this.#swim.isAlive(identity),
      isLarge: () => !this.#swim.eager,
      redeemer: this.#admission.redeemer,
      arrivals: options.arrivals,
    });
    this.#attempts = new SessionAttempts({
      swim: this.#swim,
      held: this.#held,
      peers: this.peers,
      addressing: this.#addressing,
      pathfinder: this.#pathfinder,
      introducer: this.#introducer,
      counters: this.counters,
    });
    const seldom = [this.#own, this.#addressing, this.#pathfinder, this.#introducer];
    this.#due = new NextDue(this.#swim, this.peers, [...seldom, this.#admission, this.#attempts]);
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
    this.#holdAll(now);
    this.#addressing.start(now.ms, mtu);
    this.#tellAddresses();
    this.#publish(now);
    this.#pathfinder.start();
    this.#pathfinder.setOwn(now, this.#candidates);
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
    const isOther = this.#admission.setTrust(now, trustOf(trusted, trust));
    this.#sweep(now);
    if (this.#started && isOther) this.#publish(now);
    this.#settle(now);
  }

  /** Tells the others that this node goes, so that nobody suspects it. What it says leaves at once. */
  leave(now: Instant): void {
    if (!this.#started) return;
    this.#swim.leave(now);
    this.#settle(now);
  }

  /** What this node thinks of each member, for those who watch many nodes. */
  get membership(): Swim {
    return this.#swim;
  }

  /** The peer of a member that has come to us, made if there is none yet: where peers are on demand. */
  peerOf(now: Instant, identity: Uint8Array): Peer | undefined {
    const slot = this.#swim.table.find(identity) ?? selfSlot;
    this.#due.changed();
    return slot === selfSlot ? undefined : this.#held.bring(now, slot).peer;
  }

  open(now: Instant, slot: number): void {
    this.#due.changed();
    this.#attempts.open(now, slot);
  }

  setSeeds(now: Instant, seeds: readonly Seed[]): void {
    this.#introducer.setSeeds(now, seeds);
    this.#settle(now);
  }

  /** Where this node can be reached, and what STUN says of its NAT: others are told what is news. */
  setCandidates(now: Instant, candidates: readonly Candidate[], nat: NatKind = "unknown"): void {
    const next = advertised(candidates);
    const isNews = !sameCandidates(next, this.#candidates);
    this.#candidates = next;
    this.#pathfinder.setOwn(now, next, nat);
    if (this.#started && isNews) this.#publish(now);
    this.#settle(now);
  }

  /** What `offered` gives has changed: others are told. */
  offeredChanged(now: Instant): void {
    if (this.#started) this.#publish(now);
    this.#settle(now);
  }

  /** What is led to members beside their own addresses, by their identities. */
  setRoutes(now: Instant, routes: ReadonlyMap<string, readonly IpPrefix[]>): void {
    this.#due.changed();
    for (const name of routes.keys()) {
      const slot = this.view.slotOf(name);
      if (slot !== undefined) this.#held.bring(now, slot);
    }
    this.#addressing.setRoutes(routes);
  }

  /** Takes another WireGuard key, and tells the others. All sessions are made anew. */
  rotateKey(now: Instant, key: Secret, history?: HandshakeHistory): void {
    this.peers.setLocalKey(now, key, history);
    this.#publish(now);
    if (this.#swim.eager) {
      for (const member of this.#members) this.#attempts.schedule(member, now.ms);
    }
    this.#settle(now);
  }

  handleEvent(now: Instant, event: DataplaneEvent): void {
    this.peers.handleEvent(now, event);
    this.#pathfinder.handleEvent(now, event);
    if (event.kind === "destination_wanted") this.#attempts.seek(now, event.address);
    this.#settle(now);
  }

  handleDatagram(now: Instant, datagram: ReceivedDatagram): void {
    if (datagram.kind === "introduction" || datagram.kind === "introduction_cookie") {
      this.#introducer.handleDatagram(now, datagram);
    } else if (datagram.kind === "session_message") {
      const member = this.#members.ofPeer(datagram.peer);
      if (member === undefined) this.counters.messages_without_member += 1;
      else if (isTrustMessage(datagram.bytes)) this.#receiveTrust(now, member, datagram.bytes);
      else if (isPathMessage(datagram.bytes)) {
        this.#pathfinder.handleMessage(now, member, datagram.bytes, datagram.remote);
      } else {
        this.#swim.handleMessage(now, member.slot, datagram.bytes);
        this.#settleSwim(now);
        return;
      }
    } else {
      this.peers.handleDatagram(now, datagram);
    }
    this.#settle(now);
  }

  handleTimeout(now: Instant): void {
    if (this.#pathfinder.takeSleep(now)) this.#awake(now);
    else if (now.ms < this.#due.othersMs) {
      this.#swim.handleTimeout(now);
      this.#settleSwim(now);
      return;
    }
    this.peers.handleTimeout(now);
    this.#pathfinder.handleTimeout(now);
    this.#introducer.handleTimeout(now);
    this.#swim.handleTimeout(now);
    this.#admission.handleTimeout(now);
    this.#attempts.handleTimeout(now);
    if (now.ms >= this.#own.dueMs) this.#publish(now);
    if (this.#addressing.takeSettled(now.ms)) this.#persistMemory(now);
    this.#settle(now);
  }

  nextTimeout(): number | undefined {
    return this.#due.nextTimeout();
  }

  pollCommand(): Command | undefined {
    return (
      this.#commands.shift() ??
      this.#addressing.pollCommand() ??
      this.peers.pollCommand() ??
      this.#pathfinder.pollCommand()
    );
  }

  pollTransmit(): Transmit | undefined {
    const transmit = this.peers.pollTransmit() ?? this.#transmits.shift();
    return transmit === undefined ? undefined : this.#pathfinder.wrap(transmit);
  }

  pollEvent(): NodeEvent | undefined {
    return this.#reports.poll();
  }

  status(): NodeStatus {
    return this.view.status();
  }

  /** Every counter of the node and of its parts, by name. */
  allCounters(): Readonly<globalThis.Record<string, number>> {
    return {
      ...this.counters,
      events_dropped: this.#reports.dropped,
      ...this.peers.counters,
      ...prefixed("trust", this.#admission.allCounters()),
      ...prefixed("introductions", this.#introducer.counters),
      ...prefixed("swim", this.#swim.counters),
      ...prefixed("paths", this.#pathfinder.counters),
    };
  }

  /** Most messages concern SWIM alone, and other parts are left as they were. */
  #settleSwim(now: Instant): void {
    if (this.#swim.hasEvents || this.#pathfinder.hasNews) this.#settle(now);
    else this.#drainSwim();
  }

  /** Carries what one part says to the others until all are silent. */
  #settle(now: Instant): void {
    this.#due.changed();
    for (let quiet = false; !quiet; ) {
      quiet = true;
      this.#pathfinder.settle(now);
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
          const issuer = this.#members.linked(this.#swim.table.find(it.receiver));
          this.#admission.forward(now, issuer, it.sealed, it.datagram);
        } else this.#reports.warn(it.kind, it.endpoint);
      }
      for (let it = this.#swim.pollEvent(); it; it = this.#swim.pollEvent()) {
        quiet = false;
        if (it.kind === "record") this.#receiveRecord(now, it.bytes, it.from);
        else if (it.kind === "state") this.#handleState(now, it.slot, it.state);
        else this.#attempts.heed(now, it);
      }
      for (const slot of this.#pathfinder.takeWanted()) this.open(now, slot);
      if (this.#admission.takeChanged()) {
        quiet = false;
        this.#sweep(now);
      }
    }
    const statements = this.#admission.takeStatements();
    if (statements !== undefined) this.#reports.push({ kind: "persist_statements", statements });
    for (let it = this.#admission.pollTransmit(); it; it = this.#admission.pollTransmit()) {
      const member = it.kind === "message" ? this.#members.inSlot(it.to) : undefined;
      if (it.kind === "datagram") this.#transmits.push(it);
      else if (member !== undefined) this.#transmits.push(inSession(member, it.bytes));
    }
    if (this.#started && this.#pathfinder.takeNews(now)) this.#publish(now);
    this.#pathfinder.drain(this.#transmits);
    for (let it = this.#introducer.pollTransmit(); it; it = this.#introducer.pollTransmit()) {
      this.#transmits.push(it);
    }
    this.#drainSwim();
  }

  #drainSwim(): void {
    for (let it = this.#swim.pollTransmit(); it; it = this.#swim.pollTransmit()) {
      const member = this.#members.linked(it.to);
      if (member !== undefined) this.#transmits.push(inSession(member, it.bytes));
    }
  }

  /** After a sleep whatever was known of the network may be wrong, and sessions have ended. */
  #awake(now: Instant): void {
    this.#pathfinder.networkChanged(now);
    this.#introducer.rosterChanged(now);
    for (const member of this.#members) this.#attempts.anew(now, member);
  }

  #handlePeerEvent(now: Instant, event: PeerTableEvent): void {
    switch (event.kind) {
      case "timestamp_sent":
        this.#reports.stamp(event);
        return;
      case "timestamp_accepted":
        this.#reports.push(event);
        return;
      case "stranger":
        // It may be a member whose record has not come to us yet.
        this.counters.strangers += 1;
        this.#swim.syncForLack(now);
        return;
      case "session_established":
      case "session_lost":
        this.#setLinked(now, event.peer, event.kind === "session_established");
        return;
      case "handshake_failed":
        this.#held.rest(now, this.#members.ofPeer(event.peer.ref));
        return;
      default:
        this.#pathfinder.handlePeerEvent(now, event);
    }
  }

  #setLinked(now: Instant, peer: Peer, linked: boolean): void {
    const member = this.#members.ofPeer(peer.ref);
    if (member === undefined) return;
    if (linked) {
      member.seen = peer.endpoint;
      member.attempts = 0;
      this.#attempts.cancel(member);
    }
    const changed = member.linked !== linked;
    member.linked = linked;
    if (changed && !linked && this.#swim.eager) this.#attempts.schedule(member, now.ms);
    this.#pathfinder.setLink(now, member, linked);
    const key = this.#swim.table.key(member.slot);
    const isDialled = member.proven !== undefined || this.#introducer.dials(key);
    this.#swim.setLink(now, member.slot, linked, this.#introducer.isDoor(key));
    if (isDialled || this.#swim.eager) this.#attempts.tellReached(now, member.slot);
    if (!changed) return;
    if (linked) this.#admission.linked(now, member);
    this.#reports.push({ kind: linked ? "session_up" : "session_down", identity: member.name });
    if (!linked) this.#held.rest(now, member);
  }

  /** Whoever is admitted no longer goes, and whoever was only heard of may come. */
  #sweep(now: Instant): void {
    const { table } = this.#swim;
    for (let slot = 1; slot < table.slotsEnd; slot += 1) {
      if (table.has(slot) && !this.roster.admits(table.identity(slot))) this.#remove(now, slot);
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
    this.#swim.heard(now, member.slot);
    this.#admission.handleMessage(now, member, bytes, (sealed) =>
      this.#introducer.handleForwarded(now, sealed),
    );
  }

  /** The invitation is redeemed: from now on this node carries a certificate. */
  #takeGranted(now: Instant, bytes: Uint8Array): void {
    if (this.#joining === undefined || !this.#admission.takeGranted(now, bytes)) return;
    this.#joining = undefined;
    this.#introducer.setJoining(now, undefined);
    this.#reports.push({ kind: "persist_certificate", certificate: bytes });
    this.#publish(now);
  }

  /** A record out of a session: whose signature it bears does not depend on who brought it. */
  #receiveRecord(now: Instant, bytes: Uint8Array, from?: number): void {
    const record = this.#records.read(now, bytes, (claimed) =>
      isNews(claimed, this.#own, this.#swim),
    );
    if (record === "malformed") this.counters.records_malformed += 1;
    else if (record === "not_authentic") this.counters.records_not_authentic += 1;
    else if (record !== "old") this.#accept(now, record, from === undefined ? {} : { from });
  }

  /** The one door by which anything said of a node changes state here. */
  #accept(now: Instant, record: Verified<Record>, source: RecordSource): void {
    if (equalBytes(record.identity, this.#swim.table.self)) {
      if (!this.#own.meet(now, record)) return;
      this.counters.own_record_jumps += 1;
      this.#reports.warn("own_record_newer", this.#self);
      return;
    }
    const isAdmitted = this.roster.judge(now, record);
    this.#admission.recordTaken(now, record);
    if (!isAdmitted) {
      this.counters.records_not_admitted += 1;
      this.#swim.hearsay.add(record.identity, record.sequence, record.bytes);
      return;
    }
    const { table } = this.#swim;
    const known = table.find(record.identity);
    const isNew = known === undefined || record.sequence > table.sequence(known);
    const slot = isNew ? this.#install(now, record, source) : known;
    const endpoint = source.introduced?.endpoint;
    if (slot === undefined || endpoint === undefined) return;
    this.#attempts.proven(now, this.#held.bring(now, slot), endpoint);
  }

  /** A new member, or a newer record of one: its slot. */
  #install(now: Instant, record: Verified<Record>, source: RecordSource): number | undefined {
    if (!this.#bare && this.#held.isKeyTaken(record)) {
      this.counters.wireguard_key_duplicates += 1;
      this.#reports.warn("wireguard_key_duplicate", formatIdentity(record.identity));
      // Known of, so that it is not fetched again and again.
      this.#swim.hearsay.add(record.identity, record.sequence, record.bytes);
      return undefined;
    }
    const { size } = this.#swim.table;
    const slot = this.#records.with(record, (id) => this.#swim.learn(now, id, source.from));
    if (slot === undefined) {
      this.counters.members_refused += 1;
      this.#reports.warn("members_full", formatIdentity(record.identity));
      return undefined;
    }
    this.#pathfinder.recordTaken(slot, record);
    const known = this.#members.inSlot(slot);
    if (known !== undefined) {
      const rotated = !equalBytes(known.record.wireguardKey, record.wireguardKey);
      known.record = record;
      this.#pathfinder.recordChanged(now, known);
      if (rotated) this.#replacePeer(now, known);
    }
    if (this.#bare) return slot;
    this.#held.roll.set(slot, record);
    this.#claim(now, slot, record);
    if (this.#swim.table.size > size) this.#welcome(now, slot, record, source);
    if (source.stored !== true) {
      const identity = formatIdentity(record.identity);
      this.#reports.push({ kind: "persist_member", identity, record: record.bytes });
    }
    return slot;
  }

  #welcome(now: Instant, slot: number, record: Verified<Record>, source: RecordSource): void {
    const identity = formatIdentity(record.identity);
    this.#reports.push({ kind: "member_joined", identity, name: record.name });
    if (!this.#swim.eager || source.stored === true) {
      if (this.#addressing.leads(identity)) this.#held.bring(now, slot);
      return;
    }
    // Who asked for an introduction, at an address that proves nothing, opens the session himself.
    const asked = source.introduced !== undefined && source.introduced.endpoint === undefined;
    const member = this.#held.bring(now, slot);
    this.#attempts.schedule(member, now.ms + (asked ? attempts.askedGraceMs : 0));
  }

  #replacePeer(now: Instant, member: Member): void {
    this.#setLinked(now, member.peer, false);
    // Without a session it may have gone to rest.
    if (this.#members.inSlot(member.slot) !== member) return;
    this.#held.replace(now, member);
    this.#attempts.anew(now, member);
  }

  #remove(now: Instant, slot: number): void {
    const { eager: wasEager, table } = this.#swim;
    const identity = formatIdentity(table.identity(slot));
    const { name } = this.#records.of(table, slot);
    const member = this.#members.inSlot(slot);
    if (member !== undefined) {
      this.#setLinked(now, member.peer, false);
      this.#attempts.cancel(member);
    }
    this.#held.remove(now, slot);
    this.#swim.forget(slot);
    this.#admission.forget(slot);
    if (this.#bare && member === undefined) return;
    if (!this.#bare) this.#addressing.release(now.ms, slot);
    this.#reports.push({ kind: "member_left", identity, name, slot });
    if (!wasEager) this.#holdAll(now);
  }

  /** Where the mesh is small: a session is held with everybody. */
  #holdAll(now: Instant): void {
    if (this.#bare || !this.#swim.eager) return;
    for (const each of this.#held.bringAll(now)) this.#attempts.schedule(each, now.ms);
  }

  /** The member's IPv4 claim, as its record has it now. */
  #claim(now: Instant, slot: number, record: Record): void {
    const { moved, refused } = this.#addressing.take(now.ms, slot, record);
    if (refused !== undefined) this.#reports.warn(refused, formatIdentity(record.identity));
    if (!moved) return;
    this.#tellAddresses();
    this.#publish(now);
  }

  #tellAddresses(): void {
    const { ipv6, ipv4 } = this.#addressing;
    if (ipv4 === undefined) this.#reports.warn("ipv4_exhausted", this.#self);
    this.#reports.push({ kind: "address_assigned", ipv6, ipv4 });
  }

  /** Signs and spreads a new record of this node. */
  #publish(now: Instant): void {
    const wireguardKey = this.peers.localPublicKey;
    assert(wireguardKey !== undefined, "a node that has started has a WireGuard key");
    this.#own.sign(now, {
      wireguardKey,
      candidates: advertised([...this.#candidates, ...this.#pathfinder.observed(now)]),
      natKind: this.#pathfinder.natKind(now),
      relay: this.#pathfinder.offersRelay,
      ipv4: this.#addressing.claim,
      certificate: this.#admission.certificate,
      prefixes: this.#options.offered?.() ?? [],
    });
    const record = this.#records.read(now, this.#own.bytes);
    assert(typeof record !== "string", "what this node signs verifies");
    this.#records.with(record, (id) => this.#swim.setSelf(now, id));
    this.#introducer.recordChanged(now);
    this.#persistMemory(now);
  }

  #persistMemory(now: Instant): void {
    const candidate = this.#addressing.settledCandidate(now.ms);
    const ipv4 = candidate === undefined ? {} : { ipv4Candidate: candidate };
    this.#reports.push({ kind: "persist_record", sequence: this.#own.sequence, ...ipv4 });
  }

  /** A record from our own disk: a member, or where to look for one. */
  #restore(now: Instant, bytes: Uint8Array): void {
    const found = this.#records.restore(now, bytes, (it) => this.roster.judge(now, it));
    if (found === undefined) this.counters.records_malformed += 1;
    else if ("record" in found) this.#accept(now, found.record, { stored: true });
    else for (const hint of found.hints) this.#introducer.addHint(now, hint);
  }

  /** A verdict of SWIM's: who does not answer inside its session is dialled beside it. */
  #handleState(now: Instant, slot: number, state: MemberState): void {
    this.#options.shared?.watch?.(slot, state);
    this.#attempts.tellReached(now, slot);
    if (this.#bare && this.#members.inSlot(slot) === undefined) return;
    const identity = this.#swim.table.identity(slot);
    if (state === "suspect" || state === "dead") this.#attempts.dial(now, slot, identity);
    this.#reports.push({ kind: "member_state", identity: formatIdentity(identity), state });
  }
}
