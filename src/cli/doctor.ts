/**
 * `meshvpn doctor [PEER]`: from this machine to a member, link by link, and the first that is broken,
 * with the mend. Asks the daemon here, the member itself, and where it cannot be reached the members
 * that both know. Changes nothing.
 */
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { readConfig, readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import { readPolicy } from "../daemon/policy-file.ts";
import type { ConfigSources, MeshConfig } from "../daemon/setting.ts";
import { checkKeys } from "../daemon/state.ts";
import type { MeshStatus } from "../daemon/status.ts";
import type { NodeView } from "../daemon/view.ts";
import { askWitness } from "../daemon/witness.ts";
import { isFullOrReadOnly } from "../native/disk.ts";
import { parseIdentity } from "../trust/identity.ts";
import type { Called } from "./ask.ts";
import {
  type MachineEvidence,
  machineLinks,
  type NodeEvidence,
  nodeLinks,
} from "./doctor-chain.ts";
import { firstBroken, type Link } from "./doctor-link.ts";
import { peerLinks } from "./doctor-peer.ts";
import { readForwards, routeLinks } from "./doctor-routes.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { findMember, nameOf } from "./member.ts";
import { printRows } from "./print.ts";
import { openCrypto } from "./trust-context.ts";

export const doctorSchema = 1;
/** Of the settings; the others are read for mistakes in the file and in the environment. */
const needed = ["state_dir", "control_socket", "tun"] as const;
const witnessesMax = 3;
const askMs = 2_000;
/** What is above IPv6 and ICMPv6 in a packet. */
const pingHeaderBytes = 48;
/** The program is younger than this; a clock that says less has not been set. */
const builtMs = Date.UTC(2026, 0, 1);

export default defineCommand({
  meta: {
    name: "doctor",
    description:
      "Say what is broken first, on this machine or on the way to a member, and how to mend it; exit code 4 where something is. " +
      "Example: meshvpn doctor laptop",
  },
  args: {
    peer: {
      type: "positional",
      required: false,
      valueHint: "PEER",
      description: "a member: its name, identity or address",
    },
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(needed),
  },
  async run(called) {
    const { args } = called;
    const peer = typeof args.peer === "string" ? args.peer : undefined;
    const links = await examine(called, peer);
    const first = firstBroken(links);
    if (args.json === true) {
      const report = { schema: doctorSchema, healthy: first === undefined, links };
      console.log(JSON.stringify({ ...report, first_broken: first ?? null }));
    } else process.stdout.write(doctorText(links, first, process.stdout.isTTY === true));
    return first === undefined ? 0 : 4;
  },
});

export function doctorText(
  links: readonly Link[],
  first: Link | undefined,
  terminal: boolean,
): string {
  const rows = links.map(({ link, state, words, mend }) => [
    state,
    link,
    state === "ok" || mend === "" ? words : `${words}; ${mend}`,
  ]);
  const table = printRows(["STATE", "LINK", "WHAT"], rows, terminal);
  if (!terminal) return table;
  const last =
    first === undefined ? "nothing is broken" : `broken first: ${first.link}: ${first.words}`;
  return `${table}\n${last}\n${first === undefined ? "" : `mend: ${first.mend}\n`}`;
}

async function examine(called: Called, peer: string | undefined): Promise<readonly Link[]> {
  const { evidence, status } = await machine(called);
  const links = [...machineLinks(evidence)];
  if (status === undefined) return links;
  const tell = async (about: string): Promise<OwnAnswer> =>
    (await ask(evidence.socket, { command: "doctor", about })) as OwnAnswer;
  const { node } = await tell(status.identity);
  if (peer === undefined) {
    links.push(...nodeLinks(node, Date.now()));
    return [...links, ...routeLinks(status, readForwards(status.interface))];
  }
  return [...links, ...(await towards(status, peer, node, tell))];
}

/** What the own daemon answers. */
export interface OwnAnswer {
  readonly view: NodeView;
  readonly node: NodeEvidence;
}

async function towards(
  status: MeshStatus,
  peer: string,
  node: NodeEvidence,
  tell: (about: string) => Promise<OwnAnswer>,
): Promise<readonly Link[]> {
  const stranger = strangerOf(status, node, peer);
  const member = stranger === undefined ? findMember(status, peer) : undefined;
  const identity = member?.identity ?? (stranger as string);
  const { view: own } = await tell(identity);
  const address = member?.addresses.find((each) => each.includes(":"));
  const { theirs, witnesses } = await askThere(
    status,
    identity,
    own.path === "-" ? undefined : address,
  );
  const pings = address !== undefined && own.path !== "-";
  const small = pings && (await passes(address, 8));
  const large = small && (await passes(address, own.mtu - pingHeaderBytes));
  return peerLinks({
    name: member === undefined ? peer : nameOf(member),
    identity,
    node,
    own,
    theirs,
    witnesses,
    small,
    large,
    wallMs: Date.now(),
  });
}

/** Whoever is no member, and that is the finding: a key, or the name of somebody who was refused. */
function strangerOf(
  { members }: MeshStatus,
  { refused }: NodeEvidence,
  peer: string,
): string | undefined {
  if (parseIdentity(peer) !== undefined) {
    return members.some(({ identity }) => identity === peer) ? undefined : peer;
  }
  const isMember = members.some(({ name, given_name: given }) => name === peer || given === peer);
  const named = refused.filter(({ name }) => name === peer);
  return isMember || named.length !== 1 ? undefined : named[0]?.identity;
}

/** The member itself, then members that are connected here, in its place. */
async function askThere(
  status: MeshStatus,
  identity: string,
  address: string | undefined,
): Promise<{ theirs: { view: NodeView; through: string } | undefined; witnesses: number }> {
  if (address !== undefined) {
    const view = await askWitness(address, {}, askMs);
    if (view !== undefined) return { theirs: { view, through: "itself" }, witnesses: 0 };
  }
  const common = status.members
    .filter((each) => each.path !== "-" && each.identity !== identity)
    .slice(0, witnessesMax);
  for (const each of common) {
    const via = each.addresses.find((text) => text.includes(":"));
    const view =
      via === undefined ? undefined : await askWitness(via, { ask: identity }, 2 * askMs);
    if (view !== undefined) {
      return { theirs: { view, through: `through ${nameOf(each)}` }, witnesses: common.length };
    }
  }
  return { theirs: undefined, witnesses: common.length };
}

async function passes(address: string, bytes: number): Promise<boolean> {
  if (Bun.which("ping") === null) return true;
  const words = ["-n", "-q", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", `${bytes}`];
  const child = Bun.spawn(["ping", ...words, address], { stdout: "ignore", stderr: "ignore" });
  return (await child.exited) === 0;
}

async function machine(
  called: Called,
): Promise<{ evidence: MachineEvidence; status: MeshStatus | undefined }> {
  const sources = settingSources(needed, called.args, called.rawArgs);
  let config: MeshConfig | undefined;
  let wrong: string | undefined;
  try {
    config = readConfig(sources);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    wrong = error.sentence();
  }
  // What is wrong in the file need not keep the daemon from being asked.
  const said = config ?? settingsNeeded(sources);
  const { daemon, status } = await daemonState(said.control_socket);
  return {
    status,
    evidence: {
      config: wrong,
      daemon,
      socket: said.control_socket,
      isRoot: process.getuid?.() === 0,
      netAdmin: hasNetAdmin(),
      tun: tunState(),
      tunWanted: said.tun,
      identity: await identityState(said.state_dir),
      stateDirectory: said.state_dir,
      stateUnwritable: isFullOrReadOnly(said.state_dir),
      policy: policyMistake(said.state_dir),
      wallMs: Date.now(),
      builtMs,
    },
  };
}

/** The whole of it is said of the configuration already. */
const elsewhere = (): void => undefined;
/** Of a configuration with a mistake: what can be read of it, else what flags and defaults say. */
function settingsNeeded(sources: ConfigSources): Pick<MeshConfig, (typeof needed)[number]> {
  try {
    return readSettings({ ...sources, mistake: elsewhere }, needed);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const { flags } = sources;
    return readSettings(
      { flags, environment: {}, file: "/dev/null", hostname: hostname() },
      needed,
    );
  }
}

/** What keeps a daemon from starting, and from reading its policy again; undefined: nothing. */
function policyMistake(directory: string): string | undefined {
  try {
    readPolicy(directory);
    return undefined;
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    // A user who may not look is told so of the identity.
    return error.code === "permission_denied" ? undefined : error.sentence();
  }
}

async function daemonState(
  socket: string,
): Promise<{ daemon: MachineEvidence["daemon"]; status: MeshStatus | undefined }> {
  try {
    const status = (await ask(socket, { command: "status" })) as MeshStatus;
    return { daemon: "answers", status };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const daemon =
      error.code === "daemon_not_running"
        ? "not running"
        : error.code === "permission_denied"
          ? "permission denied"
          : "silent";
    return { daemon, status: undefined };
  }
}

/** CAP_NET_ADMIN among the effective ones (linux/capability.h). */
function hasNetAdmin(): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return (BigInt(`0x${mask ?? "0"}`) & (1n << 12n)) !== 0n;
}

function tunState(): MachineEvidence["tun"] {
  const status = statSync("/dev/net/tun", { throwIfNoEntry: false });
  if (status === undefined) return "absent";
  return status.isCharacterDevice() ? "there" : "no device";
}

async function identityState(directory: string): Promise<MachineEvidence["identity"]> {
  try {
    checkKeys(await openCrypto(), directory);
    return "there";
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    if (error.code === "permission_denied") return "unreadable";
    if (error.code !== "identity_missing") return error;
  }
  // A directory that may not be entered looks as if it were empty.
  const status = statSync(directory, { throwIfNoEntry: false });
  const closed =
    status !== undefined && status.uid !== process.getuid?.() && process.getuid?.() !== 0;
  return closed ? "unreadable" : "absent";
}
