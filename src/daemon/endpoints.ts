/**
 * Where others may reach this node, as far as it can tell by itself: what the operator announces,
 * then the addresses of its interfaces, at the port that it listens on. What they see of it from
 * outside, they find out themselves.
 */
import type { NetworkInterfaceInfo } from "node:os";
import type { Candidate } from "../base/candidate.ts";
import { canonicalAddress } from "../base/ip.ts";
import { isAdvertisable, recordCandidatesMax } from "../trust/record.ts";
import type { Announced } from "./setting.ts";

export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** At most as many as a record holds. `own`: the tunnel interface, which leads nowhere else. */
export function ownCandidates(
  interfaces: Interfaces,
  own: string | undefined,
  port: number,
  announce: readonly Announced[],
): readonly Candidate[] {
  const out = new Map<string, Candidate>();
  const add = (candidate: Candidate): void => {
    if (out.size >= recordCandidatesMax || !isAdvertisable(candidate)) return;
    const { address, port } = candidate;
    const place = `${address} ${port}`;
    if (!out.has(place)) out.set(place, candidate);
  };
  for (const { address, port: announced } of announce) {
    add({ kind: "announced", address, port: announced ?? port });
  }
  for (const [name, infos] of Object.entries(interfaces)) {
    if (name === own) continue;
    for (const { address, internal } of infos ?? []) {
      const canonical = internal ? undefined : canonicalAddress(address);
      if (canonical !== undefined) {
        add({ kind: "interface", address: canonical, port });
      }
    }
  }
  return [...out.values()];
}
