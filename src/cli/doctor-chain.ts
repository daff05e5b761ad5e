/**
 * From evidence to links, of this machine and of this node: in the order in which each needs the one
 * before, in words with the mend. Pure; how the evidence was got is doctor.ts', and what lies between
 * this node and a member is doctor-peer.ts'.
 */
import { diskFull, type MeshError } from "../base/errors.ts";
import { certificateMend, type RefusedStatus, refusalWords, timeText } from "../daemon/refusal.ts";
import { identityMend } from "../daemon/state.ts";
import type { DomainStatus } from "../daemon/surroundings.ts";
import type { SeedWarning } from "../daemon/warnings.ts";
import { broken, type Link, ok, unknown } from "./doctor-link.ts";

/** Of this machine, before anything is asked of a daemon. */
export interface MachineEvidence {
  readonly config: string | undefined;
  /** Whether the daemon answers; where it does, what it needed is there. */
  readonly daemon: "answers" | "not running" | "permission denied" | "silent";
  readonly socket: string;
  readonly isRoot: boolean;
  readonly netAdmin: boolean;
  readonly tun: "there" | "absent" | "no device";
  readonly tunWanted: boolean;
  /** The error is the daemon's own, which would not start with it. */
  readonly identity: "there" | "absent" | "unreadable" | MeshError;
  readonly stateDirectory: string;
  /** Nothing can be kept in it. */
  readonly stateUnwritable: boolean;
  /** What is wrong in it, which a daemon that runs has not read yet; undefined: nothing. */
  readonly policy: string | undefined;
  readonly wallMs: number;
  /** The clock cannot be before this: the program is not older. */
  readonly builtMs: number;
}

/** What the own daemon knows, for the part without a member. */
export interface NodeEvidence {
  /** Text. */
  readonly identity: string;
  /** This node's own; null: it has none. */
  readonly certificate: { readonly expires: number } | null;
  /** An organisation that is trusted here has put this node itself out. */
  readonly revoked: boolean;
  /** Who asked to be let in and was not, the last first. */
  readonly refused: readonly RefusedStatus[];
  readonly trusted: number;
  readonly organisations: number;
  /** It holds an invitation that was not redeemed yet. */
  readonly joining: boolean;
  readonly members: number;
  readonly connected: number;
  readonly port: number;
  /** Of this node in the mesh. */
  readonly addresses: readonly string[];
  /** Asked where members are, by --dns; absent in older versions. */
  readonly domains?: readonly DomainStatus[];
  readonly seeds: readonly { readonly place: string; readonly addresses: number }[];
  /** Seeds that are not asked as trust stands; absent in older versions. */
  readonly unasked?: readonly SeedWarning[];
  readonly counters: Readonly<Record<string, number>>;
}

export function machineLinks(evidence: MachineEvidence): readonly Link[] {
  const runs = evidence.daemon === "answers";
  return [
    evidence.config === undefined
      ? ok("configuration", "it can be used")
      : broken("configuration", evidence.config, "see meshvpn config check"),
    clockLink(evidence),
    identityLink(evidence),
    ...(evidence.stateUnwritable ? [stateLink(evidence)] : []),
    ...(evidence.policy === undefined
      ? []
      : [broken("policy", `${evidence.policy}, or no daemon starts`, "see meshvpn policy check")]),
    runs || evidence.netAdmin
      ? ok("privileges", runs ? "the daemon has what it takes" : "CAP_NET_ADMIN")
      : broken(
          "privileges",
          "CAP_NET_ADMIN is missing, without which there is no interface",
          evidence.isRoot ? "give this container or service NET_ADMIN" : "run as root",
        ),
    tunLink(evidence, runs),
    daemonLink(evidence),
  ];
}

function identityLink({ identity, stateDirectory }: MachineEvidence): Link {
  switch (identity) {
    case "there":
      return ok("identity", `in ${stateDirectory}`);
    case "absent":
      return broken("identity", `there is none in ${stateDirectory}`, identityMend);
    case "unreadable":
      return unknown("identity", "it cannot be read by this user", "run doctor as root");
    default:
      return broken("identity", `${identity.message}: ${identity.why}`, identity.remedy);
  }
}

