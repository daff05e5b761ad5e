/**
 * What a device takes and gives back: peers that come and go leave no descriptor, thread or memory
 * behind in a daemon that runs on, and what ended leaves nothing at all.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./support/implementations.ts";
import { processExists, type Ran, until } from "./support/process.ts";
import { type Host, Stage } from "./support/stage.ts";
import { generateKeys } from "./support/wireguard.ts";

const program = join(root, "bin", "meshvpn-wg");
const peersAtOnce = 400;
/** JavaScript's heap grows until a collection; a leak of 400 peers' keys and tables each round shows. */
const growthKbMax = 48 * 1024;

let stage: Stage;
let host: Host;

beforeAll(async () => {
  stage = Stage.open();
  [host] = (await stage.switched(1)) as [Host];
});
afterAll(() => stage.close());

interface Taken {
  readonly descriptors: number;
  readonly threads: number;
  readonly memoryKb: number;
}

function takenBy(pid: number): Taken {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    memoryKb: Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(status)?.[1]),
  };
}

/** As many peers as a round has, each with a key, an endpoint and two prefixes of its own. */
function peersText(round: number): string {
  let text = "";
  for (let i = 0; i < peersAtOnce; i += 1) {
    const key = Buffer.alloc(32, 7);
    key.writeUInt32LE(round * peersAtOnce + i, 0);
    text += `[Peer]\nPublicKey = ${key.toString("base64")}\nEndpoint = 127.0.0.1:9\n`;
    text += `AllowedIPs = 10.${round % 200}.${i >> 8}.${i & 255}/32, fd00:${round}::${i}/128\n`;
  }
  return text;
}

test("thousands of peers come and go, and a daemon that runs on takes what it took", async () => {
  const name = stage.interfaceName();
  const env = { MESHVPN_STATE_DIR: join(stage.directory, "state") };
  expect(await host.run([program, name], { env })).toEqual({ code: 0, stdout: "", stderr: "" });
  const [pid = 0] = await host.processes();
  const wg = (...words: string[]): Promise<Ran> => host.run(["wg", ...words]);
  const { privateKey } = await generateKeys();
  const configuration = join(stage.directory, "conf");
  const own = `[Interface]\nPrivateKey = ${privateKey}\nListenPort = 51820\n`;

  const play = async (round: number): Promise<void> => {
    writeFileSync(configuration, own + peersText(round), { mode: 0o600 });
    expect((await wg("setconf", name, configuration)).code).toBe(0);
    expect((await wg("show", name, "peers")).stdout.trim().split("\n")).toHaveLength(peersAtOnce);
    writeFileSync(configuration, own, { mode: 0o600 });
    expect((await wg("setconf", name, configuration)).code).toBe(0);
    expect((await wg("show", name, "peers")).stdout).toBe("");
  };
  // The first rounds fill what is kept for good: tables that grew, code that was compiled.
  for (let round = 0; round < 5; round += 1) await play(round);
  const before = takenBy(pid);
  for (let round = 5; round < 15; round += 1) await play(round);
  // The last client's socket may still be closing.
  await until("descriptors to be given back", () => takenBy(pid).descriptors <= before.descriptors);
  const after = takenBy(pid);
  expect(after.descriptors).toBe(before.descriptors);
  expect(after.threads).toBeLessThanOrEqual(before.threads);
  expect(after.memoryKb - before.memoryKb).toBeLessThan(growthKbMax);

  process.kill(pid, "SIGTERM");
  await until("the device to end", () => !processExists(pid));
  expect(await host.processes()).toEqual([]);
  expect(await host.interfaces()).not.toContain(name);
  expect(existsSync(`/var/run/wireguard/${name}.sock`)).toBe(false);
});
