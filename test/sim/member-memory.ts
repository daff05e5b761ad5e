/**
 * What members cost a real node: a process with `MeshNode`, real cryptography and a data plane (but no
 * interface), given as many certified members as are asked for, as its disk would give them, each of
 * whom has shaken hands once; and another with none. `bun test/sim/member-memory.ts [MEMBERS]` prints
 * one line of JSON; the exit code is 0 only where it holds: 16 MiB above an empty node for 10,000
 * members, of everything that JavaScript holds, and no peer in the data plane for any of them. Resident
 * memory is told beside it: what reading them from the disk left to the allocator is in it.
 */
import { heapStats } from "bun:jsc";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateHeapSnapshot } from "bun";
import { formatKey } from "../../src/base/base64.ts";
import { readMembers, writeMembers } from "../../src/daemon/state.ts";
import { MeshNode } from "../../src/mesh/node.ts";
import { NativeCrypto } from "../../src/native/crypto.ts";
import { NativeDataplane } from "../../src/native/dataplane.ts";
import { loadLibrary } from "../../src/native/library.ts";
import { StampMap } from "../../src/noise/stamps.ts";
import { ipv4PrefixDefault } from "../../src/trust/address.ts";
import { identityOf, networkIdOf, parseIdentity } from "../../src/trust/identity.ts";
import { wireguardKeyOf } from "../../src/trust/record.ts";
import { phantoms } from "../support/phantoms.ts";

/** 16 MiB for ten thousand. */
export const bytesPerMemberMax = (16 * 2 ** 20) / 10_000;
/** Until freed pages are the system's again. */
const returnMs = 1_500;
/** What a node of any size may be off by: pages and buffers that are not full. */
const slackBytes = 2 ** 20;

export interface Figures {
  readonly members: number;
  /** Everything that JavaScript holds, buffers included. */
  readonly heapBytes: number;
  readonly objects: number;
  readonly residentBytes: number;
  readonly peers: number;
}

export interface Verdict {
  readonly members: number;
  readonly holds: boolean;
  readonly heap_mib_above_an_empty_one: number;
  readonly heap_bytes_per_member: number;
  readonly objects_per_member: number;
  readonly resident_mib_above_an_empty_one: number;
  /** In the data plane: a member has one only while a session is wanted. */
  readonly peers: number;
}

/** With so many members, and with none, each in a process of its own. */
export function measure(members: number): Verdict {
  const directory = mkdtempSync(join(tmpdir(), "meshvpn-memory-"));
  try {
    const { organisation, records } = phantoms(members, { ipv4: true });
    writeMembers(directory, records);
    const [full, empty] = [directory, ""].map((from) => childFigures(from, organisation));
    const { heapBytes, objects, residentBytes } = full as Figures;
    const before = empty as Figures;
    const heap = heapBytes - before.heapBytes;
    const resident = residentBytes - before.residentBytes;
    const most = members * bytesPerMemberMax + slackBytes;
    return {
      members: (full as Figures).members,
      holds: (full as Figures).members === members && heap <= most && (full as Figures).peers === 0,
      heap_mib_above_an_empty_one: rounded(heap / 2 ** 20),
      heap_bytes_per_member: Math.round(heap / members),
      objects_per_member: rounded((objects - before.objects) / members),
      resident_mib_above_an_empty_one: rounded(resident / 2 ** 20),
      peers: (full as Figures).peers,
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function childFigures(directory: string, organisation: string): Figures {
  const command = [process.execPath, import.meta.path, "--child", directory, organisation];
  const child = Bun.spawnSync(command, { stderr: "inherit", env: { ...process.env } });
  if (child.exitCode !== 0) throw new Error(`the node ended with ${child.exitCode}`);
  return JSON.parse(child.stdout.toString()) as Figures;
}

async function child(directory: string, organisation: string): Promise<Figures> {
  const library = loadLibrary();
  const crypto = new NativeCrypto(library);
  const dataplane = NativeDataplane.open(library, { interfaceName: "", tun: false });
  const node = start(crypto, directory, parseIdentity(organisation) as Uint8Array);
  const commands = [];
  for (let it = node.pollCommand(); it; it = node.pollCommand()) commands.push(it);
  dataplane.apply(commands);
  while (node.pollEvent() !== undefined);
  while (node.pollTransmit() !== undefined);
  const figures = await figuresOf(node);
  if (process.env.HEAP_SNAPSHOT !== undefined && directory !== "") {
    writeFileSync(process.env.HEAP_SNAPSHOT, JSON.stringify(generateHeapSnapshot()));
  }
  dataplane.close();
  return figures;
}

function start(crypto: NativeCrypto, directory: string, organisation: Uint8Array): MeshNode {
  const known = directory === "" ? [] : [...readMembers(directory, () => undefined)];
  const accepted = new StampMap();
  for (const [at, record] of known.entries()) {
    accepted.set(formatKey(wireguardKeyOf(record)), new Uint8Array(12).fill(at & 255));
  }
  const node = new MeshNode({
    crypto,
    random: crypto,
    identity: identityOf(crypto, crypto.generate()),
    networkId: networkIdOf(crypto, "meshvpn"),
    name: "self",
    wireguardKey: crypto.generate(),
    ipv4Prefix: ipv4PrefixDefault,
    mtu: 1360,
    trusted: [],
    trust: { organisations: [organisation] },
    seeds: [],
    candidates: [],
    members: takenOut(known),
    history: { accepted },
  });
  node.start({ ms: 0, wallMs: Date.now() });
  return node;
}

/** One after the other, so that nobody keeps them. */
function* takenOut(records: Uint8Array[]): Iterable<Uint8Array> {
  for (let record = records.pop(); record !== undefined; record = records.pop()) yield record;
}

async function figuresOf(node: MeshNode): Promise<Figures> {
  for (let i = 0; i < 3; i += 1) Bun.gc(true);
  Bun.shrink();
  // What was let go of returns to the system by and by.
  await Bun.sleep(returnMs);
  const { heapSize, objectCount } = heapStats();
  return {
    members: node.membership.table.size - 1,
    // Buffers are in it already.
    heapBytes: heapSize,
    objects: objectCount,
    residentBytes: process.memoryUsage.rss(),
    peers: [...node.peers.peers()].length,
  };
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

if (import.meta.main) {
  const [first = "10000", directory = "", organisation = ""] = process.argv.slice(2);
  if (first === "--child") {
    console.log(JSON.stringify(await child(directory, organisation)));
  } else {
    const verdict = measure(Number(first));
    console.log(JSON.stringify(verdict));
    process.exit(verdict.holds ? 0 : 1);
  }
}
