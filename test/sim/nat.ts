/**
 * Nodes behind every kind of NAT, of one address family only, or where UDP is blocked, and a few members
 * that relay. Now and then each node has something for another at random: within 5 s there must be a
 * session, by an address or through a relay, and what finding paths costs must stay within its bounds.
 */
import { relayWayOf } from "../../src/base/endpoint.ts";
import { guessesMax } from "../../src/nat/birthday.ts";
import { probesBurst, probesPerMinute, sideSocketsMax } from "../../src/nat/paths.ts";
import { nodeProbesBurst, nodeProbesPerSecond } from "../../src/nat/probe-limits.ts";
import { make, type Outcome, outcome, round, type Settings, watchDeaths } from "./scenarios.ts";
import type { SimHost } from "./sim-host.ts";
import { hostEndpoint6, streamEndpoint } from "./sim-nat.ts";
import type { Access } from "./sim-network.ts";
import type { Simulation } from "./simulation.ts";

/** Of a hundred nodes so many each; the rest of it is behind restricted NATs. */
const mix: readonly (readonly [string, number, Access])[] = [
  ["open", 12, {}],
  ["both families", 8, { ipv6: true }],
  ["full cone", 12, { nat: "open" }],
  ["restricted", 38, { nat: "restricted" }],
  ["symmetric", 8, { nat: "symmetric" }],
  ["symmetric random", 8, { nat: "symmetric_random" }],
  ["ipv6 only", 8, { ipv4: false, ipv6: true }],
  ["udp blocked", 6, { blocked: true }],
];
/** One in a hundred relays, three at least: they are the seeds, too. */
const relaysMin = 3;
const relayShare = 1 / 100;
const relayKibPerSecond = 1_024;
const restMs = 60_000;
/** Each node wants somebody so often. */
const wantEveryMs = 20_000;
/** Two attempts: what a relay has no session for yet it drops. */
const withinMs = 15_000;
const soonMs = 5_000;
const directWithinMs = 20_000;
/** Whatever is sent to one member within any minute. */
const probesMax = probesBurst + probesPerMinute + guessesMax + sideSocketsMax;
/** Of a node, whoever they are for. */
const nodeProbesMax = nodeProbesBurst + 60 * nodeProbesPerSecond;

interface Tally {
  wanted: number;
  connected: number;
  soon: number;
  direct: number;
  relayed: number;
  readonly failed: Map<string, number>;
}

export function nat(settings: Settings): Outcome {
  const minutes = settings.minutes ?? 2;
  const simulation = make(settings, { paths: true });
  const { hosts } = simulation;
  const relays = Math.max(relaysMin, Math.round(hosts.length * relayShare));
  const kinds = connect(simulation, relays);
  for (const host of hosts) host.start();
  simulation.introduceAll();
  // Who relays is read from records that come: those of relays come once more.
  for (const host of hosts.slice(0, relays)) host.running.offeredChanged(host.now);
  for (const host of hosts.slice(0, relays)) host.settle();
  simulation.run(restMs);

  const deaths = watchDeaths(simulation);
  const before = hosts.map(({ index, probes }) => [probes, simulation.bytesOut[index] as number]);
  const tally: Tally = {
    wanted: 0,
    connected: 0,
    soon: 0,
    direct: 0,
    relayed: 0,
    failed: new Map(),
  };
  for (const host of hosts) wantForEver(simulation, host, kinds, tally);
  let busiest = 0;
  let busiestNode = 0;
  const sent = hosts.map(({ probes }) => probes);
  for (const host of hosts) host.takeBusiest();
  simulation.run(simulation.nowMs + minutes * 60_000, 60_000, () => {
    busiest = Math.max(busiest, ...hosts.map((host) => host.takeBusiest()));
    for (const { index, probes } of hosts) {
      busiestNode = Math.max(busiestNode, probes - (sent[index] as number));
      sent[index] = probes;
    }
    return false;
  });
  const spent = hosts.map(({ index, probes }, i) => {
    const [probesBefore = 0, bytesBefore = 0] = before[i] as number[];
    const bytes = (simulation.bytesOut[index] as number) - bytesBefore;
    return { probes: (probes - probesBefore) / minutes, bytes: bytes / minutes };
  });
  const mean = (values: readonly number[]): number =>
    Math.round(values.reduce((a, b) => a + b, 0) / values.length);
  const nodes = spent.slice(relays);
  const isBounded = busiest <= probesMax && busiestNode <= nodeProbesMax;
  const holds = tally.connected === tally.wanted && isBounded && deaths.wrong === 0;
  return outcome(simulation, holds, {
    minutes,
    relays,
    wanted: tally.wanted,
    connected: tally.connected,
    connected_within_5_s_percent: round((100 * tally.soon) / tally.wanted),
    connected_percent: round((100 * tally.connected) / tally.wanted),
    direct_after_20_s_percent: round((100 * tally.direct) / (tally.direct + tally.relayed)),
    not_connected:
      [...tally.failed].map(([pair, count]) => `${pair}: ${count}`).join(", ") || "none",
    false_deaths: deaths.wrong,
    probes_per_node_per_minute: mean(nodes.map(({ probes }) => probes)),
    most_probes_of_a_node_in_a_minute: busiestNode,
    probes_of_a_node_allowed: nodeProbesMax,
    most_probes_to_a_member_in_a_minute: busiest,
    probes_to_a_member_allowed: probesMax,
    kib_out_per_node_per_minute: Math.round(mean(nodes.map(({ bytes }) => bytes)) / 1024),
    most_kib_out_of_a_node_per_minute: Math.round(
      Math.max(...nodes.map(({ bytes }) => bytes)) / 1024,
    ),
    kib_out_per_relay_per_minute: Math.round(
      mean(spent.slice(0, relays).map(({ bytes }) => bytes)) / 1024,
    ),
    sessions_per_node: mean(hosts.map((host) => host.running.membership.table.linkedCount)),
  });
}

