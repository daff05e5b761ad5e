/**
 * Secrets stay where they belong: private, preshared and session keys and the identity lie in the
 * library's arena alone, while they are in use; not in logs, answers and errors, not in what
 * JavaScript holds, not in what a core would hold, and nowhere at all once they are done with. The
 * test reads them out of the arena, as root may, and looks for their bytes and texts elsewhere.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ours } from "./support/implementations.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { run, until } from "./support/process.ts";
import { findSecrets, formsOf, secretsOf } from "./support/process-memory.ts";
import { type Host, Stage } from "./support/stage.ts";
import { firstPing, ping } from "./support/traffic.ts";
import { Tunnel, type WireGuardDevice } from "./support/wireguard.ts";

let stage: Stage;
let hosts: [Host, Host];

beforeAll(async () => {
  stage = Stage.open();
  hosts = await stage.pair();
});
afterAll(() => stage.close());

/** Names of the secrets of which some form is in the bytes. */
function secretsIn(bytes: Buffer, secrets: ReadonlyMap<string, Buffer>): string[] {
  return [...secrets]
    .flatMap(([name, secret]) => formsOf(name, secret))
    .filter(({ form }) => bytes.includes(form))
    .map(({ name }) => name);
}

/** As secretsIn, of a file of any size, and whether the text is in it. */
function searchFile(path: string, secrets: ReadonlyMap<string, Buffer>, text: string) {
  const file = openSync(path, "r");
  const found = new Set<string>();
  let hasText = false;
  try {
    const chunk = Buffer.alloc(16 << 20);
    const overlap = 256;
    for (let at = 0, got = 0; ; at += got - overlap) {
      got = readSync(file, chunk, 0, chunk.length, at);
      const bytes = chunk.subarray(0, got);
      for (const name of secretsIn(bytes, secrets)) found.add(name);
      hasText ||= bytes.includes(text);
      if (got < chunk.length) return { found: [...found], hasText };
    }
  } finally {
    closeSync(file);
  }
}

describe("a device's secrets", () => {
  let tunnel: Tunnel;
  let left: WireGuardDevice;
  let right: WireGuardDevice;
  let pid: number;
  let snapshot: string;
  const secrets = new Map<string, Buffer>();

  beforeAll(async () => {
    // Bun with something loaded before the program.
    const bun = join(stage.directory, "bun");
    const preload = join(import.meta.dir, "support/heap-snapshot.ts");
    writeFileSync(bun, `#!/bin/sh\nexec ${process.execPath} --preload ${preload} "$@"\n`);
    chmodSync(bun, 0o755);
    snapshot = join(stage.directory, "heap");
    const env = { LOG_LEVEL: "debug", MESHVPN_BUN: bun, HEAP_SNAPSHOT_PATH: snapshot };
    const options = { initiator: "left", presharedKey: true, outside: 4 } as const;
    tunnel = await Tunnel.open(hosts, [{ ...ours, env }, ours], options);
    ({ left, right } = tunnel);
    await firstPing(left.host, tunnel.address(right, 4));
    await ping(left.host, tunnel.address(right, 4), { count: 3 });
    [pid] = (await left.host.processes()) as [number];
    const privateKey = Buffer.from(left.keys.privateKey, "base64");
    for (const [at, secret] of secretsOf(pid).entries()) {
      secrets.set(secret.equals(privateKey) ? "the private key" : `secret ${at}`, secret);
    }
  });
  afterAll(() => tunnel?.close());

  test("are in its arena, which is not dumped, and nowhere else while they are in use", () => {
    // Private, preshared, what both keys make, and a key for each direction.
    expect(secrets.size).toBe(5);
    expect(secrets.has("the private key")).toBe(true);
    expect(findSecrets(pid, secrets)).toEqual([]);
  });

  test("of which each end has the other's are the same, so that these are the right ones", async () => {
    const [other] = (await right.host.processes()) as [number];
    const theirs = secretsOf(other);
    const shared = [...secrets.values()].filter((one) => theirs.some((it) => it.equals(one)));
    expect(shared.length).toBe(4);
  });

  test("are nothing that JavaScript holds, and nothing that the log says", async () => {
    process.kill(pid, "SIGUSR2");
    await until("the heap snapshot", () => existsSync(snapshot), { timeoutMs: 20_000 });
    const { found, hasText } = searchFile(snapshot, secrets, right.keys.publicKey);
    expect(found).toEqual([]);
    expect(hasText).toBe(true);
    const log = left.daemon.log();
    expect(log).not.toBe("");
    expect(secretsIn(Buffer.from(log), secrets)).toEqual([]);
  });

  test("are gone with their session, and the private key when it is taken away", async () => {
    await left.wg("set", "peer", right.keys.publicKey, "remove");
    await until("the session's secrets to go", () => secretsOf(pid).length === 1);
    const privateKey = secrets.get("the private key") as Buffer;
    expect(secretsOf(pid)).toEqual([privateKey]);
    expect(findSecrets(pid, secrets)).toEqual([]);
    const empty = join(stage.directory, "no-key");
    writeFileSync(empty, "");
    await left.wg("set", "private-key", empty);
    await until("the private key to go", () => secretsOf(pid).length === 0);
    expect(findSecrets(pid, secrets)).toEqual([]);
  });

  test("end with a crash that leaves no core, whatever the limit", async () => {
    const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
    expect(limits).toMatch(/^Max core file size +0 +0 /m);
    const directory = readlinkSync(`/proc/${pid}/cwd`);
    const cores = (): string[] => readdirSync(directory).filter((name) => name.startsWith("core"));
    const before = cores();
    // Raising it again takes CAP_SYS_RESOURCE; where that is had, the process is not dumpable.
    const raised = await run(["prlimit", "--core=unlimited", "--pid", String(pid)]);
    if (raised.code !== 0) console.log("the limit cannot be raised here, and stays 0");
    process.kill(pid, "SIGSEGV");
    await left.daemon.exited;
    const pattern = readFileSync("/proc/sys/kernel/core_pattern", "utf8").trim();
    if (!pattern.startsWith("core")) console.log(`cores go to ${pattern}, which is not looked at`);
    expect(cores()).toEqual(before);
  });
});

