/**
 * What a host's firewall does for a test: it drops, translates and counts packets, by nftables. All
 * rules are of one table in the host's namespace, and go with it.
 */
import type { Host } from "./stage.ts";

const chains = {
  input: "type filter hook input priority 0",
  output: "type filter hook output priority 0",
  forward: "type filter hook forward priority 0",
  /** Before the route is looked up again. */
  reroute: "type route hook output priority -150",
  postrouting: "type nat hook postrouting priority 100",
} as const;

export class Wall {
  readonly #host: Host;
  #counters = 0;

  private constructor(host: Host) {
    this.#host = host;
  }

  static async build(host: Host): Promise<Wall> {
    const lines = Object.entries(chains).map(([name, type]) => `chain ${name} { ${type}; }`);
    await host.runOk(["nft", "-f", "-"], { input: `table inet wall {\n${lines.join("\n")}\n}\n` });
    return new Wall(host);
  }

  /** A rule of nftables, such as `drop`, `counter` or `masquerade` behind what it matches. */
  async rule(chain: keyof typeof chains, rule: string): Promise<void> {
    await this.#nft(`add rule inet wall ${chain} ${rule}`);
  }

  /** Takes all rules of a chain away. */
  async open(chain: keyof typeof chains): Promise<void> {
    await this.#nft(`flush chain inet wall ${chain}`);
  }

  /** Counts what a rule matches from now on; the function tells how many packets. */
  async count(chain: keyof typeof chains, match: string): Promise<() => Promise<number>> {
    this.#counters += 1;
    const name = `c${this.#counters}`;
    await this.#nft(`add counter inet wall ${name}`);
    await this.rule(chain, `${match} counter name ${name}`);
    return async () => {
      const shown = await this.#nft(`list counter inet wall ${name}`);
      return Number(/packets (\d+)/.exec(shown)?.[1]);
    };
  }

  async #nft(words: string): Promise<string> {
    return await this.#host.runOk(["nft", ...words.split(" ")]);
  }
}
