/**
 * The life of the plain device as an operator sees it: it is there when the command returns, `wg`
 * and wg-quick work on it, whatever ends it leaves nothing but the memory of timestamps, and what
 * cannot be is one line with a reason, a remedy and the right exit code.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { root } from "./support/implementations.ts";
import { processExists, type Ran, until } from "./support/process.ts";
import { type Host, Stage } from "./support/stage.ts";
import { generateKeys } from "./support/wireguard.ts";

const bin = join(root, "bin");
const program = join(bin, "meshvpn-wg");

let stage: Stage;
let host: Host;
let name: string;
let started = 0;

beforeAll(async () => {
  stage = Stage.open();
  [host] = (await stage.switched(1)) as [Host];
});
afterAll(() => stage.close());
afterEach(async () => {
  for (const pid of await host.processes()) process.kill(pid, "SIGKILL");
  await until("the namespace to be empty", async () => (await host.processes()).length === 0);
});

const socketPath = (): string => `/var/run/wireguard/${name}.sock`;
const stateDirectory = (): string => join(stage.directory, `state${started}`);

/** Runs the device's command under a new name, with a state directory of its own. */
async function device(
  options: { again?: boolean; env?: Record<string, string> } = {},
): Promise<Ran> {
  if (options.again !== true) {
    started += 1;
    name = stage.interfaceName();
  }
  const env = { MESHVPN_STATE_DIR: stateDirectory(), ...options.env };
  return await host.run([program, name], { env });
}

async function up(): Promise<number> {
  const ran = await device();
  expect(ran).toEqual({ code: 0, stdout: "", stderr: "" });
  const [pid] = await host.processes();
  return pid as number;
}

const wg = (...words: string[]): Promise<Ran> => host.run(["wg", ...words]);

async function gone(pid: number): Promise<void> {
  await until("the device to end", () => !processExists(pid));
  expect(await host.interfaces()).not.toContain(name);
  expect(existsSync(socketPath())).toBe(false);
}

function oneLine(ran: Ran): string {
  expect(ran.stdout).toBe("");
  expect(ran.stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(ran.stderr).toContain(";");
  return ran.stderr;
}

test("it answers wg as soon as the command returns, within a second", async () => {
  const start = performance.now();
  await up();
  expect((await wg("show", name, "listen-port")).code).toBe(0);
  expect(performance.now() - start).toBeLessThan(1000);
  expect(await host.interfaces()).toContain(name);
  expect(statSync(socketPath()).mode & 0o777).toBe(0o600);
});

test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
  "%s ends it, and nothing is left",
  async (signal) => {
    const pid = await up();
    process.kill(pid, signal);
    await gone(pid);
  },
);

test("deleting the interface ends it, and nothing is left", async () => {
  const pid = await up();
  await host.ip(`link delete ${name}`);
  await gone(pid);
});

test("deleting its UAPI socket ends it, and nothing is left", async () => {
  const pid = await up();
  rmSync(socketPath());
  await gone(pid);
});

test("the next one takes the place of one that was killed", async () => {
  const killed = await up();
  const { privateKey } = await generateKeys();
  const key = join(stage.directory, "key");
  writeFileSync(key, `${privateKey}\n`, { mode: 0o600 });
  expect((await wg("set", name, "private-key", key)).code).toBe(0);
  process.kill(killed, "SIGKILL");
  await until("the kill", () => !processExists(killed));
  expect(existsSync(socketPath())).toBe(true);
  expect((await device({ again: true })).code).toBe(0);
  expect((await wg("set", name, "private-key", key)).code).toBe(0);
});

test("one of the same name is refused while the first one lives", async () => {
  const pid = await up();
  const second = await device({ again: true });
  expect(second.code).toBe(1);
  expect(oneLine(second)).toContain(name);
  expect(processExists(pid)).toBe(true);
  expect((await wg("show", name)).code).toBe(0);
});

test("without a TUN device it says so", async () => {
  started += 1;
  name = stage.interfaceName();
  const hidden = `mount -t tmpfs none /dev/net && exec "${program}" ${name}`;
  const ran = await host.run(["unshare", "-m", "sh", "-c", hidden]);
  expect(ran.code).toBe(1);
  expect(oneLine(ran)).toContain("/dev/net/tun");
});

test("without the right to make interfaces it says so, with exit code 5", async () => {
  const ran = await host.run(
    ["setpriv", "--inh-caps=-all", "--bounding-set=-net_admin", program, stage.interfaceName()],
    { env: { MESHVPN_STATE_DIR: join(stage.directory, "unprivileged") } },
  );
  expect(ran.code).toBe(5);
  expect(oneLine(ran)).toContain("run as root");
});

