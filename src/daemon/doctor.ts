/**
 * What a daemon tells doctor: its own, over the control socket, and members', over the mesh. And what
 * it says in its log of those whom it refused, since they learn nothing of it themselves.
 */
import type { Instant } from "../base/clock.ts";
import { AssertionError } from "../base/errors.ts";
import { formatPrefix } from "../base/ip.ts";
import { type Arrival, Arrivals } from "../mesh/arrivals.ts";
import type { PolicyStanding } from "../trust/policy.ts";
import type { Roster } from "../trust/roster.ts";
import { type RefusalStatus, type RefusedStatus, refusalWords } from "./refusal.ts";
import type { MeshConfig } from "./setting.ts";
import { isReached, type MeshStatus } from "./status.ts";
import type { DomainStatus } from "./surroundings.ts";
import { type NodeView, type Standing, viewOf } from "./view.ts";
import type { SeedWarning } from "./warnings.ts";
import { Witness } from "./witness.ts";

export interface DoctorSources {
  status(withCounters: boolean): MeshStatus;
  roster(): Pick<Roster, "admitsText" | "whyNot" | "isRevokedText">;
  policy(identity: string): PolicyStanding;
  config(): MeshConfig;
  seeds(): readonly { readonly place: string; readonly addresses: number }[];
  /** Seeds that are not asked as trust stands. */
  unasked(): readonly SeedWarning[];
  domains(): readonly DomainStatus[];
  now(): Instant;
  /** `name (identity)`, as the log has it. */
  called(identity: string): string;
  warn(text: string): void;
  say(text: string): void;
}

/** Of those who were refused, so many are told of. */
const refusedMax = 16;

export class Doctor {
  /** For the node to write in. */
  readonly arrivals = new Arrivals();
  readonly #sources: DoctorSources;
  readonly #witness: Witness;

  constructor(sources: DoctorSources) {
    this.#sources = sources;
    this.#witness = new Witness({
      memberAt: (address) =>
        this.#members().find(({ addresses }) => addresses.includes(address))?.identity,
      addressOf: (identity) =>
        this.#members()
          .find((member) => member.identity === identity && member.path !== "-")
          ?.addresses.find((each) => each.includes(":")),
      view: (about) => this.#view(about),
      nowMs: () => sources.now().ms,
    });
  }

  /** Without it, others' doctors learn nothing from this node; that is no reason to end. */
  async start(meshAddress: string): Promise<void> {
    try {
      await this.#witness.listen(meshAddress);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#sources.warn(`members' doctors cannot ask this node: ${why}`);
    }
  }

  stop(): void {
    this.#witness.stop();
  }

  /** `node` is doctor-chain.ts' evidence. */
  answer(about: string): { view: NodeView; node: object } {
    const status = this.#sources.status(true);
    const { trusted, organisations, joining, members, port, counters, certificate, addresses } =
      status;
    const connected = members.filter(isReached).length;
    const [seeds, domains] = [this.#sources.seeds(), this.#sources.domains()];
    const isRevoked = this.#sources.roster().isRevokedText(status.identity);
    const trust = { identity: status.identity, trusted, organisations, joining, certificate };
    const reached = { addresses, members: members.length, connected, port, seeds, domains };
    const unasked = this.#sources.unasked();
    const standing = { revoked: isRevoked, refused: this.#refused(), unasked };
    return { view: this.#view(about), node: { ...trust, ...standing, ...reached, counters } };
  }

  /** Says in the log who was refused since, and why. */
  tellRefused(): void {
    const { arrivals } = this;
    const { called, now, warn, say } = this.#sources;
    for (let it = arrivals.pollNews(); it !== undefined; it = arrivals.pollNews()) {
      const refused = refusedStatus(it, now().ms, this.#isWanted(it));
      const { words, mend } = refusalWords(refused, it.identity, now().wallMs);
      const who = called(it.identity);
      const isNamed = it.name === "" || who === `${it.name} (${it.identity})`;
      const calls = isNamed ? "" : `, which calls itself ${it.name},`;
      const text = `refused: ${who}${calls} ${words}; ${mend}`;
      if (refused.wanted) warn(text);
      else say(text);
    }
  }

  /** Why the identity is not let in, for the log: words and mend. */
  whyNot(identity: string): string {
    const { wallMs } = this.#sources.now();
    const { why, aboutWallMs } = this.#sources.roster().whyNot(identity, wallMs);
    const { words, mend } = refusalWords({ why, about_ms: aboutWallMs ?? null }, identity, wallMs);
    return `it ${words}; ${mend}`;
  }

  #refused(): readonly RefusedStatus[] {
    const { ms } = this.#sources.now();
    // Whoever came in since by another's word did so without asking here again.
    const reached = new Set(
      this.#members()
        .filter(isReached)
        .map(({ identity }) => identity),
    );
    return this.arrivals
      .refused(ms)
      .filter(({ identity }) => !reached.has(identity))
      .slice(0, refusedMax)
      .map((arrival) => refusedStatus(arrival, ms, this.#isWanted(arrival)));
  }

  /** Strangers are nothing to mend, nor is whoever was put out. */
  #isWanted({ identity, outcome }: Arrival): boolean {
    const isAdmitted = this.#sources.roster().admitsText(identity);
    return isAdmitted || outcome === "certificate_expired" || outcome === "certificate_invalid";
  }

  #standing(about: string): Standing {
    const { ms, wallMs } = this.#sources.now();
    const roster = this.#sources.roster();
    const arrival = this.arrivals.of(ms, about);
    const trusts = roster.admitsText(about);
    let refusal: RefusalStatus | null = null;
    if (arrival !== undefined && arrival.outcome !== "admitted") {
      refusal = { why: arrival.outcome, about_ms: arrival.aboutWallMs ?? null };
    } else if (!trusts) {
      const { why, aboutWallMs } = roster.whyNot(about, wallMs);
      refusal = { why, about_ms: aboutWallMs ?? null };
    }
    const age = arrival === undefined ? null : Math.floor((ms - arrival.atMs) / 1000);
    return { trusts, refusal, asked_age_s: age, policy: this.#sources.policy(about) };
  }

  #view(about: string): NodeView {
    const { prefix, mtu } = this.#sources.config();
    const { wallMs } = this.#sources.now();
    const settings = { prefix: formatPrefix(prefix), mtu, wallMs };
    return viewOf(this.#sources.status(false), settings, about, this.#standing(about));
  }

  #members(): MeshStatus["members"] {
    return this.#sources.status(false).members;
  }
}

function refusedStatus(arrival: Arrival, nowMs: number, wanted: boolean): RefusedStatus {
  const { identity, name, outcome, aboutWallMs, count, atMs } = arrival;
  if (outcome === "admitted") throw new AssertionError("whoever was admitted was not refused");
  const ago = Math.floor((nowMs - atMs) / 1000);
  const refusal = { why: outcome, about_ms: aboutWallMs ?? null };
  return { identity, name, ...refusal, count, seconds_ago: ago, wanted };
}
