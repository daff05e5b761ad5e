/**
 * The links between this node and one member, from what both ends say where both can be asked: trust,
 * clocks, record, addresses, NATs, handshake, path, MTU. Pure; in the order in which each needs the one
 * before. Where the evidence does not tell, it says what remains possible.
 */
import type { NatKind } from "../base/candidate.ts";
import { type RefusalStatus, refusalWords } from "../daemon/refusal.ts";
import type { NodeView } from "../daemon/view.ts";
import { type NodeEvidence, silentCauses, standingLinks } from "./doctor-chain.ts";
import { broken, type Link, ok, unknown } from "./doctor-link.ts";

export interface PeerEvidence {
  readonly node: Pick<NodeEvidence, "identity" | "certificate" | "revoked">;
  readonly name: string;
  readonly identity: string;
  readonly own: NodeView;
  /** What the member says, and through whom; undefined: it could not be asked. */
  readonly theirs: { readonly view: NodeView; readonly through: string } | undefined;
  /** Common members that were asked in its place. */
  readonly witnesses: number;
  /** Through the tunnel: a small packet, and one as large as its MTU. */
  readonly small: boolean;
  readonly large: boolean;
  readonly wallMs: number;
}

/** Beyond it, what is signed with a time is refused. */
const lookThere = "run meshvpn doctor there; it says whom it refused";
const clockSkewMsMax = 60_000;
/** Who is not reached is asked again within a minute. */
const askedLatelyS = 90;

export function peerLinks(evidence: PeerEvidence): readonly Link[] {
  const { name, own, theirs, node, wallMs } = evidence;
  const out: Link[] = [...standingLinks(node, wallMs), trustHere(evidence)];
  if (theirs !== undefined) out.push(trustThere(evidence, theirs));
  out.push(...distance(evidence));
  out.push(
    own.state === null || own.state === "not met"
      ? recordMissing(evidence)
      : ok("record", `${name} is known, and ${own.state}`),
  );
  if (theirs !== undefined)
    out.push(clocks(evidence, theirs.view), prefixes(evidence, theirs.view));
  out.push(...policies(evidence));
  out.push(nat(evidence), handshake(evidence), path(evidence), mtu(evidence));
  return out;
}

function trustHere({ name, identity, own, wallMs }: PeerEvidence): Link {
  if (own.trusts) return ok("trust here", `${name} is trusted`);
  const { words, mend } = refusalWords(own.refusal ?? untrusted, identity, wallMs);
  return broken("trust here", `${name} ${words}`, mend);
}

const untrusted: RefusalStatus = { why: "not_trusted", about_ms: null };

function trustThere(
  { name, node: { identity } }: PeerEvidence,
  { view, through }: NonNullable<PeerEvidence["theirs"]>,
): Link {
  const source = `as it says ${through}`;
  if (view.trusts) return ok("trust there", `${name} trusts this node, ${source}`);
  const { why } = view.refusal ?? untrusted;
  if (why === "not_trusted") {
    const words = `${name} does not trust this node, ${source}`;
    return broken("trust there", words, `run there: meshvpn trust ${identity}`);
  }
  const { words, mend } = refusalWords(view.refusal ?? untrusted, identity, view.wall_ms);
  return broken("trust there", `at ${name} this node ${words}, ${source}`, mend);
}

/** What it sends comes, and does not hold although it is trusted. */
function distance({ name, identity, own, wallMs }: PeerEvidence): readonly Link[] {
  const why = own.refusal?.why;
  if (!own.trusts || own.refusal == null || (why !== "too_old" && why !== "other_network"))
    return [];
  const { words, mend } = refusalWords(own.refusal, identity, wallMs);
  return [broken(why === "too_old" ? "clocks" : "network", `${name} ${words}`, mend)];
}

function recordMissing({ name, theirs, witnesses }: PeerEvidence): Link {
  const words = `${name} has not been heard of`;
  if (theirs !== undefined) {
    const met = theirs.view.state !== null && theirs.view.state !== "not met";
    const other = met ? "it has heard of this node" : "it has not heard of this node either";
    return broken("record", `${words}; ${other}`, "name one of the two as --seed of the other");
  }
  const asked = witnesses === 0 ? "no common member could be asked" : "no common member reaches it";
  return broken("record", `${words}, and ${asked}; it remains that ${silentCauses}`, lookThere);
}

function clocks({ name, wallMs, own }: PeerEvidence, view: NodeView): Link {
  const skewMs = Math.abs(view.wall_ms - wallMs);
  if (skewMs <= clockSkewMsMax) return ok("clocks", "they agree");
  const words = `the clock of ${name} is ${Math.round(skewMs / 1000)} s away from that of ${own.name}`;
  return broken("clocks", words, "set both: timedatectl set-ntp true");
}

function prefixes({ name, own }: PeerEvidence, view: NodeView): Link {
  const has = own.about_addresses ?? [];
  if (own.prefix === view.prefix) {
    if (has.length !== 1) return ok("addresses", `both are of ${own.prefix}`);
    const words = `${name} has no IPv4 address here: another member holds what it claims`;
    return broken("addresses", words, "give every node a larger --prefix, or use IPv6");
  }
  const words = `${name} is of ${view.prefix} and this node of ${own.prefix}, so IPv4 does not pass`;
  return broken("addresses", words, "give every node the same --prefix");
}

