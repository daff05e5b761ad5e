/**
 * Where others may reach this node, as far as it can tell by itself: what the operator announces,
 * then the addresses of its interfaces, at the port that it listens on. What they see of it from
 * outside, they find out themselves.
 */
import type { NetworkInterfaceInfo } from "node:os";
import type { Endpoint } from "../base/endpoint.ts";
import { canonicalAddress } from "../base/ip.ts";
import { isAdvertisable, recordEndpointsMax } from "../trust/record.ts";
import type { Announced } from "./config.ts";

export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** At most as many as a record holds. `own`: the tunnel interface, which leads nowhere else. */
export function ownEndpoints(
  interfaces: Interfaces,
  own: string | undefined,
  port: number,
  announce: readonly Announced[],
): readonly Endpoint[] {
  const out = new Map<string, Endpoint>();
  const add = (endpoint: Endpoint): void => {
    if (out.size >= recordEndpointsMax || !isAdvertisable(endpoint)) return;
    out.set(`${endpoint.address} ${endpoint.port}`, endpoint);
  };
  for (const { address, port: announced } of announce) add({ address, port: announced ?? port });
  for (const [name, infos] of Object.entries(interfaces)) {
    if (name === own) continue;
    for (const { address, internal } of infos ?? []) {
      const canonical = internal ? undefined : canonicalAddress(address);
      if (canonical !== undefined) add({ address: canonical, port });
    }
  }
  return [...out.values()];
}
