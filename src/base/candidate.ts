/**
 * Where a node may be reached and how it came to think so, and what kind of NAT it is behind: words
 * that its record says of it to everybody. Their numbers are the protocol's.
 */
import type { Endpoint } from "./endpoint.ts";

/** In the order in which they are worth trying, all else being equal. */
export const candidateKinds = {
  /** Its operator says so. */
  announced: 1,
  /** The address of an interface. */
  interface: 2,
  /** A gateway forwards this port to it. */
  mapped: 3,
  /** STUN servers see it there. */
  reflexive: 4,
  /** Members see it there. */
  observed: 5,
  /** It takes TLS over TCP there; the others are UDP. */
  tls: 6,
} as const;

export type CandidateKind = keyof typeof candidateKinds;

export interface Candidate extends Endpoint {
  readonly kind: CandidateKind;
}

export const natKinds = {
  unknown: 0,
  /** Reached as it is: its own address is the one that others see. */
  none: 1,
  /** One mapping for all destinations (RFC 4787: endpoint-independent). */
  easy: 2,
  /** Another mapping for other destinations. */
  hard: 3,
  /** No UDP gets out. */
  blocked: 4,
} as const;

export type NatKind = keyof typeof natKinds;

export function candidateKindOf(code: number): CandidateKind | undefined {
  return keyOf(candidateKinds, code);
}

export function natKindOf(code: number): NatKind | undefined {
  return keyOf(natKinds, code);
}

function keyOf<Key extends string>(
  codes: Readonly<Record<Key, number>>,
  code: number,
): Key | undefined {
  return (Object.keys(codes) as Key[]).find((key) => codes[key] === code);
}
