/** What to expect between two nodes by the kinds of their NATs, in words that are kept to: paths.ts finds
 * the way, this only says which. Pure. */
import type { NatKind } from "../base/candidate.ts";
import type { Behaviour } from "./stun-verdict.ts";

export const prospects = [
  "direct",
  "direct after a search",
  "relay",
  "relay over tcp",
  "unknown",
] as const;
export type Prospect = (typeof prospects)[number];

export interface Place {
  readonly kind: NatKind;
  /** Whom its NAT or firewall lets in at a port that is open: only of this node, where servers tell. */
  readonly filtering: Behaviour;
  /** A gateway forwards a port to it, or its operator announces an address. */
  readonly forwarded: boolean;
}

/** `peer`: of a member about whom no more is known than the kind. */
export function prospect(own: Place, peer: NatKind): Prospect {
  if (own.kind === "unknown" || peer === "unknown") return "unknown";
  if (own.kind === "blocked" || peer === "blocked") return "relay over tcp";
  if (own.kind === "none" || peer === "none" || own.forwarded) return "direct";
  if (own.kind === "easy" && peer === "easy") return "direct";
  if (own.kind === "hard" && peer === "hard") return "relay";
  // One of each: whoever lets everybody in is reached; else one guesses at the other's ports.
  const open = own.kind === "easy" && own.filtering === "endpoint-independent";
  return open ? "direct" : "direct after a search";
}
