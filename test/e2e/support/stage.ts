/**
 * The scene of every end-to-end test: hosts, each a network namespace, on a wire (two) or on a
 * switch (any number), with IPv4 and IPv6 addresses of the outside network. Every name holds the
 * process id, so runs do not meet and a later run can tell what a dead one left. Closing a stage
 * ends what it started and removes what it made; so does SIGINT, SIGTERM and the end of the process.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processExists, type Ran, Running, type RunOptions, run, runOk } from "./process.ts";

const namespaceDirectory = "/run/netns";
const uapiDirectory = "/var/run/wireguard";
/** Names of namespaces, interfaces and directories: mv, process id, then a letter. */
const ours = /^mv(\d+)[a-z]/;
const hostsMax = 200;

const open = new Set<Stage>();
let made = 0;
let prepared = false;

export interface StageOptions {
  /** Everything outlives this process; whoever asked for it takes it down by hand. */
  readonly keep?: boolean;
}

export interface WireOptions {
  /** Of the outside network, in bytes. */
  readonly mtu?: number;
}

export interface WireEnd {
  readonly host: Host;
  /** Of the interface. */
  readonly name: string;
  /** With their prefix lengths. */
  readonly addresses: readonly string[];
}

export class Stage implements AsyncDisposable {
  /** For what tests write; goes with the stage. */
  readonly directory: string;
  readonly keep: boolean;
  readonly namespaces: string[] = [];
  readonly #running: Running[] = [];
  readonly #interfaceNames: string[] = [];
  readonly #prefix: string;
  #switch: Host | undefined;

  private constructor(options: StageOptions) {
    this.keep = options.keep ?? false;
    this.#prefix = `${this.keep ? "mvkeep" : "mv"}${process.pid}`;
    this.directory = mkdtempSync(join(tmpdir(), `${this.#prefix}d-`));
  }

  /** Needs root. */
  static open(options: StageOptions = {}): Stage {
    prepare();
    const stage = new Stage(options);
    open.add(stage);
    return stage;
  }

  /** Two hosts on one wire. */
  async pair(options: WireOptions = {}): Promise<[Host, Host]> {
    const left = await this.#host(1);
    const right = await this.#host(2);
    const peer = `type veth peer name eth0 netns ${right.namespace}`;
    await ip(["-n", left.namespace, "link", "add", "name", "eth0", ...peer.split(" ")]);
    await Promise.all([left, right].map((host) => host.plug(options)));
    return [left, right];
  }

  /** Any number of hosts on one switch, which is in a namespace of its own. */
  async switched(count: number, options: WireOptions = {}): Promise<Host[]> {
    if (count < 1 || count > hostsMax) throw new Error(`a switch has 1 to ${hostsMax} hosts`);
    const lan = await this.namespace("s");
    this.#switch = new Host(this, lan, { v4: "", v6: "" });
    const bridge = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0";
    await ip(["-n", lan, "link", "add", "name", "lan", ...bridge.split(" ")]);
    const hosts: Host[] = [];
    for (let number = 1; number <= count; number += 1) {
      const host = await this.#host(number);
      const peer = `master lan type veth peer name eth0 netns ${host.namespace}`;
      await ip(["-n", lan, "link", "add", "name", `p${number}`, ...peer.split(" ")]);
      await ip(["-n", lan, "link", "set", `p${number}`, ...mtuWords(options), "up"]);
      await host.plug(options);
      hosts.push(host);
    }
    await ip(["-n", lan, "link", "set", "lan", ...mtuWords(options), "up"]);
    return hosts;
  }

