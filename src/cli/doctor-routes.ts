/**
 * Links of doctor's chain that are about routes: what this node offers and whether its kernel leads
 * there, and what was approved here and is not in use. Pure, but for the look at the kernel's switches.
 */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import type { MeshStatus } from "../daemon/status.ts";
import { broken, type Link, ok, unknown } from "./doctor-link.ts";
import { nameFor, wordsOf } from "./routes.ts";

/** Of the kernel: whether it forwards; undefined where that cannot be read. */
export interface Forwards {
  readonly v4: boolean | undefined;
  readonly v6: boolean | undefined;
  /** An interface that takes packets only from where answers would go (rp_filter 1). */
  readonly strict: string | undefined;
}

export function routeLinks(status: MeshStatus, forwards: Forwards): readonly Link[] {
  return [...offered(status, forwards), ...approved(status), ...exits(status, forwards)];
}

function offered({ offers, forward }: MeshStatus, { v4, v6 }: Forwards): readonly Link[] {
  if (offers.length === 0) return [];
  const what = offers.join(", ");
  const mend = 'forward = "masquerade" in the configuration, or the switch and a route back';
  if (forward === "refused") {
    const words = `this node offers ${what}, and the kernel's forwarding could not be set`;
    return [broken("routes offered", words, "see meshvpn logs; set the switches by sysctl")];
  }
  const has = (family: 4 | 6): boolean =>
    offers.some((each) => each.includes(":") === (family === 6));
  const off = [
    ...(has(4) && v4 === false ? ["net.ipv4.ip_forward"] : []),
    ...(has(6) && v6 === false ? ["net.ipv6.conf.all.forwarding"] : []),
  ];
  if (off.length === 0) return [ok("routes offered", what)];
  const words = `this node offers ${what}, and ${off.join(" and ")} ${off.length === 1 ? "is" : "are"} 0, so nothing gets there`;
  return [broken("routes offered", words, mend)];
}

function approved(status: MeshStatus): readonly Link[] {
  return status.routes.flatMap((route): readonly Link[] => {
    const { identity, prefix, state } = route;
    if (state === "offered" || state === "refused" || state === "standby") return [];
    const words = `${prefix} by ${nameFor(status, identity)}`;
    if (state === "used") return [ok("route", words)];
    const mend = state === "local" ? "" : `meshvpn doctor ${nameFor(status, identity)}`;
    return [unknown("route", `${words} is ${state}: ${wordsOf(route, status)}`, mend)];
  });
}

/** With a strict reverse path the kernel drops what comes to the tunnel's own socket. */
function exits({ exit_node: exitNode }: MeshStatus, { strict }: Forwards): readonly Link[] {
  if (exitNode === null || strict === undefined) return [];
  return [broken("exit node", strictWords(strict), strictMend)];
}

export const strictMend = "sysctl -w net.ipv4.conf.all.rp_filter=2";

export function strictWords(name: string): string {
  return `rp_filter of ${name} is 1, and with an exit node the kernel drops answers to the tunnel there`;
}

/** `own`: the tunnel's interface, at which nothing of the tunnel itself arrives. */
export function readForwards(own: string | null): Forwards {
  const isOn = (path: string): boolean | undefined => {
    const value = readNumber(path);
    return value === undefined ? undefined : value !== 0;
  };
  return {
    v4: isOn("/proc/sys/net/ipv4/ip_forward"),
    v6: isOn("/proc/sys/net/ipv6/conf/all/forwarding"),
    strict: strictInterface(own),
  };
}

/** Of each the larger of its own and that of all counts: 2 is loose. */
function strictInterface(own: string | null): string | undefined {
  const conf = "/proc/sys/net/ipv4/conf";
  const all = readNumber(`${conf}/all/rp_filter`) ?? 0;
  return Object.keys(networkInterfaces()).find((name) => {
    if (name === own || name === "lo") return false;
    return Math.max(all, readNumber(`${conf}/${name}/rp_filter`) ?? 0) === 1;
  });
}

function readNumber(path: string): number | undefined {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}
