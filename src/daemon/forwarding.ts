/**
 * Has the kernel forward what members send into the networks that this node offers, where the operator
 * asks for it, and takes that back at the end: switches of /proc/sys as they were, and a table of
 * nftables that hides members behind this machine's addresses. What is changed is on disk first, so that
 * what a killed daemon left is taken back at the next start, or by `down`. Switches are the machine's:
 * another daemon on it, or another program, may put them back meanwhile, so they are looked at again.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../base/errors.ts";
import { familyOf, formatPrefix, type IpPrefix } from "../base/ip.ts";
import {
  attempt,
  isSchema,
  readState,
  removeWhole,
  schema,
  unlessAbsent,
  type Warn,
  writeWhole,
} from "./files.ts";
import type { ForwardChoice } from "./setting.ts";

const file = "forwarding.json";
const bytesMax = 64 * 1024;
const switchesMax = 1_024;
const lookMs = 2_000;
const interfaces6 = "/proc/sys/net/ipv6/conf";

/** What was changed. */
interface Change {
  /** Paths of switches, and what they said before. */
  readonly switches: Readonly<Record<string, string>>;
  /** Of nftables; undefined: none. */
  readonly table: string | undefined;
}

const nothing: Change = { switches: {}, table: undefined };

export interface ForwardingOptions {
  readonly stateDirectory: string;
  readonly interfaceName: string;
  /** Members' addresses are from these. */
  readonly mesh: readonly IpPrefix[];
  readonly warn: Warn;
}

