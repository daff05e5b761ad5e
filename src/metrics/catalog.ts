/**
 * Every metric that a node shows, named once: what it counts, in which unit, under which labels. The
 * counters are those of `status --counters`, by the same names; a test holds both lists against each
 * other, so one that is added to a core is described here or the tests fail.
 */
import { counterHelp } from "./counters.ts";

export interface Metric {
  /** Without `_total`, which the form of a counter adds. */
  readonly name: string;
  readonly kind: "counter" | "gauge";
  readonly help: string;
  readonly labels: readonly string[];
}

const member = ["identity", "member"] as const;

/** What is not a plain counter. */
export const metrics = {
  build: gauge("meshvpn_build_info", "Always 1; what runs here", ["aead", "version"]),
  node: gauge("meshvpn_node_info", "Always 1; who this node is", ["identity", "name", "network"]),
  started: gauge("meshvpn_start_time_seconds", "Unix time at which the daemon started"),
  ready: gauge("meshvpn_ready", "1 where /readyz says so"),
  trusted: gauge("meshvpn_trusted_identities", "Identities that are trusted here"),
  members: gauge("meshvpn_members", "Members by what gossip says of them", ["state"]),
  connected: gauge("meshvpn_members_connected", "Members that packets can be sent to now"),
  unlisted: gauge("meshvpn_members_unlisted", "Members beyond those that have series of their own"),
  memberConnected: gauge("meshvpn_member_connected", "1 where packets can be sent to it now", [
    ...member,
    "path",
  ]),
  memberRtt: gauge("meshvpn_member_rtt_seconds", "Round trip of the last probe", member),
  memberHandshake: gauge(
    "meshvpn_member_handshake_age_seconds",
    "Since the last handshake with it",
    member,
  ),
  memberReceived: counter("meshvpn_member_received_bytes", "From it, through the tunnel", member),
  memberSent: counter("meshvpn_member_sent_bytes", "To it, through the tunnel", member),
  memory: gauge("process_resident_memory_bytes", "Resident memory"),
  cpu: counter("process_cpu_seconds", "User and system time"),
} as const satisfies Readonly<Record<string, Metric>>;

function counter(name: string, help: string, labels: readonly string[] = []): Metric {
  return { name, kind: "counter", help, labels };
}

function gauge(name: string, help: string, labels: readonly string[] = []): Metric {
  return { name, kind: "gauge", help, labels };
}

/** Where a counter's own name breaks the rules for names of metrics. */
const renamed: Readonly<Record<string, string>> = {
  dataplane_counter_limit: "dataplane_nonces_used_up",
};

/** The metric of a counter; undefined where nobody described it. */
export function counterMetric(name: string): Metric | undefined {
  const help = counterHelp[name];
  return help === undefined ? undefined : counter(`meshvpn_${renamed[name] ?? name}`, help);
}
