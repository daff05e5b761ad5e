/** The IPv4 gateway that this machine's default route leads to, and the address it knows this machine by. */
import type { Interfaces } from "./endpoints.ts";

export interface Gateway {
  readonly address: string;
  /** Of this machine, in the gateway's network. */
  readonly local: string;
}

const flagsUpAndGateway = 3;

/** `routes`: /proc/self/net/route, which a sandbox without the rest of /proc has too. `own`: the tunnel interface, which leads nowhere else. */
export function defaultGateway(
  routes: string,
  interfaces: Interfaces,
  own: string | undefined,
): Gateway | undefined {
  const found = routes
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .flatMap(([name = "", destination, gateway = "", flags = "", , , metric = "", mask]) => {
      const isDefault = destination === "00000000" && mask === "00000000" && name !== own;
      const isUsed =
        (Number.parseInt(flags, 16) & flagsUpAndGateway) === flagsUpAndGateway &&
        /^[0-9A-F]{8}$/i.test(gateway);
      return isDefault && isUsed
        ? [{ name, address: dotted(gateway), metric: Number(metric) }]
        : [];
    })
    .toSorted((a, b) => a.metric - b.metric)[0];
  if (found === undefined) return undefined;
  const { address, name } = found;
  const own4 = (interfaces[name] ?? []).filter(({ family }) => family === "IPv4");
  const local = own4.find((each) => isIn(address, each.address, each.netmask)) ?? own4[0];
  return local === undefined ? undefined : { address, local: local.address };
}

/** As the kernel prints it: the bytes of the address, the last first. */
function dotted(hex: string): string {
  return [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join(".");
}

export function isIn(address: string, network: string, mask: string): boolean {
  const [a, n, m] = [address, network, mask].map((text) => text.split(".").map(Number)) as [
    number[],
    number[],
    number[],
  ];
  return m.every((bits, at) => ((a[at] ?? 0) & bits) === ((n[at] ?? 0) & bits));
}
