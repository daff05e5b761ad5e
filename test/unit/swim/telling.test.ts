/** How much is told to whom: by a node that holds sessions with doors and with others. */
import { expect, test } from "bun:test";
import { Fetches } from "../../../src/swim/fetches.ts";
import { Gossip, type GossipOutput } from "../../../src/swim/gossip.ts";
import { decodeMessage } from "../../../src/swim/message.ts";
import { Outbox } from "../../../src/swim/outbox.ts";
import { profileLan } from "../../../src/swim/profile.ts";
import type { Link } from "../../../src/swim/state.ts";
import { statementBytes } from "../../../src/swim/statement.ts";
import { Telling } from "../../../src/swim/telling.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { put, signerOf, stored, tableOf } from "../../support/swim-parts.ts";

const output: GossipOutput = {
  alive: () => undefined,
  left: () => undefined,
  accused: () => true,
  isAccusable: () => true,
  hasAccused: () => false,
  lacks: () => undefined,
  isHearsay: () => false,
  fetchesBulk: () => false,
};

/** Members of a mesh, and as many accusations of them as there are: news enough for everybody. */
function scene(members: number): {
  telling: Telling;
  outbox: Outbox;
  link(slot: number, entry: boolean): void;
} {
  const random = new SeededRandom(1);
  const self = random.bytes(32);
  const table = tableOf(self);
  table.setRecord(0, stored(table.records, self, 1));
  const outbox = new Outbox(table);
  const gossip = new Gossip(table, profileLan, signerOf(self), new Fetches(), output);
  for (let i = 0; i < members; i += 1) {
    const slot = put(table, random.bytes(32), 1);
    gossip.accuse({ ms: 10_000 * i, wallMs: 0 }, slot);
  }
  return {
    telling: new Telling(table, gossip, outbox, random, profileLan),
    outbox,
    link: (slot, entry) => {
      table.setLinked(0, slot, true);
      (table.link(slot) as Link).entry = entry;
    },
  };
}

function bytesOf(statements: readonly Uint8Array[]): number {
  return statements.reduce((sum, { length }) => sum + length, 0);
}

test("a door of a large mesh is told a little, and others as much as fits", () => {
  const { telling, link } = scene(200);
  link(1, true);
  link(2, false);
  expect(bytesOf(telling.beside(0, 1, 1_000))).toBeLessThanOrEqual(4 * statementBytes);
  expect(bytesOf(telling.beside(0, 2, 1_000))).toBeGreaterThan(4 * statementBytes);
});

test("and so it is with gossip of its own", () => {
  const { telling, link, outbox } = scene(200);
  link(1, true);
  telling.handleTimeout({ ms: 10_000, wallMs: 0 });
  const message = decodeMessage(outbox.poll()?.bytes ?? new Uint8Array());
  const run = message?.kind === "gossip" ? message.statements : undefined;
  expect(run && run.to - run.from).toBeLessThanOrEqual(4 * statementBytes);
});

test("in a small one all are alike", () => {
  const { telling, link } = scene(20);
  link(1, true);
  expect(bytesOf(telling.beside(0, 1, 1_000))).toBeGreaterThan(4 * statementBytes);
});

test("beside pings and acks goes 32 KiB a second, whoever asks", () => {
  const { telling, link } = scene(900);
  link(2, false);
  let bytes = 0;
  for (let i = 0; i < 200; i += 1) bytes += bytesOf(telling.beside(0, 2, 1_000));
  expect(bytes).toBeLessThanOrEqual(32 * 1024);
  expect(bytes).toBeGreaterThan(31 * 1024);
  expect(telling.beside(0, 2, 1_000)).toHaveLength(0);
  expect(bytesOf(telling.beside(1_000, 2, 1_000))).toBeGreaterThan(4 * statementBytes);
});
