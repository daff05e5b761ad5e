/**
 * A third of the members are hostile, each in its way: they lie about others together, flood, speak
 * in others' names, repeat what is old, say two things at once, and hide others from a newcomer. They
 * hold sessions like any member, and sign what is theirs to sign; no more is theirs.
 */

import { statementSigner } from "../../src/mesh/statements.ts";
import { encodeMessage, messageBytesMax } from "../../src/swim/message.ts";
import { stateCodes } from "../../src/swim/state.ts";
import { statementBody, statementKinds } from "../../src/swim/statement.ts";
import { Invariants } from "./invariants.ts";
import { type Outcome, outcome, round, type Settings, settled, shareOf } from "./scenarios.ts";
import type { SimHost } from "./sim-host.ts";
import type { Packet } from "./sim-network.ts";
import type { Simulation } from "./simulation.ts";

export const hostileRoles = [
  "liar",
  "flooder",
  "impersonator",
  "replayer",
  "equivocator",
  "eclipser",
] as const;
/** And one that an organisation has revoked: revoke.ts has those. */
export type HostileRole = (typeof hostileRoles)[number] | "revoked";

const tickMs = 1_000;
const typeDigest = 7;
const typeAck = 2;
const typeTrust = 15;

export function hostile(settings: Settings): Outcome {
  const minutes = settings.minutes ?? 5;
  const simulation = settled(settings, 20_000);
  const isHostile = (host: SimHost): boolean => host.index % 3 === 2;
  const honest = simulation.hosts.filter((host) => !isHostile(host));
  const enemies = simulation.hosts.filter(isHostile);
  const wrong = { deaths: 0, suspicions: 0 };
  simulation.onState = (observer, slot, state) => {
    if (isHostile(observer)) return;
    const subject = simulation.hostInSlot(observer, slot);
    if (subject === undefined || isHostile(subject)) return;
    if (state === "dead" || state === "left") wrong.deaths += 1;
    else if (state === "suspect") wrong.suspicions += 1;
  };
  for (const [i, enemy] of enemies.entries()) {
    turn(simulation, enemy, hostileRoles[i % hostileRoles.length] as HostileRole, honest);
  }
  const before = sessionsLost(honest);
  const invariants =
    settings.nodes <= 300 ? new Invariants(simulation, (host) => !isHostile(host)) : undefined;
  simulation.run(simulation.nowMs + minutes * 60_000, 10_000, () => {
    invariants?.check();
    return false;
  });
  const altered = alteredRecords(simulation, honest);
  const removed = honest.reduce(
    (sum, host) => sum + (honest.length - 1 - knownHonest(host, honest)),
    0,
  );
  const { messages, drops } = countersOf(honest);
  const violations = invariants?.count ?? 0;
  const holds = wrong.deaths === 0 && altered === 0 && removed === 0 && violations === 0;
  return outcome(simulation, holds, {
    minutes,
    hostile_nodes: enemies.length,
    honest_declared_dead: wrong.deaths,
    honest_suspected: wrong.suspicions,
    honest_removed: removed,
    records_altered: altered,
    sessions_ended_early: sessionsLost(honest) - before,
    violations,
    first_violation: invariants?.violations[0] ?? "none",
    messages_over_budget: drops,
    messages_received: messages,
    pairs_correct_percent: round(100 * shareOf(simulation)),
  });
}

/** From now on the host does its worst, once a second. */
export function turn(
  simulation: Simulation,
  host: SimHost,
  role: HostileRole,
  victims: readonly SimHost[],
): void {
  const heard: Uint8Array[] = [];
  host.intercept = (packet) => {
    if (role === "replayer" && packet.bytes !== undefined && heard.length < 64) {
      heard.push(packet.bytes.slice());
    }
    if (role === "revoked") return packet.bytes?.[0] === typeTrust;
    return role === "eclipser" && isHidden(packet);
  };
  const act = (): void => {
    if (!host.isUp) return;
    const targets = host.running.membership.table.pickLinked(simulation.random, 4, 0);
    for (const bytes of deeds(simulation, host, role, victims, heard)) sendTo(host, targets, bytes);
    simulation.at(simulation.nowMs + tickMs, act);
  };
  simulation.at(simulation.nowMs + simulation.random.below(tickMs), act);
}

/** Whoever hides others passes no ack on and believes no digest. */
function isHidden({ bytes }: Packet): boolean {
  return bytes?.[0] === typeAck || bytes?.[0] === typeDigest;
}

function deeds(
  simulation: Simulation,
  host: SimHost,
  role: HostileRole,
  victims: readonly SimHost[],
  heard: readonly Uint8Array[],
): Uint8Array[] {
  const { random } = simulation;
  const some = (): SimHost => victims[random.below(victims.length)] as SimHost;
  switch (role) {
    case "liar": {
      // All liars name the same victim in the same second, as often as they like.
      const victim = victims[Math.floor(simulation.nowMs / tickMs) % victims.length] as SimHost;
      return [accusation(host, victim, host)].flat();
    }
    case "flooder":
      return Array.from({ length: 50 }, (_, i) => flood(simulation, host, i));
    case "impersonator":
      return [
        ...accusation(host, some(), some()),
        ...forgedLeave(host, some()),
        forgedRecord(simulation, host, some()),
      ];
    case "replayer":
      return heard.slice(0, 16);
    case "equivocator":
      return [...bothWays(host)];
    case "revoked":
      // Shows itself to whoever still listens: its record, and that it lives.
      return [
        encodeMessage({ kind: "records", records: [host.running.membership.table.recordBytes(0)] }),
        bothWays(host)[0] as Uint8Array,
        encodeMessage({ kind: "ping", number: 1, statements: [] }),
      ];
    default:
      return [
        encodeMessage({ kind: "digest", complete: new Uint8Array(32).fill(255), entries: [] }),
      ];
  }
}

