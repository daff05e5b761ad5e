/**
 * What a member costs a daemon's node in JavaScript's heap: the real `MeshNode` with its own peers and
 * stores, given as many signed records as there are members, and again none. What the data plane keeps
 * for a peer comes on top of it. `bun test/sim/member-memory.ts [MEMBERS]` prints one line of JSON.
 */

import { heapStats } from "bun:jsc";
import { writeFileSync } from "node:fs";
import { generateHeapSnapshot } from "bun";
import { MeshNode } from "../../src/mesh/node.ts";
import { ipv4PrefixDefault } from "../../src/trust/address.ts";
import { networkIdOf } from "../../src/trust/identity.ts";
import { signRecord } from "../../src/trust/record.ts";
import { CheapCrypto } from "../support/cheap-crypto.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimOrganisation } from "./sim-organisation.ts";

const hourMs = 3_600_000;
const wallStartMs = Date.UTC(2026, 0, 1);

interface Heap {
  readonly bytes: number;
  readonly objects: number;
}

function heap(): Heap {
  for (let i = 0; i < 3; i += 1) Bun.gc(true);
  const { heapSize, extraMemorySize, objectCount } = heapStats();
  return { bytes: heapSize + extraMemorySize, objects: objectCount };
}

function main(): void {
  const members = Number(process.argv[2] ?? 10_000);
  const random = new SeededRandom(1);
  const crypto = new CheapCrypto(random);
  const networkId = networkIdOf(crypto, "sim");
  const organisation = new SimOrganisation({ crypto, random, networkId });
  const makeIdentity = () => {
    const seed = crypto.importSecret(random.bytes(32));
    return { seed, publicKey: crypto.identityPublicKey(seed) };
  };
  const records = Array.from({ length: members }, (_, i) => {
    const identity = makeIdentity();
    const fields = {
      sequence: wallStartMs,
      expiresWallMs: wallStartMs + 24 * hourMs,
      wireguardKey: crypto.publicKey(crypto.importSecret(random.bytes(32))),
      name: `node-${i}`,
      candidates: [10, 192].map((first) => {
        const address = `${first}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
        return { kind: "interface" as const, address, port: 51820 };
      }),
      natKind: "none" as const,
      relay: false,
      ipv4: { candidate: 0, prefix: ipv4PrefixDefault },
      prefixes: [],
    };
    const certificate = organisation.certify(identity.publicKey, wallStartMs);
    return signRecord(crypto, networkId, identity, fields, certificate);
  });
  const identity = makeIdentity();
  const started = (known: Iterable<Uint8Array>): MeshNode => {
    const node = new MeshNode({
      crypto,
      random: new SeededRandom(2),
      identity,
      networkId,
      name: "self",
      wireguardKey: crypto.importSecret(random.bytes(32)),
      ipv4Prefix: ipv4PrefixDefault,
      mtu: 1360,
      trusted: [],
      trust: { organisations: [organisation.publicKey] },
      seeds: [],
      candidates: [],
      members: known,
    });
    node.start({ ms: 0, wallMs: wallStartMs });
    drain(node);
    return node;
  };
  const empty = started([]);
  const before = heap();
  const startedMs = performance.now();
  const node = started(copies(records));
  const seconds = (performance.now() - startedMs) / 1000;
  const after = heap();
  if (process.env.HEAP_SNAPSHOT !== undefined) {
    writeFileSync(process.env.HEAP_SNAPSHOT, JSON.stringify(generateHeapSnapshot()));
  }
  const bytes = after.bytes - before.bytes;
  console.log(
    JSON.stringify({
      members: node.membership.table.size - 1,
      mib_above_an_empty_one: Math.round((bytes / 2 ** 20) * 100) / 100,
      bytes_per_member: Math.round(bytes / members),
      objects_per_member: Math.round(((after.objects - before.objects) / members) * 10) / 10,
      seconds_to_take_them_up: Math.round(seconds * 100) / 100,
      empty_members: empty.membership.table.size - 1,
    }),
  );
}

/** One after the other, so that nobody keeps them. */
function* copies(records: readonly Uint8Array[]): Iterable<Uint8Array> {
  for (const record of records) yield record.slice();
}

/** As a daemon carries away what a node says. */
function drain(node: MeshNode): void {
  while (node.pollEvent() !== undefined);
  while (node.pollCommand() !== undefined);
  while (node.pollTransmit() !== undefined);
}

main();