test("a library that is not there is one line, passed on by the starter", async () => {
  const ran = await device({ env: { MESHVPN_LIBRARY: "/nonexistent.so" } });
  expect(ran.code).toBe(1);
  expect(oneLine(ran)).toContain("MESHVPN_LIBRARY");
});

test("a port in use is wg's error, and the device keeps the one it has", async () => {
  await up();
  const before = (await wg("show", name, "listen-port")).stdout;
  const held = "import socket,time;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);";
  const holder = host.start([
    "python3",
    "-uc",
    `${held}s.bind(("0.0.0.0",5151));print("bound");time.sleep(60)`,
  ]);
  await until("the port to be held", () => holder.log().includes("bound"));
  const ran = await wg("set", name, "listen-port", "5151");
  expect(ran.code).toBe(1);
  expect(ran.stderr).toContain("Address already in use");
  expect((await wg("show", name, "listen-port")).stdout).toBe(before);
  await holder.stop();
});

/** A UAPI conversation; resolves with everything up to an empty line. */
function ask(text: string, expectAnswer = true): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath(), () => socket.write(text));
    let answer = "";
    if (!expectAnswer) setTimeout(() => resolve(""), 50);
    socket.on("error", reject);
    socket.on("data", (data) => {
      answer += data.toString();
      if (!answer.endsWith("\n\n")) return;
      socket.destroy();
      resolve(answer);
    });
  });
}

test("half-sent requests hold up nobody, and malformed ones have an errno and no effect", async () => {
  await up();
  await Promise.all(
    ["set=1\nlisten_", "get=1\n", "", "set=1\nprivate_key=00"].map((half) => ask(half, false)),
  );
  expect((await wg("show", name)).code).toBe(0);
  for (const request of [
    "set=1\nfoo=1\n\n",
    "set=1\nprivate_key=12\n\n",
    "set=1\nlisten_port=x\n\n",
  ]) {
    expect(await ask(request)).toBe("errno=-22\n\n");
  }
  expect(await ask("get=1\n\n")).toMatch(/^listen_port=\d+\nerrno=0\n\n$/);
});

test("a damaged memory of timestamps is kept and said, and the device works on", async () => {
  await up();
  const { privateKey } = await generateKeys();
  const key = join(stage.directory, "damaged-key");
  writeFileSync(key, `${privateKey}\n`, { mode: 0o600 });
  await wg("set", name, "private-key", key);
  const [file] = readdirSync(stateDirectory()).map((entry) => join(stateDirectory(), entry));
  await host.ip(`link delete ${name}`);
  writeFileSync(file as string, "something else\n");
  const log = join(stage.directory, "damaged.log");
  await until("the first one to end", async () => (await host.processes()).length === 0);
  expect((await device({ again: true, env: { MESHVPN_LOG_FILE: log } })).code).toBe(0);
  expect((await wg("set", name, "private-key", key)).code).toBe(0);
  expect(readFileSync(`${file}.damaged`, "utf8")).toBe("something else\n");
  expect(readFileSync(log, "utf8")).toContain(`${file} was damaged`);
  expect((await wg("show", name)).code).toBe(0);
});

test("wg-quick brings it up with a default route and an address, and takes it down", async () => {
  name = stage.interfaceName();
  started += 1;
  const keys = [await generateKeys(), await generateKeys()];
  const folder = join(stage.directory, "quick");
  mkdirSync(folder, { mode: 0o700 });
  const config = join(folder, `${name}.conf`);
  const lines = [
    "[Interface]",
    `PrivateKey = ${keys[0]?.privateKey}`,
    "Address = 10.66.0.1/24, fd66::1/64",
    "[Peer]",
    `PublicKey = ${keys[1]?.publicKey}`,
    "AllowedIPs = 0.0.0.0/0, ::/0",
    "Endpoint = 192.0.2.200:51820",
  ];
  writeFileSync(config, `${lines.join("\n")}\n`, { mode: 0o600 });
  const env = {
    WG_QUICK_USERSPACE_IMPLEMENTATION: "meshvpn-wg",
    PATH: `${bin}:${process.env.PATH}`,
    MESHVPN_STATE_DIR: stateDirectory(),
  };
  const brought = await host.run(["wg-quick", "up", config], { env });
  expect(brought.code).toBe(0);
  expect((await wg("show", name, "allowed-ips")).stdout).toContain("0.0.0.0/0 ::/0");
  expect((await wg("show", name, "fwmark")).stdout.trim()).not.toBe("off");
  const [pid] = await host.processes();
  expect((await host.run(["wg-quick", "down", config], { env })).code).toBe(0);
  await gone(pid as number);
});