  /** The switch, and the name of its interface that a host is plugged into: what is sent by that one comes to
   * that host, past the switch's work. */
  portOf(host: Host): { switched: Host; name: string } {
    if (this.#switch === undefined) throw new Error("there is no switch");
    return { switched: this.#switch, name: `p${host.v4.split(".").at(-1)}` };
  }

  /** A host without any interface, for tests that lay their own wires. */
  async bare(): Promise<Host> {
    return await this.#host(0);
  }

  /** As `bare`, with the addresses of the outside network that `plug` gives to its eth0. */
  async host(number: number): Promise<Host> {
    return await this.#host(number);
  }

  /** A wire between two hosts whose ends are up, have these names, and no address but these. */
  async wire(...ends: readonly [WireEnd, WireEnd]): Promise<void> {
    const [one, other] = ends;
    const peer = `type veth peer name ${other.name} netns ${other.host.namespace}`;
    await one.host.ip(`link add name ${one.name} ${peer}`);
    for (const { host, name, addresses } of ends) {
      await host.ip(`link set ${name} up`);
      for (const address of addresses) await host.addAddress(address, name);
    }
  }

  /** A name for an interface that no other namespace has: UAPI sockets know no namespaces. */
  interfaceName(): string {
    made += 1;
    const name = `${this.#prefix}t${made}`;
    this.#interfaceNames.push(name);
    return name;
  }

  /** Takes charge of a program that stays. */
  adopt(running: Running): Running {
    this.#running.push(running);
    return running;
  }

  /** A program to its end in a namespace of this stage; gives stdout, and throws where it failed. */
  async runIn(namespace: string, command: readonly string[]): Promise<string> {
    return await runOk(["ip", "netns", "exec", namespace, ...command]);
  }

  /** Ends what runs in a namespace of this stage, and removes it. */
  drop(namespace: string): void {
    removeNamespace(namespace);
    this.namespaces.splice(this.namespaces.indexOf(namespace), 1);
  }

  async close(): Promise<void> {
    await Promise.all(this.#running.map((running) => running.stop()));
    this.closeNow();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** As `close`, without a grace for those that run and without waiting for anything. */
  closeNow(): void {
    open.delete(this);
    for (const running of this.#running) running.kill("SIGKILL");
    for (const namespace of this.namespaces) removeNamespace(namespace);
    for (const name of this.#interfaceNames) {
      rmSync(join(uapiDirectory, `${name}.sock`), { force: true });
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** The stage stays when the process ends, as `keep` promised. */
  leave(): void {
    open.delete(this);
  }

  async #host(number: number): Promise<Host> {
    const addresses = { v4: `192.0.2.${number}`, v6: `2001:db8::${number.toString(16)}` };
    return new Host(this, await this.namespace("h"), addresses);
  }

  /** Another namespace, with `lo` up; the letter tells what it is for. */
  async namespace(letter: string): Promise<string> {
    made += 1;
    const name = `${this.#prefix}${letter}${made}`;
    await ip(["netns", "add", name]);
    this.namespaces.push(name);
    await ip(["-n", name, "link", "set", "lo", "up"]);
    return name;
  }
}

/** A namespace with one interface, eth0, to the outside network. */
export class Host {
  readonly stage: Stage;
  readonly namespace: string;
  /** Addresses on eth0. */
  readonly v4: string;
  readonly v6: string;
  #started = 0;

  constructor(stage: Stage, namespace: string, addresses: { v4: string; v6: string }) {
    this.stage = stage;
    this.namespace = namespace;
    this.v4 = addresses.v4;
    this.v6 = addresses.v6;
  }

  outside(family: 4 | 6): string {
    return family === 4 ? this.v4 : this.v6;
  }

  /** Gives eth0 its MTU and addresses. */
  async plug(options: WireOptions): Promise<void> {
    await this.ip(["link set eth0", ...mtuWords(options), "up"].join(" "));
    await this.addAddress(`${this.v4}/24`, "eth0");
    await this.addAddress(`${this.v6}/64`, "eth0");
  }

  /** With its prefix length. */
  async addAddress(address: string, interfaceName: string): Promise<void> {
    // Without duplicate address detection an address can be used at once.
    const ready = address.includes(":") ? " nodad" : "";
    await this.ip(`address add ${address} dev ${interfaceName}${ready}`);
  }

  /** `ip` with these words, inside. */
  async ip(words: string): Promise<string> {
    return await ip(["-n", this.namespace, ...words.split(" ")]);
  }

  async run(command: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return await run(this.#inside(command), options);
  }

  /** As `run`, but an exit code other than 0 is an error; gives stdout. */
  async runOk(command: readonly string[], options: RunOptions = {}): Promise<string> {
    return await runOk(this.#inside(command), options);
  }

  /** A program that stays until the stage closes. */
  start(command: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
    this.#started += 1;
    const logPath = join(this.stage.directory, `${this.namespace}-${this.#started}.log`);
    const detached = this.stage.keep;
    return this.stage.adopt(new Running(this.#inside(command), { logPath, env, detached }));
  }

  /** Everything that runs inside. */
  async processes(): Promise<number[]> {
    return processesIn(await ip(["netns", "pids", this.namespace]));
  }

  async interfaces(): Promise<string[]> {
    const links: { ifname: string }[] = JSON.parse(await this.ip("-json link show"));
    return links.map((link) => link.ifname);
  }

  #inside(command: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.namespace, ...command];
  }
}

/** Closes every stage that a failed test left open; for `afterAll`. */
export async function closeStages(): Promise<void> {
  await Promise.all([...open].filter((stage) => !stage.keep).map((stage) => stage.close()));
}

function prepare(): void {
  if (prepared) return;
  prepared = true;
  sweep();
  const closeAll = (): void => {
    for (const stage of [...open]) stage.closeNow();
  };
  process.on("exit", closeAll);
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.on(signal, () => {
      closeAll();
      process.exit(code);
    });
  }
}

/** Removes what runs left that were killed before they could. */
function sweep(): void {
  for (const namespace of deadNames(namespaceDirectory)) removeNamespace(namespace);
  for (const directory of [tmpdir(), uapiDirectory]) {
    for (const name of deadNames(directory)) {
      rmSync(join(directory, name), { recursive: true, force: true });
    }
  }
}

function deadNames(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter((name) => {
    const pid = ours.exec(name)?.[1];
    return pid !== undefined && !processExists(Number(pid));
  });
}

/** Ends what runs inside, which are our own programs that detached themselves, and removes it. */
function removeNamespace(namespace: string): void {
  for (const pid of processesIn(ipNow(["netns", "pids", namespace]))) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (processExists(pid)) throw error;
    }
  }
  ipNow(["netns", "delete", namespace]);
}

function processesIn(pids: string): number[] {
  return pids
    .split("\n")
    .filter((pid) => pid !== "")
    .map(Number);
}

function mtuWords(options: WireOptions): string[] {
  return options.mtu === undefined ? [] : ["mtu", `${options.mtu}`];
}

export async function ip(words: readonly string[]): Promise<string> {
  return await runOk(["ip", ...words]);
}

function ipNow(words: readonly string[]): string {
  return Bun.spawnSync(["ip", ...words], { stderr: "ignore" }).stdout.toString();
}
