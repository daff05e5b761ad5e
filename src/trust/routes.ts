/**
 * Which of the networks that members offer are used here, and by whom they are reached. A member
 * offers in its record; an operator approves here, each network of each member, and chooses an exit
 * node. Pure. Always holds: nothing of the mesh's own networks goes to anybody by an offer, and one
 * prefix is reached by one member.
 */
import {
  familyOf,
  formatAddress,
  formatPrefix,
  type IpPrefix,
  isUnicast,
  maskHostBits,
  parseAddress,
  samePrefix,
} from "../base/ip.ts";

export const approvalsMax = 64;

export interface Approval {
  readonly identity: string;
  readonly prefix: IpPrefix;
}

/** What a member offers, and how it is. */
export interface Offer {
  readonly identity: string;
  readonly prefixes: readonly IpPrefix[];
  /** It was reached since this node started: before that nothing is led to it. */
  readonly met: boolean;
  /** It is not known to be gone. */
  readonly up: boolean;
}

export interface RouteQuestion {
  readonly offers: readonly Offer[];
  /** Of several for one prefix the first whose member is up counts. */
  readonly approvals: readonly Approval[];
  readonly exitNode: string | undefined;
  /** The networks that members' addresses are from. */
  readonly mesh: readonly IpPrefix[];
  /** Networks that this machine has an address in, and those that it offers itself. */
  readonly local: readonly IpPrefix[];
}

export type RouteState =
  /** Packets go there through the member. */
  | "used"
  /** Nobody has approved it here. */
  | "offered"
  /** Approved, and its member does not offer it. */
  | "not offered"
  /** Approved, and its member was not reached yet. */
  | "waiting"
  /** Approved, and another member has it. */
  | "standby"
  /** This machine is in that network, or offers it itself. */
  | "local"
  /** It can be nobody's: it is the mesh's own, or means something else on each machine. */
  | "refused";

export interface Route {
  readonly identity: string;
  readonly prefix: IpPrefix;
  readonly state: RouteState;
}

/** Everything, however far away: what an exit node offers. */
export const exitPrefixes: readonly IpPrefix[] = [
  { address: "0.0.0.0", bits: 0 },
  { address: "::", bits: 0 },
];

export function isExit({ bits }: IpPrefix): boolean {
  return bits === 0;
}

/** Of each member in the order of its offers, then what is approved and not offered. */
export function resolveRoutes(question: RouteQuestion): readonly Route[] {
  const { offers, exitNode } = question;
  const approvals = [
    ...question.approvals.filter(({ prefix }) => !isExit(prefix)),
    ...exitPrefixes.flatMap((prefix) =>
      exitNode === undefined ? [] : [{ identity: exitNode, prefix }],
    ),
  ];
  const routes = offers.flatMap(({ identity, prefixes }) =>
    prefixes.map((prefix): Route => {
      const isApproved = approvals.some((each) => isSame(each, { identity, prefix }));
      const state = isApproved
        ? approvedState(question, approvals, { identity, prefix })
        : "offered";
      return { identity, prefix, state: isUsable(question, prefix) ? state : "refused" };
    }),
  );
  const missing = approvals
    .filter((each) => routes.every((route) => !isSame(each, route)))
    // An exit node may offer one family alone.
    .filter(({ identity, prefix }) => !isExit(prefix) || !offersExit(offers, identity))
    // That it can be nobody's is said first: no offer would mend it.
    .map((each): Route => {
      return { ...each, state: isUsable(question, each.prefix) ? "not offered" : "refused" };
    });
  return [...routes, ...missing];
}

function offersExit(offers: readonly Offer[], identity: string): boolean {
  return offers.some((each) => each.identity === identity && each.prefixes.some(isExit));
}