export class Forwarding {
  readonly #options: ForwardingOptions;
  #now = "";
  #state: ForwardChoice | "refused" = "off";
  /** What is on disk, and what each switch has to say. */
  #change: Change = nothing;
  #wanted: ReadonlyMap<string, string> = new Map();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: ForwardingOptions) {
    this.#options = options;
  }

  /** What holds. */
  get state(): ForwardChoice | "refused" {
    return this.#state;
  }

  /** What an earlier daemon left is gone, and this holds. A refusal is warned of, and changes nothing. */
  set(choice: ForwardChoice, offered: readonly IpPrefix[]): void {
    const { warn } = this.#options;
    const wanted = offered.length === 0 ? "off" : choice;
    const families = ([4, 6] as const).filter((family) =>
      offered.some(({ address }) => familyOf(address) === family),
    );
    const now = JSON.stringify([wanted, families]);
    if (now === this.#now) return;
    this.#now = now;
    this.#undo();
    this.#state = "off";
    if (wanted === "off") {
      if (choice !== "off") warn(`forward is ${choice}, and this node offers no network`);
      return;
    }
    try {
      this.#make(wanted, families);
      this.#state = wanted;
      this.#timer = setInterval(() => this.#look(), lookMs);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      this.#undo();
      this.#state = "refused";
      warn(error.sentence());
    }
  }

  close(): void {
    this.#undo();
    this.#now = "";
    this.#state = "off";
  }

  #undo(): void {
    clearInterval(this.#timer);
    this.#wanted = new Map();
    this.#change = nothing;
    undoForwarding(this.#options.stateDirectory, this.#options.warn);
  }

  #make(choice: ForwardChoice, families: readonly (4 | 6)[]): void {
    const { interfaceName, mesh } = this.#options;
    const wanted = new Map<string, string>();
    if (families.includes(4)) wanted.set("/proc/sys/net/ipv4/ip_forward", "1");
    if (families.includes(6)) {
      // A router takes no routes from others' announcements, unless it is told to go on.
      for (const name of unlessAbsent(() => readdirSync(interfaces6)) ?? []) {
        const path = join(interfaces6, name, "accept_ra");
        if (name !== "all" && name !== "lo" && readSwitch(path) === "1") wanted.set(path, "2");
      }
      wanted.set(`${interfaces6}/all/forwarding`, "1");
    }
    if (wanted.size > switchesMax) {
      throw switchRefused(`${interfaces6}/all/forwarding`, "there are too many interfaces");
    }
    this.#wanted = wanted;
    this.#change = {
      switches: {},
      table: choice === "masquerade" ? tableName(interfaceName) : undefined,
    };
    this.#set(before(wanted));
    const { table } = this.#change;
    if (table !== undefined) nft(masquerade(table, interfaceName, mesh));
  }

  /** Those that say something else now are set, once it is on disk what they said. */
  #set(said: Readonly<Record<string, string>>): void {
    // What was noted before is what the machine had before any of this.
    const switches = { ...said, ...this.#change.switches };
    this.#change = { ...this.#change, switches };
    keep(this.#options.stateDirectory, this.#change);
    for (const path of Object.keys(said)) writeSwitch(path, this.#wanted.get(path) as string);
  }

  #look(): void {
    try {
      const present = [...this.#wanted].filter(([path]) => readSwitch(path) !== undefined);
      const said = before(new Map(present));
      const names = Object.keys(said).map(nameOf);
      if (names.length === 0) return;
      this.#set(said);
      this.#options.warn(`${names.join(", ")}: another program put it back; it is set again`);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      clearInterval(this.#timer);
      this.#state = "refused";
      this.#options.warn(error.sentence());
    }
  }
}

/** What each of them says that does not say this. */
function before(wanted: ReadonlyMap<string, string>): Record<string, string> {
  const switches: Record<string, string> = {};
  for (const [path, value] of wanted) {
    const said = readSwitch(path);
    if (said === undefined) throw switchRefused(path, "it is not there");
    if (said !== value) switches[path] = said;
  }
  return switches;
}

/** Takes back what was changed and not taken back yet; whether there was anything. */
export function undoForwarding(stateDirectory: string, warn: Warn): boolean {
  const path = join(stateDirectory, file);
  const change = readState(path, bytesMax, decode, warn);
  if (change === undefined) return false;
  const complaints: string[] = [];
  const each = (undo: () => void): void => {
    try {
      undo();
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      complaints.push(error.sentence());
    }
  };
  if (change.table !== undefined) {
    // Made first, so that one that is gone already is no error.
    const { table } = change;
    each(() => nft(`table inet ${table} {}\ndelete table inet ${table}\n`));
  }
  for (const [path, before] of Object.entries(change.switches).toReversed()) {
    // Interfaces may be gone, and what they were told with them.
    if (readSwitch(path) !== undefined) each(() => writeSwitch(path, before));
  }
  for (const text of complaints) warn(text);
  attempt("take back forwarding", path, () => removeWhole(path));
  return true;
}

function tableName(interfaceName: string): string {
  return `meshvpn_${interfaceName.replace(/[^A-Za-z0-9_]/g, "_")}`;
}

/** Only what members send: the machine's own packets have its addresses already. */
function masquerade(table: string, interfaceName: string, mesh: readonly IpPrefix[]): string {
  const rules = mesh.map((prefix) => {
    const family = familyOf(prefix.address) === 4 ? "ip" : "ip6";
    return `    ${family} saddr ${formatPrefix(prefix)} oifname != "${interfaceName}" masquerade`;
  });
  return [
    `table inet ${table} {}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    "  chain outward {",
    "    type nat hook postrouting priority 100; policy accept;",
    ...rules,
    "  }",
    "}",
    "",
  ].join("\n");
}

function nft(text: string): void {
  const refused = (why: string): MeshError =>
    new MeshError(
      "nft_refused",
      "cannot hide members behind this machine's addresses",
      why,
      'install nftables, or say forward = "on" and give the network a route back',
    );
  if (Bun.which("nft") === null) throw refused("there is no program nft");
  const { exitCode, stderr } = Bun.spawnSync(["nft", "-f", "-"], { stdin: Buffer.from(text) });
  if (exitCode !== 0) throw refused(`nft: ${stderr.toString().split("\n", 1)[0]}`);
}

function readSwitch(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

function writeSwitch(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    throw switchRefused(path, `the system refused (${error.code})`);
  }
}

function nameOf(path: string): string {
  return path.slice("/proc/sys/".length).replaceAll("/", ".");
}

function switchRefused(path: string, why: string): MeshError {
  const name = nameOf(path);
  const remedy = `set it with sysctl -w ${name}=1, or let this service write /proc/sys`;
  return new MeshError("forwarding_refused", `cannot set ${name}`, why, remedy);
}

function keep(stateDirectory: string, { switches, table }: Change): void {
  const text = `${JSON.stringify({ schema, switches, table: table ?? null })}\n`;
  attempt("remember what forwarding changes", stateDirectory, () =>
    writeWhole(join(stateDirectory, file), text),
  );
}

/** Interfaces may be called anything without a slash, a space or a colon. */
function isSwitch(path: string): boolean {
  if (path === "/proc/sys/net/ipv4/ip_forward") return true;
  const name = /^\/proc\/sys\/net\/ipv6\/conf\/([^/\s]+)\/(?:forwarding|accept_ra)$/.exec(
    path,
  )?.[1];
  return name !== undefined && name !== "." && name !== "..";
}

function decode(value: unknown): Change | undefined {
  if (!isSchema(value) || typeof value.switches !== "object" || value.switches === null) {
    return undefined;
  }
  const switches = Object.entries(value.switches as Record<string, unknown>);
  const right = switches.every(
    ([path, before]) => isSwitch(path) && typeof before === "string" && /^[0-9]$/.test(before),
  );
  if (!right || switches.length > switchesMax) return undefined;
  const { table } = value;
  if (
    table !== null &&
    !(typeof table === "string" && /^meshvpn_[A-Za-z0-9_]{1,15}$/.test(table))
  ) {
    return undefined;
  }
  return {
    switches: Object.fromEntries(switches) as Record<string, string>,
    table: table ?? undefined,
  };
}
