import { afterEach, describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import type { NodeView } from "../../../src/daemon/view.ts";
import { askWitness, Witness } from "../../../src/daemon/witness.ts";

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
const other = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const ms = 1_000;
let witness: Witness | undefined;

afterEach(() => witness?.stop());

function viewAbout(about: string): NodeView {
  return {
    schema: 1,
    identity: other,
    name: "beta",
    version: "0",
    network: "n",
    prefix: "10.99.0.0/16",
    mtu: 1360,
    port: 1,
    wall_ms: 0,
    about,
    trusts: true,
    state: "alive",
    path: "-",
    rtt_ms: null,
    handshake_age_s: null,
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Everybody on loopback is the member `asker`. */
async function listening(asker: string | undefined): Promise<number> {
  witness = new Witness({
    memberAt: () => asker,
    addressOf: () => undefined,
    view: viewAbout,
    nowMs: () => 0,
  });
  const port = await freePort();
  await witness.listen("127.0.0.1", port);
  return port;
}

describe("a witness", () => {
  test("tells a member what it knows of the asker, or of another", async () => {
    const port = await listening(key);
    expect((await askWitness("127.0.0.1", {}, ms, port))?.about).toBe(key);
    expect((await askWitness("127.0.0.1", { about: other }, ms, port))?.about).toBe(other);
  });

  test("tells nobody else anything, and counts that", async () => {
    const port = await listening(undefined);
    expect(await askWitness("127.0.0.1", {}, ms, port)).toBeUndefined();
    expect(witness?.refused).toBe(1);
  });

  test("knows nothing of a member that it does not reach", async () => {
    const port = await listening(key);
    expect(await askWitness("127.0.0.1", { ask: other }, ms, port)).toBeUndefined();
  });

  test("answers so many questions a second and no more", async () => {
    const port = await listening(key);
    const answers: unknown[] = [];
    for (let count = 0; count < 25; count += 1) {
      answers.push(await askWitness("127.0.0.1", {}, ms, port));
    }
    expect(answers.filter((answer) => answer !== undefined)).toHaveLength(20);
    expect(witness?.refused).toBe(5);
  });

  test("takes an answer of another form for none", async () => {
    const server = createServer((socket) => socket.end('{"trusts":"yes"}\n'));
    server.listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect(await askWitness("127.0.0.1", {}, ms, port)).toBeUndefined();
    server.close();
  });
});
