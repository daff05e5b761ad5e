/** A battlefield of mesh nodes: the victim, and a member that is connected to it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Attacker } from "../support/attacker.ts";
import type { Counters } from "../support/counters.ts";
import { Node, untilConnected } from "../support/mesh.ts";
import { until } from "../support/process.ts";
import { type Host, Stage } from "../support/stage.ts";
import { Field } from "./field.ts";

const connectTimeoutMs = 20_000;
const ticksPerSecond = 100;
const rogueProgram = join(import.meta.dir, "rogue.ts");
const dataplanePrefix = /^dataplane_/;

export class MeshField extends Field {
  readonly victim: Node;
  readonly friend: Node;
  readonly victimAddress: string;
  readonly #memberHost: Host;

  private constructor(
    stage: Stage,
    attacker: Attacker,
    [memberHost, attackerHost]: readonly [Host, Host],
    [victim, friend]: readonly [Node, Node],
    victimAddress: string,
  ) {
    super(stage, attacker, attackerHost);
    this.#memberHost = memberHost;
    this.victim = victim;
    this.friend = friend;
    this.victimAddress = victimAddress;
  }

  static async open(): Promise<MeshField> {
    const stage = Stage.open();
    const hosts = (await stage.switched(4)) as [Host, Host, Host, Host];
    const attacker = await Attacker.on(hosts[3], hosts[0]);
    const [victim, friend] = await Promise.all([
      Node.make(hosts[0], "victim"),
      Node.make(hosts[1], "friend"),
    ]);
    await Promise.all([victim.trust(friend), friend.trust(victim)]);
    await victim.up();
    await friend.up("--seed", victim.seed);
    await untilConnected([victim, friend], connectTimeoutMs);
    const address = await victim.address(4);
    const field = new MeshField(stage, attacker, [hosts[2], hosts[3]], [victim, friend], address);
    await field.countUnproven();
    return field;
  }

  get victimHost(): Host {
    return this.victim.host;
  }

  get friendHost(): Host {
    return this.friend.host;
  }

  get victimLives(): boolean {
    return this.victim.daemon?.running === true;
  }

  async counters(): Promise<Counters> {
    const { counters } = JSON.parse(await this.victim.ok("status", "--json", "--counters")) as {
      counters: Counters;
    };
    const entries = Object.entries(counters);
    // The data plane's come last, and win where a name is both's.
    return Object.fromEntries(
      entries.map(([name, count]) => [name.replace(dataplanePrefix, ""), count]),
    );
  }

  /** The friend starts anew as one that multiplies its gossip; at 0 it is as honest as before. */
  async rogue(perSecond: number): Promise<void> {
    const { friend } = this;
    await friend.ok("down");
    await friend.daemon?.exited;
    const words = [process.execPath, rogueProgram, `${perSecond}`, "--seed", this.victim.seed];
    friend.daemon = friend.host.start(words, friend.env);
    const { daemon } = friend;
    await until("the rogue to be up", () => daemon.log().includes("meshvpn: up: "), {
      timeoutMs: connectTimeoutMs,
      evidence: () => daemon.log(),
    });
    await untilConnected([this.victim, friend], connectTimeoutMs);
    // Some gossip of its own first.
    await Bun.sleep(1500);
    if (perSecond > 0) daemon.kill("SIGUSR1");
  }

  /** Of the victim, so far. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.victim.daemon?.pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }

  /** How long a node that the victim trusts takes to reach it, from its start, in seconds. */
  async newMemberSeconds(timeoutMs: number): Promise<number> {
    const member = await Node.make(this.#memberHost, "member");
    await Promise.all([this.victim.trust(member), member.trust(this.victim)]);
    const start = performance.now();
    await member.up("--seed", this.victim.seed);
    await untilConnected([member, this.victim], timeoutMs);
    return (performance.now() - start) / 1000;
  }
}