function accusation(host: SimHost, victim: SimHost, accuser: SimHost): Uint8Array[] {
  const { table } = host.running.membership;
  const slot = table.find(victim.identity.publicKey);
  if (slot === undefined || accuser === victim) return [];
  const body = statementBody({
    kind: statementKinds.suspect,
    subject: victim.identity.publicKey,
    sequence: table.sequence(slot),
    incarnation: table.incarnation(slot),
    accuser: accuser.identity.publicKey,
  });
  return [gossip(signed(host, body))];
}

function forgedLeave(host: SimHost, victim: SimHost): Uint8Array[] {
  const { table } = host.running.membership;
  const slot = table.find(victim.identity.publicKey);
  if (slot === undefined) return [];
  const body = statementBody({
    kind: statementKinds.leave,
    subject: victim.identity.publicKey,
    sequence: table.sequence(slot),
    incarnation: table.incarnation(slot) + 1,
  });
  return [gossip(signed(host, body))];
}

/** A newer record of the victim, with another key in it. */
function forgedRecord(simulation: Simulation, host: SimHost, victim: SimHost): Uint8Array {
  const { table } = host.running.membership;
  const slot = table.find(victim.identity.publicKey) ?? 0;
  const record = table.recordBytes(slot).slice();
  record[32] = (record[32] as number) + 1;
  record.set(simulation.random.bytes(32), 48);
  return encodeMessage({ kind: "records", records: [record] });
}

function bothWays(host: SimHost): Uint8Array[] {
  const { table } = host.running.membership;
  const words = [statementKinds.alive, statementKinds.leave].map((kind) =>
    signed(
      host,
      statementBody({
        kind,
        subject: host.identity.publicKey,
        sequence: table.sequence(0),
        incarnation: table.incarnation(0) + 5,
      }),
    ),
  );
  return words.map(gossip);
}

/** Pings, garbage, and words of subjects that nobody has heard of. */
function flood(simulation: Simulation, host: SimHost, turn: number): Uint8Array {
  const { random } = simulation;
  if (turn % 3 === 0) return encodeMessage({ kind: "ping", number: turn, statements: [] });
  if (turn % 3 === 1) return random.bytes(1 + random.below(messageBytesMax));
  const statements = Array.from({ length: 10 }, () =>
    signed(
      host,
      statementBody({
        kind: statementKinds.alive,
        subject: random.bytes(32),
        sequence: 1,
        incarnation: 0,
      }),
    ),
  );
  return encodeMessage({ kind: "gossip", statements });
}

function gossip(statement: Uint8Array): Uint8Array {
  return encodeMessage({ kind: "gossip", statements: [statement] });
}

/** By the host's own key, whatever the body claims: no other is in its reach. */
function signed(host: SimHost, body: Uint8Array): Uint8Array {
  const { crypto, networkId } = host.simulation;
  const signature = statementSigner(crypto, networkId, host.identity).sign(body);
  const out = new Uint8Array(body.length + signature.length);
  out.set(body);
  out.set(signature, body.length);
  return out;
}

function sendTo(host: SimHost, targets: readonly number[], bytes: Uint8Array): void {
  const { table } = host.running.membership;
  for (const slot of targets) {
    const peer = host.running.peerOf(host.now, table.identity(slot));
    if (peer !== undefined) host.peers?.send(host.now, peer.ref, bytes);
  }
}

function alteredRecords(simulation: Simulation, honest: readonly SimHost[]): number {
  const own = new Set(honest.map((host) => host.running.membership.table.record(0)));
  let altered = 0;
  for (const host of honest) {
    const { table } = host.running.membership;
    for (let slot = 1; slot < table.slotsEnd; slot += 1) {
      const subject = simulation.hostInSlot(host, slot);
      if (subject === undefined || subject.index % 3 === 2) continue;
      if (!own.has(table.record(slot))) altered += 1;
    }
  }
  return altered;
}

function knownHonest(host: SimHost, honest: readonly SimHost[]): number {
  const { table } = host.running.membership;
  let known = 0;
  for (const other of honest) {
    const slot = other === host ? undefined : table.find(other.identity.publicKey);
    if (slot !== undefined && table.stateCode(slot) !== stateCodes.left) known += 1;
  }
  return known;
}

function sessionsLost(honest: readonly SimHost[]): number {
  return honest.reduce((sum, host) => sum + (host.peers?.counters.ended_early ?? 0), 0);
}

function countersOf(honest: readonly SimHost[]): { messages: number; drops: number } {
  let messages = 0;
  let drops = 0;
  for (const host of honest) {
    messages += host.running.membership.counters.messagesReceived;
    drops += host.running.membership.counters.overBudget;
  }
  return { messages, drops };
}
