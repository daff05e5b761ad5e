/**
 * Links of doctor's chain that are about routes: what this node offers and whether its kernel leads
 * there, and what was approved here and is not in use. Pure, but for the look at the kernel's switches.
 */
import { readFileSync } from "node:fs";
import type { MeshStatus } from "../daemon/status.ts";
import { broken, type Link, ok, unknown } from "./doctor-link.ts";
import { nameFor, wordsOf } from "./routes.ts";

/** Of the kernel: whether it forwards; undefined where that cannot be read. */
export interface Forwards {
  readonly v4: boolean | undefined;
  readonly v6: boolean | undefined;
  /** 0 none, 1 strict, 2 loose. */
  readonly reversePath: number | undefined;
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
  const words = `this node offers ${what}, and ${off.join(" and ")} is 0, so nothing gets there`;
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
function exits({ exit_node: exitNode }: MeshStatus, { reversePath }: Forwards): readonly Link[] {
  if (exitNode === null || reversePath !== 1) return [];
  const words = "there is an exit node and rp_filter is 1, so answers to the tunnel are dropped";
  return [broken("exit node", words, "sysctl -w net.ipv4.conf.all.rp_filter=2")];
}

export function readForwards(): Forwards {
  const isOn = (path: string): boolean | undefined => {
    const value = readNumber(path);
    return value === undefined ? undefined : value !== 0;
  };
  return {
    v4: isOn("/proc/sys/net/ipv4/ip_forward"),
    v6: isOn("/proc/sys/net/ipv6/conf/all/forwarding"),
    reversePath: readNumber("/proc/sys/net/ipv4/conf/all/rp_filter"),
  };
}

function readNumber(path: string): number | undefined {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}