function approvedState(
  { offers, local }: RouteQuestion,
  approvals: readonly Approval[],
  route: Approval,
): RouteState {
  if (local.some((each) => samePrefix(each, route.prefix))) return "local";
  const rivals = approvals
    .filter(({ prefix }) => samePrefix(prefix, route.prefix))
    .flatMap(({ identity }) => offers.filter((offer) => offer.identity === identity))
    .filter(({ met, prefixes }) => met && prefixes.some((each) => samePrefix(each, route.prefix)));
  const carrier = rivals.find(({ up }) => up) ?? rivals[0];
  if (carrier?.identity === route.identity) return "used";
  return rivals.some(({ identity }) => identity === route.identity) ? "standby" : "waiting";
}

function isSame(a: Approval, b: Approval): boolean {
  return a.identity === b.identity && samePrefix(a.prefix, b.prefix);
}

/** Whether anybody may be approved for it. */
export function isUsable({ mesh }: Pick<RouteQuestion, "mesh">, prefix: IpPrefix): boolean {
  return isOfferable(prefix) && mesh.every((each) => !contains(each, prefix));
}

/** Neither loopback, nor of one link, nor multicast: the same network for whoever is told of it. */
export function isOfferable(prefix: IpPrefix): boolean {
  if (isExit(prefix)) return true;
  const address = parseAddress(prefix.address);
  if (address === undefined || !isUnicast(address)) return false;
  return !["169.254.0.0/16", "fe80::/10"].some((text) => contains(prefixOf(text), prefix));
}

function prefixOf(text: string): IpPrefix {
  const [address = "", bits] = text.split("/");
  return { address, bits: Number(bits) };
}

/** Whether all of `inner` is in `outer`. */
export function contains(outer: IpPrefix, inner: IpPrefix): boolean {
  if (familyOf(outer.address) !== familyOf(inner.address) || inner.bits < outer.bits) return false;
  return networkOf(inner.address, outer.bits) === networkOf(outer.address, outer.bits);
}

function networkOf(address: string, bits: number): string {
  const parsed = parseAddress(address);
  return parsed === undefined ? "" : formatAddress(maskHostBits(parsed, bits));
}

/**
 * The prefix less the holes, as prefixes: what a member may send from and be sent to, who is approved
 * for it. Each hole costs as many prefixes as it is longer.
 */
export function without(prefix: IpPrefix, holes: readonly IpPrefix[]): readonly IpPrefix[] {
  if (holes.some((hole) => contains(hole, prefix))) return [];
  const inside = holes.filter((hole) => contains(prefix, hole));
  if (inside.length === 0) return [prefix];
  return halves(prefix).flatMap((half) => without(half, inside));
}

function halves({ address, bits }: IpPrefix): readonly IpPrefix[] {
  const parsed = parseAddress(address);
  if (parsed === undefined) return [];
  const upper = parsed.bytes.slice();
  upper[bits >> 3] = (upper[bits >> 3] as number) | (0x80 >> (bits & 7));
  return [
    { address, bits: bits + 1 },
    { address: formatAddress({ ...parsed, bytes: upper }), bits: bits + 1 },
  ];
}

/**
 * Loopback, links and multicast: of everything, an exit node speaks for none of these. From a link's
 * address it could announce itself as a router, and the kernel would take addresses and a default route
 * of it that nobody approved and that outlive the approval.
 */
const neverLed: readonly IpPrefix[] = [
  "127.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/4",
  "fe80::/10",
  "ff00::/8",
].map(prefixOf);

/** By each member what is led to it, the mesh's own networks left out, and what can be nobody's. */
export function allowedByRoutes(
  routes: readonly Route[],
  mesh: readonly IpPrefix[],
): ReadonlyMap<string, readonly IpPrefix[]> {
  const out = new Map<string, IpPrefix[]>();
  const holes = [...mesh, ...neverLed];
  for (const { identity, prefix, state } of routes) {
    if (state !== "used") continue;
    out.set(identity, [...(out.get(identity) ?? []), ...without(prefix, holes)]);
  }
  return out;
}

export function routeText({ identity, prefix, state }: Route): string {
  return `${identity} ${formatPrefix(prefix)} ${state}`;
}
