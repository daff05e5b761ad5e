/**
 * A node of the mesh on a host of the stage: the real program with a state directory, a control
 * socket and an interface of its own, driven as an operator drives it.
 */
import { join } from "node:path";
import type { MemberStatus, MeshStatus } from "../../../src/daemon/status.ts";
import { type Ran, type Running, until } from "./process.ts";
import type { Host } from "./stage.ts";

export const program = new URL("../../../bin/meshvpn", import.meta.url).pathname;
export const port = 51820;

/** Another program than the checkout's, such as one that was installed. */
export interface NodeOptions {
  readonly program?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export class Node {
  readonly host: Host;
  readonly name: string;
  readonly interfaceName: string;
  readonly directory: string;
  readonly socket: string;
  identity = "";
  daemon: Running | undefined;

  readonly #options: NodeOptions;

  private constructor(host: Host, name: string, options: NodeOptions) {
    this.#options = options;
    this.host = host;
    this.name = name;
    this.interfaceName = host.stage.interfaceName();
    this.directory = join(host.stage.directory, name);
    this.socket = join(host.stage.directory, `${name}.sock`);
  }

  /** With an identity, and trusting nobody. */
  static async make(host: Host, name: string, options: NodeOptions = {}): Promise<Node> {
    const node = new Node(host, name, options);
    node.identity = (await node.ok("keygen")).trim();
    return node;
  }

  get program(): string {
    return this.#options.program ?? program;
  }

  /** Without anything: not even a state directory. */
  static fresh(host: Host, name: string): Node {
    return new Node(host, name, {});
  }

  /** Comes in by the token, and is up when this returns. */
  async join(token: string, ...args: string[]): Promise<string> {
    const said = await this.ok("join", token, ...args);
    this.identity = (await this.ok("export")).trim();
    return said;
  }

  get env(): Record<string, string> {
    return {
      ...(this.#options.program === undefined ? { MESHVPN_BUN: process.execPath } : {}),
      ...this.#options.env,
      MESHVPN_STATE_DIR: this.directory,
      MESHVPN_CONTROL_SOCKET: this.socket,
      MESHVPN_INTERFACE: this.interfaceName,
      MESHVPN_NAME: this.name,
    };
  }

  /** Where others find it. */
  get seed(): string {
    return `${this.host.v4}:${port}`;
  }

  async meshvpn(...args: string[]): Promise<Ran> {
    return await this.host.run([this.program, ...args], { env: this.env });
  }

  async ok(...args: string[]): Promise<string> {
    return await this.host.runOk([this.program, ...args], { env: this.env });
  }

  async trust(...others: readonly Node[]): Promise<void> {
    for (const other of others) await this.ok("trust", other.identity, "--name", other.name);
  }

  /** Starts the daemon; it is up when this returns. */
  async up(...args: string[]): Promise<Running> {
    const daemon = this.launch(...args);
    await until(`${this.name} to be up`, () => daemon.log().includes("meshvpn: up: "), {
      timeoutMs: 20_000,
      evidence: () => daemon.log(),
    });
    return daemon;
  }

  /** Starts the daemon, and does not wait. */
  launch(...args: string[]): Running {
    this.daemon = this.host.start([this.program, "up", ...args], this.env);
    return this.daemon;
  }

  async status(): Promise<MeshStatus> {
    return JSON.parse(await this.ok("status", "--json"));
  }

  async member(other: Node): Promise<MemberStatus | undefined> {
    return (await this.status()).members.find(({ identity }) => identity === other.identity);
  }

  /** Of its tunnel. */
  async address(family: 4 | 6): Promise<string> {
    const { addresses } = await this.status();
    const found = addresses.find((address) => address.includes(":") === (family === 6));
    if (found === undefined) throw new Error(`${this.name} has no IPv${family} address`);
    return found;
  }

  /** Whether one ping through the tunnel is answered within a second. */
  async reaches(address: string): Promise<boolean> {
    const { code } = await this.host.run(["ping", "-n", "-c", "1", "-W", "1", address]);
    return code === 0;
  }
}

/** Until each of the nodes has an answer from each other one, over both families. */
export async function untilConnected(nodes: readonly Node[], timeoutMs: number): Promise<void> {
  const targets = await Promise.all(
    nodes.map(async (node) => ({
      node,
      addresses: await Promise.all([node.address(4), node.address(6)]),
    })),
  );
  const pairs = nodes.flatMap((from) =>
    targets
      .filter(({ node }) => node !== from)
      .flatMap(({ node, addresses }) => addresses.map((address) => ({ from, to: node, address }))),
  );
  const evidence = (): string =>
    nodes.map(({ name, daemon }) => `--- ${name}\n${daemon?.log() ?? ""}`).join("\n");
  await Promise.all(
    pairs.map(({ from, to, address }) =>
      until(`${from.name} to reach ${to.name} on ${address}`, () => from.reaches(address), {
        timeoutMs,
        everyMs: 50,
        evidence,
      }),
    ),
  );
}