/** A daemon goes on with it, and forgets what it could not keep. */
function stateLink({ stateDirectory }: MachineEvidence): Link {
  const [why, mend] = diskFull;
  return broken("state", `nothing can be kept in ${stateDirectory}: ${why}`, mend);
}

function clockLink({ wallMs, builtMs }: MachineEvidence): Link {
  if (wallMs >= builtMs) return ok("clock", new Date(wallMs).toISOString());
  const words = `it says ${new Date(wallMs).toISOString()}, before this program was made`;
  return broken("clock", words, "set it: timedatectl set-ntp true");
}

function tunLink({ tun, tunWanted }: MachineEvidence, runs: boolean): Link {
  if (!tunWanted) return ok("tun", "none is wanted");
  if (runs || tun === "there") return ok("tun", "/dev/net/tun");
  return tun === "absent"
    ? broken("tun", "there is no /dev/net/tun", "modprobe tun, or give the container that device")
    : broken("tun", "/dev/net/tun is no TUN device", "remove it, then mknod /dev/net/tun c 10 200");
}

function daemonLink({ daemon, socket }: MachineEvidence): Link {
  switch (daemon) {
    case "answers":
      return ok("daemon", `answers on ${socket}`);
    case "permission denied":
      return broken("daemon", `permission denied on ${socket}`, "run doctor as root");
    case "silent":
      return broken(
        "daemon",
        `it does not answer on ${socket}`,
        "see its log, or end and start it",
      );
    default:
      return broken("daemon", `nobody answers on ${socket}`, "run meshvpn up");
  }
}

function trustLink({ trusted, organisations, joining, members }: NodeEvidence): Link {
  if (joining) {
    const mend = "see that its issuer is up and UDP reaches it, or ask for another token";
    return broken("trust", "the invitation is not redeemed yet", mend);
  }
  if (trusted + organisations === 0 && members === 0) {
    const mend = "run meshvpn trust KEY or meshvpn join TOKEN";
    return broken("trust", "nobody is trusted, so there is no peer", mend);
  }
  const certified = organisations === 0 ? "" : ` and ${organisations} organisations`;
  return ok("trust", `${trusted} identities${certified} are trusted`);
}

/** By whose word this node comes in elsewhere, which nobody there would tell it. */
export function standingLinks(
  { identity, certificate, revoked }: Pick<NodeEvidence, "identity" | "certificate" | "revoked">,
  wallMs: number,
): readonly Link[] {
  if (revoked) {
    const words = "this node itself was revoked, and that holds for good: no member lets it in";
    const mend = "run meshvpn keygen --force, and come in anew under that identity";
    return [broken("certificate", words, mend)];
  }
  if (certificate === null) return [];
  const expiresMs = certificate.expires * 1000;
  if (expiresMs > wallMs) return [ok("certificate", `holds until ${timeText(expiresMs)}`)];
  const words = `this node's certificate expired on ${timeText(expiresMs)}: no member lets it in`;
  return [broken("certificate", words, certificateMend(identity))];
}

