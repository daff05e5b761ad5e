/**
 * From evidence to the first broken link: the chain from this machine to a member, in the order in
 * which each needs the one before, in words with the mend. Pure; how the evidence was got is
 * doctor.ts'. Where the evidence does not tell, it says what remains possible.
 */
import type { NodeView } from "../daemon/view.ts";

export type LinkState = "ok" | "broken" | "unknown";

export interface Link {
  readonly link: string;
  readonly state: LinkState;
  readonly words: string;
  /** Empty where there is nothing to do. */
  readonly mend: string;
}

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
  readonly identity: "there" | "absent" | "unreadable";
  readonly stateDirectory: string;
  readonly wallMs: number;
  /** The clock cannot be before this: the program is not older. */
  readonly builtMs: number;
}

/** What the own daemon knows, for the part without a member. */
export interface NodeEvidence {
  readonly trusted: number;
  readonly organisations: number;
  /** It holds an invitation that was not redeemed yet. */
  readonly joining: boolean;
  readonly members: number;
  readonly connected: number;
  readonly port: number;
  readonly seeds: readonly { readonly place: string; readonly addresses: number }[];
  readonly counters: Readonly<Record<string, number>>;
}

export interface PeerEvidence {
  readonly name: string;
  readonly identity: string;
  readonly ownIdentity: string;
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
const clockSkewMsMax = 60_000;

export function machineLinks(evidence: MachineEvidence): readonly Link[] {
  const runs = evidence.daemon === "answers";
  return [
    evidence.config === undefined
      ? ok("configuration", "it can be used")
      : broken("configuration", evidence.config, "see meshvpn config check"),
    clockLink(evidence),
    evidence.identity === "there"
      ? ok("identity", `in ${evidence.stateDirectory}`)
      : evidence.identity === "absent"
        ? broken("identity", `there is none in ${evidence.stateDirectory}`, "run meshvpn keygen")
        : unknown("identity", "it cannot be read by this user", "run doctor as root"),
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

export function nodeLinks(evidence: NodeEvidence): readonly Link[] {
  const { members, connected, port, seeds, counters } = evidence;
  const trusted = evidence.trusted + evidence.organisations;
  const out: Link[] = [ok("port", `UDP ${port}`)];
  out.push(trustLink(evidence));
  const unresolved = seeds.filter(({ addresses }) => addresses === 0).map(({ place }) => place);
  if (unresolved.length > 0) {
    const words = `no address is known for ${unresolved.join(", ")}`;
    out.push(broken("seeds", words, "check the name and DNS, or give an address"));
  } else if (trusted > 0 && connected === 0) out.push(unreachedSeeds(evidence));
  else out.push(ok("seeds", seeds.length === 0 ? "none is named" : `${seeds.length} are named`));
  out.push(...refusals(counters));
  if (trusted > 0) {
    out.push(
      connected > 0
        ? ok("members", `${connected} of ${members} are connected`)
        : broken("members", "none is connected", "ask for one: meshvpn doctor PEER"),
    );
  }
  return out;
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

const silentCauses =
  "that node is down, the address or port is wrong, a firewall drops UDP on the way, it does not trust this node, or it is of another network";

/** What this node refused lately: the cause of somebody else's silence. */
function refusals(counters: Readonly<Record<string, number>>): readonly Link[] {
  const out: Link[] = [];
  const notAdmitted = counters.introductions_not_admitted ?? 0;
  if (notAdmitted > 0) {
    out.push(
      unknown(
        "refused",
        `${notAdmitted} introductions came from identities that are not trusted here`,
        "if one of them is wanted: meshvpn trust KEY",
      ),
    );
  }
  const notAuthentic =
    (counters.introductions_not_authentic ?? 0) + (counters.records_not_authentic ?? 0);
  if (notAuthentic > 0) {
    out.push(
      unknown(
        "refused",
        `${notAuthentic} introductions or records did not hold: forged, or of another network`,
        "give every node the same --network",
      ),
    );
  }
  return out;
}

export function peerLinks(evidence: PeerEvidence): readonly Link[] {
  const { name, own, theirs, identity, ownIdentity } = evidence;
  const out: Link[] = [];
  out.push(
    own.trusts
      ? ok("trust here", `${name} is trusted`)
      : broken("trust here", `${name} is not trusted here`, `run meshvpn trust ${identity}`),
  );
  if (theirs !== undefined) {
    out.push(
      theirs.view.trusts
        ? ok("trust there", `${name} trusts this node, as it says ${theirs.through}`)
        : broken(
            "trust there",
            `${name} does not trust this node, as it says ${theirs.through}`,
            `run there: meshvpn trust ${ownIdentity}`,
          ),
    );
  }
  out.push(
    own.state === null || own.state === "not met"
      ? recordMissing(evidence)
      : ok("record", `${name} is known, and ${own.state}`),
  );
  if (theirs !== undefined)
    out.push(clocks(evidence, theirs.view), prefixes(evidence, theirs.view));
  out.push(handshake(evidence), path(evidence), mtu(evidence));
  return out;
}

function recordMissing({ name, theirs, witnesses }: PeerEvidence): Link {
  const words = `${name} has not been heard of`;
  if (theirs !== undefined) {
    const met = theirs.view.state !== null && theirs.view.state !== "not met";
    const other = met ? "it has heard of this node" : "it has not heard of this node either";
    return broken("record", `${words}; ${other}`, "name one of the two as --seed of the other");
  }
  const asked = witnesses === 0 ? "no common member could be asked" : "no common member reaches it";
  return broken(
    "record",
    `${words}, and ${asked}; it remains that ${silentCauses}`,
    "run meshvpn doctor there; it says whom it refused",
  );
}

function clocks({ name, wallMs, own }: PeerEvidence, view: NodeView): Link {
  const skewMs = Math.abs(view.wall_ms - wallMs);
  if (skewMs <= clockSkewMsMax) return ok("clocks", "they agree");
  const words = `the clock of ${name} is ${Math.round(skewMs / 1000)} s away from that of ${own.name}`;
  return broken("clocks", words, "set both: timedatectl set-ntp true");
}

function prefixes({ name, own }: PeerEvidence, view: NodeView): Link {
  if (own.prefix === view.prefix) return ok("addresses", `both are of ${own.prefix}`);
  const words = `${name} is of ${view.prefix} and this node of ${own.prefix}, so IPv4 does not pass`;
  return broken("addresses", words, "give every node the same --prefix");
}

function handshake({ name, own, theirs }: PeerEvidence): Link {
  if (own.path !== "-") return ok("handshake", `${own.handshake_age_s ?? "?"} s ago`);
  if (own.state === null || own.state === "not met") {
    return unknown("handshake", "there was none, for want of a record", "");
  }
  if (theirs?.view.trusts === true && own.trusts) {
    const words = `both trust each other and know of each other, and no handshake passes: UDP is dropped between them`;
    return broken("handshake", words, `let UDP ${theirs.view.port} in there, or ${own.port} here`);
  }
  return broken(
    "handshake",
    `none passes to ${name}: ${silentCauses}`,
    "run meshvpn doctor there; it says whom it refused",
  );
}

function path({ name, own, small }: PeerEvidence): Link {
  if (own.path === "-") return unknown("path", "there is none without a handshake", "");
  if (small) return ok("path", `${own.path}, ${own.rtt_ms === null ? "?" : own.rtt_ms} ms`);
  const words = `the path ${own.path} is there and ${name} does not answer a ping through it`;
  return broken("path", words, "look for a firewall on the tunnel's interface there");
}

function mtu({ name, own, small, large }: PeerEvidence): Link {
  if (!small) return unknown("mtu", "it can be told only where small packets pass", "");
  if (large) return ok("mtu", `${own.mtu} bytes pass`);
  const words = `small packets reach ${name} and those of ${own.mtu} bytes do not: the network below carries less`;
  return broken("mtu", words, "a smaller --mtu on every node; 1280 passes nearly everywhere");
}

export function firstBroken(links: readonly Link[]): Link | undefined {
  return links.find(({ state }) => state === "broken");
}

function ok(link: string, words: string): Link {
  return { link, state: "ok", words, mend: "" };
}

function broken(link: string, words: string, mend: string): Link {
  return { link, state: "broken", words, mend };
}

function unknown(link: string, words: string, mend: string): Link {
  return { link, state: "unknown", words, mend };
}