describe("a member's secrets", () => {
  const nodes: Node[] = [];
  afterAll(async () => {
    for (const node of nodes) await node.daemon?.stop();
  });

  test("are in its arena alone, not in its answers and not in its log", async () => {
    const [a, b] = [await Node.make(hosts[0], "alice"), await Node.make(hosts[1], "bob")];
    nodes.push(a, b);
    await a.trust(b);
    await b.trust(a);
    await a.up("--no-uapi");
    await b.up("--no-uapi", "--seed", a.seed);
    await untilConnected([a, b], 20_000);
    for (const node of [a, b]) {
      const [pid] = (await node.host.processes()) as [number];
      const secrets = new Map(secretsOf(pid).map((secret, at) => [`secret ${at}`, secret]));
      for (const file of ["identity.key", "wireguard.key"]) {
        const secret = Buffer.from(readFileSync(join(node.directory, file), "utf8"), "base64");
        expect([...secrets.values()].some((it) => it.equals(secret))).toBe(true);
        secrets.set(file, secret);
      }
      expect(findSecrets(pid, secrets)).toEqual([]);
      const said = [
        await node.ok("status"),
        await node.ok("status", "--json"),
        await node.ok("status", "--counters"),
        await node.ok("export"),
        node.daemon?.log() ?? "",
      ];
      for (const text of said) {
        expect(text).not.toBe("");
        expect(secretsIn(Buffer.from(text), secrets)).toEqual([]);
      }
    }
  }, 60_000);

  test("are in no error about the file that holds them", async () => {
    const node = await Node.make(hosts[0], "carol");
    for (const file of ["identity.key", "wireguard.key"]) {
      const path = join(node.directory, file);
      const text = readFileSync(path, "utf8");
      const secrets = new Map([["it", Buffer.from(text, "base64")]]);
      const damages: readonly [string, number][] = [
        [`${text}x`, 0o600],
        [text.trim().slice(0, 43), 0o600],
        [text, 0o644],
      ];
      for (const [content, mode] of damages) {
        writeFileSync(path, content);
        chmodSync(path, mode);
        const ran = await node.meshvpn("up", "--no-tun");
        expect(ran.code).not.toBe(0);
        expect(ran.stderr).toContain(file);
        expect(secretsIn(Buffer.from(ran.stderr + ran.stdout), secrets)).toEqual([]);
      }
      writeFileSync(path, text);
      chmodSync(path, 0o600);
    }
  }, 30_000);
});