export function nodeLinks(evidence: NodeEvidence, wallMs: number): readonly Link[] {
  const { members, connected, port, seeds } = evidence;
  const trusted = evidence.trusted + evidence.organisations;
  const out: Link[] = [ok("port", `UDP ${port}`), ownAddresses(evidence)];
  out.push(...standingLinks(evidence, wallMs));
  out.push(trustLink(evidence));
  out.push(...domainLinks(evidence));
  const unasked = new Set<string>();
  for (const { subject, words, mend } of evidence.unasked ?? []) {
    unasked.add(subject);
    out.push((connected === 0 ? broken : unknown)("seeds", words, mend));
  }
  const asked = seeds.filter(({ place }) => !unasked.has(place));
  const unresolved = asked.filter(({ addresses }) => addresses === 0).map(({ place }) => place);
  if (unresolved.length > 0) {
    const words = `no address is known for ${unresolved.join(", ")}`;
    out.push(broken("seeds", words, "check the name and DNS, or give an address"));
  } else if (trusted > 0 && connected === 0) {
    if (asked.length > 0 || unasked.size === 0)
      out.push(unreachedSeeds({ ...evidence, seeds: asked }));
  } else out.push(ok("seeds", seeds.length === 0 ? "none is named" : `${seeds.length} are named`));
  out.push(...refusals(evidence, wallMs));
  if (trusted > 0) {
    out.push(
      connected > 0
        ? ok("members", `${connected} of ${members} are connected`)
        : broken("members", "none is connected", "ask for one: meshvpn doctor PEER"),
    );
  }
  return out;
}

/** What a domain should have said matters where nobody is reached. */
function domainLinks({ domains = [], connected, counters }: NodeEvidence): readonly Link[] {
  const passedOver = counters.introductions_hints_not_asked ?? 0;
  return domains.map(({ domain, hints, why, addresses }): Link => {
    const record = `_meshvpn.${domain}`;
    const state = connected === 0 ? broken : unknown;
    if (hints === 0) {
      const words = `${record} names no member: ${why ?? "it has not answered yet"}`;
      return state("dns", words, `give it a TXT record "meshvpn1 KEY@HOST:PORT"`);
    }
    if (addresses === 0) {
      const words = `${record} names ${hints} places, and none has an address`;
      return state("dns", words, "correct the host names in its records");
    }
    if (connected === 0 && passedOver > 0) {
      const words = `${record} names members that are not trusted here, so they are not asked`;
      return broken("dns", words, "run meshvpn trust KEY for those that are wanted");
    }
    return ok("dns", `${record} names ${hints} places`);
  });
}

function ownAddresses({ addresses }: NodeEvidence): Link {
  if (addresses.some((each) => !each.includes(":"))) return ok("addresses", addresses.join(", "));
  const words = "this node has no IPv4 address: members hold all that it may claim";
  return broken("addresses", words, "give every node a larger --prefix");
}

/** Asked, and nobody answered: from here no more can be seen. */
function unreachedSeeds({ seeds, counters }: NodeEvidence): Link {
  const places = seeds.map(({ place }) => place).join(", ");
  if (seeds.length === 0) {
    const words = "none is named, and no member that is remembered answers";
    return broken("seeds", words, "start with --seed HOST:PORT on this side or on the other");
  }
  const [sent, replies] = [
    counters.introductions_requests_sent ?? 0,
    counters.introductions_replies_received ?? 0,
  ];
  if (replies > 0) return ok("seeds", `${replies} answers came`);
  const words = `${places} did not answer (asked ${sent} times): ${silentCauses}`;
  return broken("seeds", words, "run meshvpn doctor there; it says whom it refused");
}

export const silentCauses =
  "that node is down, the address or port is wrong, a firewall drops UDP on the way, it does not trust this node, or it is of another network";

/** What this node refused lately: the cause of somebody else's silence. */
function refusals({ refused, counters }: NodeEvidence, wallMs: number): readonly Link[] {
  const out = refused.map((each): Link => {
    const { words, mend } = refusalWords(each, each.identity, wallMs);
    const { identity, name, wanted, count, seconds_ago: ago } = each;
    const called = name === "" ? identity : `${identity}, which calls itself ${name},`;
    const said = `${called} ${words}: refused ${count} times, ${ago} s ago`;
    return wanted
      ? broken("refused", said, mend)
      : unknown("refused", said, `if it is wanted: ${mend}`);
  });
  if (out.length > 0) return out;
  const notAdmitted = counters.introductions_not_admitted ?? 0;
  if (notAdmitted > 0) {
    const words = `${notAdmitted} introductions were refused since the start, none of them lately`;
    out.push(unknown("refused", words, "see meshvpn logs"));
  }
  return out;
}
