/**
 * What came of the introductions that arrived lately, by whom they said they were from: admitted, or
 * refused and why. Who is refused is answered by silence, so the reason is kept here, for whoever
 * asks at this end. Bounded, since strangers may say anything; it decides nothing.
 */
import { type TokenBucket, takeToken } from "../base/token-bucket.ts";
import type { Inadmissible } from "../trust/roster.ts";

/** Beside what the roster says. */
export type Refusal =
  | Inadmissible
  /** Its signature does not hold here. */
  | "other_network"
  /** What it signed is too old by this node's clock. */
  | "too_old"
  /** The secret of its invitation is not one that this node would redeem. */
  | "invitation";

export interface Arrival {
  readonly identity: string;
  /** What it calls itself; may be empty. */
  readonly name: string;
  readonly outcome: "admitted" | Refusal;
  /** Unix time of what the refusal is about: of the expiry, or of the signing. */
  readonly aboutWallMs: number | undefined;
  /** In a row with this outcome. */
  readonly count: number;
  readonly atMs: number;
}

export const arrivalsMax = 128;
/** Whoever is refused asks again within this time, if he still wants to come in. */
export const arrivalLifetimeMs = 15 * 60_000;
const newsMax = 64;
/** The same of the same is news again after so long. */
const repeatMs = 3_600_000;
/** What nobody has to prove may fill no log. */
const rates = { unproven: [1 / 60, 8], proven: [1 / 10, 16] } as const;
const proven: readonly Arrival["outcome"][] = ["certificate_expired", "too_old"];

interface Entry extends Arrival {
  /** When each refusal of it was told last. */
  readonly toldMs: Readonly<Partial<Record<Arrival["outcome"], number>>>;
}

export class Arrivals {
  /** `forgotten`: others took their place; `untold`: refusals that were no news for want of room. */
  readonly counters = { forgotten: 0, untold: 0 };
  /** The oldest first. */
  readonly #entries = new Map<string, Entry>();
  readonly #news: Arrival[] = [];
  readonly #budgets: Record<keyof typeof rates, TokenBucket> = {
    unproven: { tokens: rates.unproven[1], atMs: 0 },
    proven: { tokens: rates.proven[1], atMs: 0 },
  };

  note(nowMs: number, said: Omit<Arrival, "count" | "atMs">): void {
    const { identity } = said;
    const known = this.#entries.get(identity);
    // Whoever holds a spent invitation also asks without it: that it is a stranger then is no news.
    const isRepeat =
      said.outcome === "not_trusted" && this.of(nowMs, identity)?.outcome === "invitation";
    const outcome = isRepeat ? "invitation" : said.outcome;
    const count = known?.outcome === outcome ? known.count + 1 : 1;
    const toldMs = known?.toldMs ?? {};
    const arrival: Arrival = { ...said, outcome, count, atMs: nowMs };
    const isTold = outcome !== "admitted" && this.#tell(arrival, toldMs[outcome]);
    this.#entries.delete(identity);
    if (this.#entries.size >= arrivalsMax) this.#forget();
    const told = isTold ? { ...toldMs, [outcome]: nowMs } : toldMs;
    this.#entries.set(identity, { ...arrival, toldMs: outcome === "admitted" ? {} : told });
  }

  of(nowMs: number, identity: string): Arrival | undefined {
    const entry = this.#entries.get(identity);
    return entry !== undefined && nowMs - entry.atMs < arrivalLifetimeMs ? entry : undefined;
  }

  /** The last first. */
  refused(nowMs: number): readonly Arrival[] {
    return [...this.#entries.values()]
      .filter(({ outcome, atMs }) => outcome !== "admitted" && nowMs - atMs < arrivalLifetimeMs)
      .toReversed();
  }

  /** A refusal that the operator should be told of. */
  pollNews(): Arrival | undefined {
    return this.#news.shift();
  }

  #tell(arrival: Arrival, saidMs: number | undefined): boolean {
    if (saidMs !== undefined && arrival.atMs - saidMs < repeatMs) return false;
    const kind = proven.includes(arrival.outcome) ? "proven" : "unproven";
    const [perSecond, burst] = rates[kind];
    const hasRoom =
      this.#news.length < newsMax && takeToken(this.#budgets[kind], arrival.atMs, perSecond, burst);
    if (hasRoom) this.#news.push(arrival);
    else this.counters.untold += 1;
    return hasRoom;
  }

  /** Whoever may be anybody goes first. */
  #forget(): void {
    let victim: string | undefined;
    for (const [identity, { outcome }] of this.#entries) {
      victim ??= identity;
      if (outcome !== "not_trusted") continue;
      victim = identity;
      break;
    }
    if (victim !== undefined) this.#entries.delete(victim);
    this.counters.forgotten += 1;
  }
}