/** Gives each host its place; what each is called. */
function connect(simulation: Simulation, relays: number): readonly string[] {
  const { hosts, network } = simulation;
  const drawn = mix.flatMap(([name, count, access]) =>
    Array.from({ length: count }, () => ({ name, access })),
  );
  // A stride that has no factor in common with a hundred: small meshes have some of each.
  const kinds = hosts.map((_, i) => (i < relays ? undefined : drawn[(i * 37) % drawn.length]));
  for (const [i, kind] of kinds.entries()) network.setAccess(i, kind?.access ?? { ipv6: true });
  for (const host of hosts.slice(0, relays)) host.relayKibPerSecond = relayKibPerSecond;
  for (const host of hosts) {
    const { blocked = false, ipv4 = true } = network.accessOf(host.index);
    host.seeds = hosts
      .slice(0, relaysMin)
      .filter((seed) => seed !== host)
      .map(({ identity, index, endpoint }) => ({
        identity: identity.publicKey,
        endpoint: blocked ? streamEndpoint(index) : ipv4 ? endpoint : hostEndpoint6(index),
      }));
  }
  return kinds.map((kind) => kind?.name ?? "relay");
}

function wantForEver(
  simulation: Simulation,
  host: SimHost,
  kinds: readonly string[],
  tally: Tally,
): void {
  const { random, hosts } = simulation;
  const want = (): void => {
    const other = hosts[random.below(hosts.length)] as SimHost;
    if (other !== host) wantOnce(simulation, host, other, kinds, tally);
    simulation.at(simulation.nowMs + wantEveryMs, want);
  };
  simulation.at(simulation.nowMs + random.below(wantEveryMs), want);
}

function wantOnce(
  simulation: Simulation,
  host: SimHost,
  other: SimHost,
  kinds: readonly string[],
  tally: Tally,
): void {
  const { publicKey } = other.identity;
  host.want(publicKey);
  let isSoon = false;
  simulation.at(simulation.nowMs + soonMs, () => {
    isSoon = host.endpointOf(publicKey) !== undefined;
  });
  simulation.at(simulation.nowMs + withinMs, () => {
    tally.wanted += 1;
    if (isSoon) tally.soon += 1;
    if (host.endpointOf(publicKey) !== undefined) {
      tally.connected += 1;
      return;
    }
    const pair = `${kinds[host.index]} to ${kinds[other.index]}`;
    tally.failed.set(pair, 1 + (tally.failed.get(pair) ?? 0));
  });
  simulation.at(simulation.nowMs + directWithinMs, () => {
    const endpoint = host.endpointOf(publicKey);
    if (endpoint === undefined) return;
    if (relayWayOf(endpoint) === undefined) tally.direct += 1;
    else tally.relayed += 1;
  });
}
