/** What a daemon tells doctor: its own, over the control socket, and members', over the mesh. */
import { formatPrefix } from "../base/ip.ts";
import type { MeshConfig } from "./config.ts";
import type { MeshStatus } from "./status.ts";
import { type NodeView, viewOf } from "./view.ts";
import { Witness } from "./witness.ts";

export interface DoctorSources {
  status(withCounters: boolean): MeshStatus;
  /** Whether whoever has that identity is admitted here. */
  trusts(identity: string): boolean;
  config(): MeshConfig;
  seeds(): readonly { readonly place: string; readonly addresses: number }[];
  nowWallMs(): number;
  warn(text: string): void;
}

export class Doctor {
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
      nowMs: () => sources.nowWallMs(),
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
    const { trusted, organisations, joining, members, port, counters } = status;
    const connected = members.filter(({ path }) => path !== "-").length;
    const seeds = this.#sources.seeds();
    const trust = { trusted, organisations, joining, members: members.length };
    const node = { ...trust, connected, port, seeds, counters };
    return { view: this.#view(about), node };
  }

  #view(about: string): NodeView {
    const { prefix, mtu } = this.#sources.config();
    const settings = { prefix: formatPrefix(prefix), mtu, wallMs: this.#sources.nowWallMs() };
    return viewOf(this.#sources.status(false), settings, about, this.#sources.trusts(about));
  }

  #members(): MeshStatus["members"] {
    return this.#sources.status(false).members;
  }
}
