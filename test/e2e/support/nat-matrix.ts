/**
 * The matrix of NATs: for each pair of kinds two fresh nodes behind fresh NATs, and one public member
 * that knows both. What a pair owes is decided here, by kind; how long it took is measured.
 */
import { Node } from "./mesh.ts";
import { Internet, type NatHost, type NatKind, natKinds } from "./nat.ts";
import { until } from "./process.ts";
import type { Host, Stage } from "./stage.ts";

export const connectMsMax = 5_000;
export const directMsMax = 10_000;
/** Birthday probing takes its time. */
export const birthdayMsMax = 20_000;

const tcpPort = 443;
/** The public member relays, without a limit, and takes TCP. */
export const publicFlags = ["--relay", "--relay-quota", "0", "--tcp-listen", `${tcpPort}`] as const;

export type Pair = readonly [NatKind, NatKind];
/** `any`: connected is enough. */
export type Owed = "direct" | "birthday" | "any";

export interface Outcome {
  readonly pair: string;
  readonly owed: Owed;
  /** undefined: not in time. From the moment that both daemons were up. */
  readonly connectedMs: number | undefined;
  readonly directMs: number | undefined;
  /** As each end's status shows it. */
  readonly paths: readonly [string, string];
  readonly holds: boolean;
}

export function allPairs(): readonly Pair[] {
  return natKinds.flatMap((a, at) => natKinds.slice(at).map((b): Pair => [a, b]));
}

/** One for each way in which two nodes find each other. */
export const quickPairs: readonly Pair[] = [
  ["open", "restricted"],
  ["restricted", "restricted"],
  ["full-cone", "symmetric-random"],
  ["symmetric", "symmetric-random"],
  ["restricted", "ipv6-only"],
];

export function owed([a, b]: Pair): Owed {
  if (a === "udp-blocked" || b === "udp-blocked") return "any";
  if ((a === "ipv6-only") !== (b === "ipv6-only")) return "any";
  const symmetric = (kind: NatKind): boolean => kind.startsWith("symmetric");
  if (symmetric(a) && symmetric(b)) return "any";
  const restrictedMeetsSymmetric =
    (symmetric(a) && b === "restricted") || (a === "restricted" && symmetric(b));
  return restrictedMeetsSymmetric ? "birthday" : "direct";
}

/** The internet, and the member on it that everybody knows. */
export class Matrix {
  readonly stage: Stage;
  readonly internet: Internet;
  readonly public: Node;
  #made = 0;

  private constructor(stage: Stage, internet: Internet, member: Node) {
    this.stage = stage;
    this.internet = internet;
    this.public = member;
  }

  /** `flags`: of the public member. */
  static async open(stage: Stage, flags: readonly string[] = publicFlags): Promise<Matrix> {
    const internet = await Internet.open(stage);
    const member = await Node.make(await internet.public(), "public");
    await member.up(...flags);
    return new Matrix(stage, internet, member);
  }

  /** Two nodes that trust each other and the public member, which trusts them; not yet up. */
  async nodes(pair: Pair): Promise<{ hosts: [NatHost, NatHost]; nodes: [Node, Node] }> {
    const hosts = (await Promise.all(pair.map((kind) => this.internet.behind(kind)))) as [
      NatHost,
      NatHost,
    ];
    this.#made += 1;
    const nodes = (await Promise.all(
      hosts.map(({ host }, at) => Node.make(host, `${"ab"[at]}${this.#made}`)),
    )) as [Node, Node];
    const [a, b] = nodes;
    await Promise.all([a.trust(b, this.public), b.trust(a, this.public), this.public.trust(a, b)]);
    return { hosts, nodes };
  }

  /** Where a node finds the public member. */
  seedFor(kind: NatKind): string {
    const { v4, v6 } = this.public.host;
    return kind === "ipv6-only" ? `[${v6}]:51820` : `${v4}:51820`;
  }

  /** What the node is started with. */
  flagsFor(kind: NatKind): string[] {
    const tcp = kind === "udp-blocked" ? ["--tcp", `${this.public.host.v4}:${tcpPort}`] : [];
    return ["--seed", this.seedFor(kind), ...tcp];
  }

  /** `then`: what is looked at before the two are gone. */
  async run(pair: Pair, then?: (nodes: readonly [Node, Node]) => Promise<void>): Promise<Outcome> {
    const { hosts, nodes } = await this.nodes(pair);
    const [a, b] = nodes;
    try {
      await Promise.all(nodes.map((node, at) => node.up(...this.flagsFor(pair[at] as NatKind))));
      const outcome = await this.#measure(pair, a, b);
      await then?.(nodes);
      return outcome;
    } finally {
      await this.drop({ hosts, nodes });
    }
  }

  /** Ends two nodes and takes their networks away. */
  async drop(made: {
    readonly hosts: readonly NatHost[];
    readonly nodes: readonly Node[];
  }): Promise<void> {
    await Promise.all(made.nodes.map((node) => node.daemon?.stop()));
    for (const host of made.hosts) host.drop();
    for (const { identity } of made.nodes) await this.public.ok("trust", "--remove", identity);
  }

  async move(host: Host): Promise<void> {
    await this.internet.move(host);
  }

  async #measure(pair: Pair, a: Node, b: Node): Promise<Outcome> {
    const start = performance.now();
    const due = owed(pair);
    const address = await b.address(4);
    const connected = await passes(connectMsMax, () => a.reaches(address));
    const connectedMs = connected ? performance.now() - start : undefined;
    const wait = due === "birthday" ? birthdayMsMax : directMsMax;
    const direct =
      connected && due !== "any"
        ? await passes(wait, async () => (await paths(a, b)).every(isDirect))
        : (await paths(a, b)).every(isDirect);
    const directMs = direct ? performance.now() - start : undefined;
    const holds = connected && (due === "any" || direct) && (await a.reaches(address));
    const shown = await paths(a, b);
    return { pair: pair.join("/"), owed: due, connectedMs, directMs, paths: shown, holds };
  }
}

/** Until each of the two shows the other by a path that begins with this; how long that took. */
export async function untilPathsAre(
  pair: readonly [Node, Node],
  word: string,
  timeoutMs: number,
): Promise<number> {
  return await untilPaths(pair, word, (path) => path.startsWith(word), timeoutMs);
}

/** As `untilPathsAre`, by any condition. */
export async function untilPaths(
  [a, b]: readonly [Node, Node],
  what: string,
  is: (path: string) => boolean,
  timeoutMs: number,
): Promise<number> {
  const start = performance.now();
  const shown = async (): Promise<boolean> => (await paths(a, b)).every(is);
  await until(`both to be ${what}`, shown, { timeoutMs, everyMs: 100 });
  return performance.now() - start;
}

async function paths(a: Node, b: Node): Promise<[string, string]> {
  const members = await Promise.all([a.member(b), b.member(a)]);
  return members.map((member) => member?.path ?? "-") as [string, string];
}

function isDirect(path: string): boolean {
  return path.startsWith("direct ");
}

/** Whether the condition came true within the time. */
async function passes(timeoutMs: number, look: () => Promise<boolean>): Promise<boolean> {
  try {
    await until("a condition", look, { timeoutMs, everyMs: 50 });
    return true;
  } catch (error) {
    if (`${error}`.includes("waited")) return false;
    throw error;
  }
}
