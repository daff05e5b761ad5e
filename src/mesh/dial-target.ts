/**
 * A place that is dialled until whoever is behind it is reached: a seed of the operator's, a member
 * that ought to be reached and is not, or whoever may redeem our invitation. Owns how long to wait
 * between two tries; what is said there is introducer.ts's.
 */
import type { Instant } from "../base/clock.ts";
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import type { Random } from "../base/random.ts";
import { keyOf } from "../swim/store.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { Roster } from "../trust/roster.ts";

export const dialDelayMinMs = 1_000;
export const dialDelayMaxMs = 60_000;
/** A member's, of which there may be many: as rare as probes of the dead. */
export const memberDialDelayMinMs = 5_000;
export const memberDialDelayMaxMs = 600_000;
/** In a large mesh all its dialled members together are dialled no oftener than this, however many they are. */
export const memberDialSpacingMs = 2_000;
/** The wait is an eighth of the time it has failed: quick after a short outage, rare after days. */
const dialDelayShare = 1 / 8;

/** Where to ask for the mesh, and whom, where that is known. */
export interface Seed {
  readonly identity?: Uint8Array;
  readonly endpoint: Endpoint;
  /** By the word of DNS or of the LAN: what cannot be asked there is no mistake of the operator's. */
  readonly hint?: boolean;
}

/** A seed without a key is tried for each trusted identity, up to this many. */
const unkeyedIdentitiesMax = 16;

/** Why a seed with this key, or without one, is not asked as trust stands; undefined: it is. */
export function whyNotAsked(
  identity: Uint8Array | undefined,
  roster: Pick<Roster, "mayAsk" | "mayAdmitUnknown" | "size">,
): "seed_not_trusted" | "seed_key_needed" | undefined {
  if (identity !== undefined) return roster.mayAsk(identity) ? undefined : "seed_not_trusted";
  const isAnybodysGuess = roster.size === 0 && roster.mayAdmitUnknown;
  const isKeyNeeded = roster.size > unkeyedIdentitiesMax || isAnybodysGuess;
  return isKeyNeeded ? "seed_key_needed" : undefined;
}

/** An invitation that this node holds, and whom it asks to redeem it. */
export interface Joining {
  readonly secret: Uint8Array;
  readonly issuer: Uint8Array;
  /** The issuer, or members that pass the request on to it. */
  readonly seeds: readonly { readonly identity: Uint8Array; readonly endpoint: Endpoint }[];
}

export interface Target {
  /** Of a member: the endpoint that is dialled next is found anew each time. */
  seed: Seed;
  readonly endpoints: (() => readonly Endpoint[]) | undefined;
  /** It is asked to redeem our invitation. */
  readonly joining: Joining | undefined;
  dials: number;
  tried: boolean;
  /** Text of the identity behind it: the seed's own, or who answered. */
  identity: string | undefined;
  /** A short name of whom it is for, where that is known. */
  key: number | undefined;
  failingSinceMs: number;
  nextAtMs: number;
  /** It answered since it was last reached. */
  answered: boolean;
  warned: boolean;
  /** It was under load, and this proves our address to it. */
  cookie: { readonly bytes: Uint8Array; readonly untilMs: number } | undefined;
}

/**
 * An eighth of the time that it has failed, within the bounds of its kind. `together`: how many members
 * are dialled beside each other at a bounded rate; 0: each by itself.
 */
export function nextDelayMs(now: Instant, target: Target, random: Random, together = 0): number {
  const failed = (now.ms - target.failingSinceMs) * dialDelayShare;
  const [minMs, maxMs] =
    target.endpoints === undefined
      ? [dialDelayMinMs, dialDelayMaxMs]
      : [Math.max(memberDialDelayMinMs, together * memberDialSpacingMs), memberDialDelayMaxMs];
  const delay = Math.min(maxMs, Math.max(minMs, failed));
  // A fifth of jitter either way, so that nodes that lost one seed together do not return together.
  return Math.round(delay * (0.8 + random.below(401) / 1000));
}

export function newTarget(
  now: Instant,
  seed: Seed,
  endpoints?: () => readonly Endpoint[],
  joining?: Joining,
): Target {
  // An invitation is redeemed also by whom we reach already.
  const isKnown = seed.identity !== undefined && joining === undefined;
  const identity = isKnown ? formatIdentity(seed.identity as Uint8Array) : undefined;
  return {
    seed,
    endpoints,
    joining,
    dials: 0,
    tried: false,
    identity,
    key: seed.identity && keyOf(seed.identity),
    failingSinceMs: now.ms,
    nextAtMs: now.ms,
    answered: false,
    warned: false,
    cookie: undefined,
  };
}

/** A member's endpoints in turn, as they are known now. */
export function turnEndpoint(target: Target): void {
  const endpoints = target.endpoints?.() ?? [];
  const endpoint = endpoints[target.dials % endpoints.length];
  if (endpoint === undefined) return;
  target.dials += 1;
  target.seed = { ...target.seed, endpoint };
}

export function sameSeed(a: Seed, b: Seed): boolean {
  const name = (seed: Seed): string =>
    seed.identity === undefined ? "" : formatIdentity(seed.identity);
  return sameEndpoint(a.endpoint, b.endpoint) && name(a) === name(b);
}