/** What each lets the other begin; who is kept out on purpose is no fault of the node that keeps him out. */
function policies({ name, own, theirs, node, identity }: PeerEvidence): readonly Link[] {
  const out: Link[] = [];
  const here = own.policy;
  if (here !== undefined && here.ping === "deny") {
    const words = `${name} is let in here to ${allowedText(here)}; its pings are not: ${here.by}`;
    const mend = `if more is wanted: meshvpn policy allow ${identity} PROTOCOL PORT`;
    out.push(unknown("policy here", words, mend));
  }
  const there = theirs?.view.policy;
  if (there === undefined) return out;
  if (there.ping === "allow") return [...out, ok("policy", `${name} lets pings in: ${there.by}`)];
  const words = `${name} lets this node in to ${allowedText(there)}; its pings are not: ${there.by}`;
  const mend = `run there: meshvpn policy allow ${node.identity} PROTOCOL PORT, or icmp for pings`;
  const link = there.allowed.length === 0 ? broken : unknown;
  return [...out, link("policy", words, mend)];
}

function allowedText({ allowed }: NonNullable<NodeView["policy"]>): string {
  return allowed.length === 0 ? "nothing" : `"${allowed.join('", "')}"`;
}

/** Two of the hard kind find no direct path, so it takes somebody between. */
function nat({ name, own, theirs }: PeerEvidence): Link {
  const here = own.nat ?? "unknown";
  const there = theirs?.view.nat ?? own.about_nat ?? "unknown";
  const words = `${natWords[here]} here, ${natWords[there]} at ${name}`;
  if (here !== "hard" || there !== "hard" || !isStuck(own)) return ok("nat", words);
  return broken("nat", `${words}, so there is no direct path, and nobody relays`, natMend);
}

function isStuck({ path, relay_offered: offered }: NodeView): boolean {
  return path === "-" || (path.startsWith("relay ") && offered === false);
}

const natWords: Readonly<Record<NatKind, string>> = {
  unknown: "nothing is known of a NAT",
  none: "no NAT",
  easy: "a NAT with one port for all",
  hard: "a NAT with another port for each destination",
  blocked: "no UDP gets out",
};

const natMend =
  "start a member that both reach with --relay, or forward a UDP port on one side and --announce it there";

function handshake({ name, own, theirs }: PeerEvidence): Link {
  if (own.path !== "-") return ok("handshake", `${own.handshake_age_s ?? "?"} s ago`);
  if (own.state === null || own.state === "not met") {
    return unknown("handshake", "there was none, for want of a record", "");
  }
  const askedS = own.asked_age_s ?? Number.POSITIVE_INFINITY;
  if (askedS <= askedLatelyS && own.trusts && own.refusal == null) {
    const words = `what ${name} sends arrives here (${askedS} s ago), and what is sent there is not answered: UDP is dropped on the way there`;
    return broken("handshake", words, "let UDP from here in there, at its --port");
  }
  if (theirs?.view.trusts === true && own.trusts) {
    const words = `both trust each other and know of each other, and no handshake passes: UDP is dropped between them`;
    return broken("handshake", words, `let UDP ${theirs.view.port} in there, or ${own.port} here`);
  }
  return broken("handshake", `none passes to ${name}: ${silentCauses}`, lookThere);
}

function path({ name, own, theirs, small }: PeerEvidence): Link {
  if (own.path === "-") return unknown("path", "there is none without a handshake", "");
  if (isStuck(own)) {
    const words = `packets for ${name} take the ${own.path}, which does not offer that: handshakes pass, and 16 KiB a second`;
    return broken(
      "path",
      words,
      "start that member with --relay, or see why UDP does not pass directly",
    );
  }
  if (small) return ok("path", `${own.path}, ${own.rtt_ms === null ? "?" : own.rtt_ms} ms`);
  if (theirs?.view.policy?.ping === "deny") {
    const rtt = own.rtt_ms === null ? "" : `, ${own.rtt_ms} ms`;
    return ok("path", `${own.path}${rtt} by gossip's own probes, for pings are not let in there`);
  }
  const words = `the path ${own.path} is there and ${name} does not answer a ping through it`;
  switch (own.state) {
    case "left":
      return broken("path", `${words}: it said that it goes`, "run meshvpn up there");
    case "dead":
      return broken("path", `${words}, and nobody hears it: ${silentCauses}`, lookThere);
    default:
      return broken(
        "path",
        words,
        "look for a policy or a firewall on the tunnel's interface there",
      );
  }
}

function mtu({ name, own, small, large }: PeerEvidence): Link {
  if (!small) return unknown("mtu", "it can be told only where small packets pass", "");
  if (large) return ok("mtu", `${own.mtu} bytes pass`);
  const words = `small packets reach ${name} and those of ${own.mtu} bytes do not: the network below carries less`;
  return broken("mtu", words, "a smaller --mtu on every node; 1280 passes nearly everywhere");
}
