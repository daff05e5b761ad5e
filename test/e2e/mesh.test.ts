/**
 * The mesh as an operator meets it: real daemons in network namespaces on one switch, and every
 * mistake that a first evening brings.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Node, port, program, untilConnected } from "./support/mesh.ts";
import { type Ran, until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

const fullMeshMsMax = 5_000;

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

async function nodesOn(hosts: readonly Host[], ...names: string[]): Promise<Node[]> {
  return await Promise.all(names.map((name, at) => Node.make(hosts[at] as Host, name)));
}

async function trustAll(nodes: readonly Node[]): Promise<void> {
  await Promise.all(nodes.map((node) => node.trust(...nodes.filter((other) => other !== node))));
}

/** Interfaces, sockets and processes of a node that has ended. */
async function expectNothingLeft(node: Node): Promise<void> {
  expect((await node.host.interfaces()).toSorted()).toEqual(["eth0", "lo"]);
  expect(existsSync(node.socket)).toBe(false);
  expect(existsSync(`/var/run/wireguard/${node.interfaceName}.sock`)).toBe(false);
  expect(await node.host.processes()).toEqual([]);
  expect(await node.host.runOk(["ss", "-Hlun"])).toBe("");
}

describe("three nodes that trust one another and know one seed", () => {
  let stage: Stage;
  let hosts: Host[];
  let nodes: Node[];
  let alpha: Node;
  let beta: Node;
  let gamma: Node;

  beforeAll(async () => {
    stage = Stage.open();
    hosts = await stage.switched(4);
    nodes = await nodesOn(hosts, "alpha", "beta", "gamma");
    [alpha, beta, gamma] = nodes as [Node, Node, Node];
    await trustAll(nodes);
  }, 60_000);

  test("are a full mesh over IPv4 and IPv6 within 5 s of the last start", async () => {
    await alpha.up();
    await beta.up("--seed", alpha.seed);
    const start = performance.now();
    await gamma.up("--seed", alpha.seed);
    await untilConnected(nodes, fullMeshMsMax - (performance.now() - start));
    for (const node of nodes) expect(node.daemon?.running).toBe(true);
  }, 60_000);

  test("say so in their status", async () => {
    const status = await alpha.status();
    expect(status).toMatchObject({
      schema: 1,
      identity: alpha.identity,
      name: "alpha",
      interface: alpha.interfaceName,
      port,
      trusted: 2,
    });
    expect(status.members.map(({ name }) => name).toSorted()).toEqual(["beta", "gamma"]);
    const member = await until("a member with a round-trip time", async () => {
      const found = await alpha.member(beta);
      return found?.rtt_ms === null ? undefined : found;
    });
    expect(member).toMatchObject({
      name: "beta",
      identity: beta.identity,
      state: "alive",
    });
    // Both ends try every address at once: either family may win.
    const { v4, v6 } = beta.host;
    expect([`direct ${v4}:${port}`, `direct [${v6}]:${port}`]).toContain(member.path);
    expect(member.given_name).toBe("beta");
    expect(member.addresses).toContain(await beta.address(4));
    expect(member.handshake_age_s).toBeGreaterThanOrEqual(0);
    expect(member.rx_bytes).toBeGreaterThan(0);
    expect(member.tx_bytes).toBeGreaterThan(0);
    const lines = (await alpha.ok("status")).trim().split("\n");
    expect(lines.map((line) => line.split("\t")[0])).toEqual(["node", "member", "member"]);
    expect(await alpha.ok("status", "--counters")).toMatch(/^counter\t[a-z_]+\t[0-9]+$/m);
  });

  test("answer wg(8), which may look and not touch", async () => {
    const shown = await alpha.host.runOk(["wg", "show", alpha.interfaceName, "dump"]);
    const [own, ...peers] = shown.trim().split("\n");
    expect(own?.split("\t")[2]).toBe(`${port}`);
    expect(peers).toHaveLength(2);
    expect(
      peers
        .map((line) => line.split("\t")[3])
        .toSorted()
        .join(" "),
    ).toContain("/32");
    const set = ["wg", "set", alpha.interfaceName, "peer", beta.identity, "remove"];
    const refused = await alpha.host.run(set);
    expect([refused.code !== 0, refused.stderr]).toEqual([
      true,
      expect.stringContaining("Operation not supported"),
    ]);
  });

  test("carry a file from one to another unharmed", async () => {
    const bytes = new Uint8Array(8_000_000).map((_, at) => (at * 2654435761) >>> 24);
    const path = join(stage.directory, "sent");
    writeFileSync(path, bytes);
    const address = await gamma.address(4);
    const program = [
      `Bun.listen({ hostname: "${address}", port: 7000, socket: {`,
      "  open(s) { s.data = new Bun.CryptoHasher('sha256'); },",
      "  data(s, chunk) { s.data.update(chunk); },",
      "  end(s) { console.log(s.data.digest('hex')); s.end(); process.exit(0); } } });",
      "console.log('listening');",
    ].join("\n");
    const receiver = gamma.host.start([process.execPath, "-e", program]);
    await until("the receiver", () => receiver.log().includes("listening"));
    const sender = [
      `const bytes = await Bun.file("${path}").bytes(); let at = 0;`,
      "const push = (s) => { at += s.write(bytes.subarray(at)); if (at === bytes.length) s.end(); };",
      `await Bun.connect({ hostname: "${address}", port: 7000, socket: {`,
      "  open: push, drain: push, data() {}, close() { process.exit(0); } } });",
    ].join("\n");
    await beta.host.runOk([process.execPath, "-e", sender]);
    await receiver.exited;
    expect(receiver.log()).toContain(new Bun.CryptoHasher("sha256").update(bytes).digest("hex"));
  }, 60_000);

  test("give a node that nobody trusts nothing, not a byte", async () => {
    const host = hosts[3] as Host;
    const stranger = await Node.make(host, "stranger");
    await stranger.trust(...nodes);
    const rules =
      "add table inet t; " +
      "add chain inet t in { type filter hook input priority 0; }; " +
      "add chain inet t out { type filter hook output priority 0; }; " +
      "add counter inet t got; add counter inet t sent; " +
      "add rule inet t in iifname eth0 meta l4proto { udp, icmp } counter name got; " +
      `add rule inet t out udp dport ${port} counter name sent`;
    await host.runOk(["nft", rules]);
    const packets = async (counter: string): Promise<number> => {
      const text = await host.runOk(["nft", "list", "counter", "inet", "t", counter]);
      return Number(/packets ([0-9]+)/.exec(text)?.[1]);
    };
    await stranger.up("--seed", `${alpha.identity}@${alpha.seed}`, "--seed", beta.seed);
    await until("the stranger to have asked", async () => (await packets("sent")) >= 8, {
      timeoutMs: 30_000,
      everyMs: 100,
    });
    expect(await packets("got")).toBe(0);
    for (const node of nodes) expect(await node.member(stranger)).toBeUndefined();
    await stranger.ok("down");
  }, 60_000);

  test("let the operator trust another while they run, and distrust it again", async () => {
    const host = hosts[3] as Host;
    const delta = await Node.make(host, "delta");
    await delta.trust(alpha);
    await delta.up("--seed", alpha.seed);
    await alpha.trust(delta);
    await untilConnected([alpha, delta], 10_000);
    await alpha.ok("trust", "--remove", delta.identity);
    const address = await delta.address(4);
    await until("delta to be gone", async () => (await alpha.member(delta)) === undefined);
    expect(await alpha.reaches(address)).toBe(false);
    await delta.ok("down");
  }, 60_000);

  test("have a member without an interface, which wants neither a TUN nor wg(8)", async () => {
    const host = hosts[3] as Host;
    const epsilon = await Node.make(host, "epsilon");
    await epsilon.trust(alpha);
    await alpha.trust(epsilon);
    const daemon = await epsilon.up("--seed", alpha.seed, "--no-tun", "--no-uapi");
    await until("the member to be connected", async () => {
      const member = await epsilon.member(alpha);
      return member?.path.startsWith("direct ") && member.state === "alive";
    });
    expect((await epsilon.status()).interface).toBeNull();
    expect((await host.interfaces()).toSorted()).toEqual(["eth0", "lo"]);
    expect(daemon.log()).not.toMatch(/ (error|warning) /);
    await epsilon.ok("down");
    await expectNothingLeft(epsilon);
    await alpha.ok("trust", "--remove", epsilon.identity);
  }, 60_000);

  test("come back after kill -9 of one, under the same addresses", async () => {
    const before = (await beta.status()).addresses;
    await killAll(beta);
    await beta.up();
    await untilConnected(nodes, 15_000);
    expect((await beta.status()).addresses).toEqual(before);
    expectNoDamage(nodes);
  }, 60_000);

  test("come back after kill -9 of all, without a seed, by what they remember", async () => {
    await killAll(alpha, beta, gamma);
    // Each was told of alpha alone, and alpha is not there.
    await Promise.all([beta.up(), gamma.up()]);
    await untilConnected([beta, gamma], 15_000);
    await alpha.up();
    await untilConnected(nodes, 15_000);
    expectNoDamage(nodes);
  }, 60_000);

  test("start again whenever in its start a daemon was killed", async () => {
    await killAll(gamma);
    for (let killAtMs = 20; killAtMs <= 300; killAtMs += 20) {
      const daemon = gamma.launch();
      // The moment is what is tried here.
      await Bun.sleep(killAtMs);
      daemon.kill("SIGKILL");
      await daemon.exited;
    }
    await gamma.up();
    await untilConnected(nodes, 15_000);
    expectNoDamage(nodes);
  }, 60_000);

  test("refuse a second daemon on the same socket, and are not harmed", async () => {
    const ran = await alpha.meshvpn("up", "--interface", alpha.host.stage.interfaceName());
    expectRefusal(ran, 1, /another one answers/);
    expect((await alpha.status()).pid).toBe(alpha.daemon?.pid as number);
  });

  test("refuse a second daemon on the same state directory, and are not harmed", async () => {
    const socket = `${alpha.socket}.second`;
    const ran = await alpha.meshvpn("up", "--control-socket", socket, "--port", "0");
    expectRefusal(ran, 1, /another one uses the state directory/);
    expect((await alpha.status()).pid).toBe(alpha.daemon?.pid as number);
    expect(existsSync(socket)).toBe(false);
  });

  test("take requests from their owner alone", async () => {
    const command = asNobody(program, "status");
    expectRefusal(
      await alpha.host.run(command, { env: alpha.env }),
      5,
      /permission denied; run as root/,
    );
  });

  test("leave nothing behind when they are told to end, in either way", async () => {
    const daemons = nodes.map((node) => node.daemon);
    await gamma.ok("down");
    await expectNothingLeft(gamma);
    beta.daemon?.kill("SIGTERM");
    alpha.daemon?.kill("SIGINT");
    expect(await Promise.all(daemons.map((daemon) => daemon?.exited))).toEqual([0, 0, 0]);
    await expectNothingLeft(alpha);
    await expectNothingLeft(beta);
    expectRefusal(await gamma.meshvpn("down"), 3, /not running/);
  }, 60_000);
});

test("a daemon in the background is up when the command returns, and down ends it", async () => {
  await using stage = Stage.open();
  const [host] = (await stage.switched(1)) as [Host];
  const node = await Node.make(host, "alpha");
  const { code, stderr } = await node.meshvpn("up", "--detach");
  expect(code).toBe(0);
  expect(stderr).toMatch(
    /^meshvpn: up: alpha, [^\n]+\nmeshvpn: warning: nobody is trusted[^\n]+\n$/,
  );
  expect((await node.status()).name).toBe("alpha");
  expectRefusal(await node.meshvpn("up", "--detach"), 1, /another one answers/);
  await node.ok("down");
  await expectNothingLeft(node);
}, 60_000);

describe("bad input is answered by one line that says what, why and what to do:", () => {
  let node: Node;

  beforeAll(async () => {
    const stage = Stage.open();
    const [host] = (await stage.switched(1)) as [Host];
    node = await Node.make(host, "alpha");
    await node.ok("trust", "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=");
  }, 60_000);

  /** What the state directory holds; a refusal must leave it as it was. */
  function state(): Record<string, string> {
    const files = readdirSync(node.directory, { recursive: true }) as string[];
    // The lock of the state directory stays, and is empty.
    const kept = files.filter((name) => name !== "lock");
    const plain = kept.filter((name) => lstatSync(join(node.directory, name)).isFile());
    return Object.fromEntries(
      plain.toSorted().map((name) => {
        const path = join(node.directory, name);
        return [name, `${statSync(path).mode.toString(8)} ${readFileSync(path, "utf8")}`];
      }),
    );
  }

  async function refused(run: () => Promise<Ran>, code: number, words: RegExp): Promise<void> {
    const before = state();
    expectRefusal(await run(), code, words);
    expect(state()).toEqual(before);
    await expectNothingLeft(node);
  }

  const up = (...args: string[]) => node.meshvpn("up", ...args);
  const cases: readonly [string, () => Promise<Ran>, number, RegExp][] = [
    ["an unknown flag", () => up("--prot", "1"), 2, /did you mean --port/],
    ["a flag without its value", () => up("--port"), 2, /needs a value/],
    ["a port that is none", () => up("--port", "70000"), 2, /--port/],
    ["a seed without a port", () => up("--seed", "alpha"), 2, /--seed/],
    ["a configuration that is missing", () => up("--config", "/nonexistent"), 2, /no such file/],
    ["an invalid key", () => node.meshvpn("trust", "short="), 2, /44 characters/],
    ["no identity", () => up("--state-dir", join(node.directory, "..", "new")), 1, /keygen/],
    ["no root", () => node.host.run(asNobody(program, "up"), { env: node.env }), 5, /run as root/],
    [
      "no CAP_NET_ADMIN",
      () =>
        node.host.run(["setpriv", "--bounding-set=-net_admin", program, "up"], { env: node.env }),
      5,
      /CAP_NET_ADMIN/,
    ],
    [
      "no /dev/net/tun",
      () => {
        const script = 'mount -t tmpfs none /dev/net && exec "$0" up';
        return node.host.run(["unshare", "-m", "sh", "-c", script, program], { env: node.env });
      },
      1,
      /no \/dev\/net\/tun/,
    ],
    [
      "a /dev/net/tun that is no TUN device",
      () => {
        const make = "mount -t tmpfs -o dev none /dev/net && mknod /dev/net/tun c 1 3";
        const script = `${make} && exec "$0" up`;
        return node.host.run(["unshare", "-m", "sh", "-c", script, program], { env: node.env });
      },
      1,
      /is no TUN device; remove it/,
    ],
    [
      "CAP_NET_ADMIN without a directory for UAPI",
      () => {
        const bounds = "--bounding-set=-dac_override,-dac_read_search";
        const make = "mkdir -p /var/run/wireguard && mount -t tmpfs -o mode=0500,uid=1 none";
        const script = `${make} /var/run/wireguard && exec setpriv ${bounds} "$0" up`;
        return node.host.run(["unshare", "-m", "sh", "-c", script, program], { env: node.env });
      },
      5,
      /\/var\/run\/wireguard is not writable.*--no-uapi/,
    ],
    [
      "a library of another version",
      () => {
        const env = { ...node.env, MESHVPN_LIBRARY: "/nonexistent.so" };
        return node.host.run([program, "up"], { env });
      },
      1,
      /MESHVPN_LIBRARY/,
    ],
  ];
  for (const [sentence, run, code, words] of cases) {
    test(sentence, () => refused(run, code, words), 30_000);
  }

  test("a port in use", async () => {
    const hold = `Bun.udpSocket({ port: ${port}, hostname: "0.0.0.0" }).then(() => console.log("held"))`;
    const holder = node.host.start([process.execPath, "-e", hold]);
    await until("the port to be held", () => holder.log().includes("held"));
    const before = state();
    expectRefusal(await up(), 1, new RegExp(`UDP port ${port} is in use`));
    expect(state()).toEqual(before);
    await holder.stop();
    await expectNothingLeft(node);
  }, 30_000);

  test("an interface of that name", async () => {
    await node.host.ip(`link add name ${node.interfaceName} type bridge`);
    expectRefusal(await up(), 1, /ip link del/);
    await node.host.ip(`link delete ${node.interfaceName}`);
    await expectNothingLeft(node);
  }, 30_000);

  for (const name of ["identity.key", "wireguard.key"]) {
    test(`${name} that others may read`, async () => {
      const path = join(node.directory, name);
      chmodSync(path, 0o640);
      await refused(up, 1, new RegExp(`chmod 600 ${path}`));
      chmodSync(path, 0o600);
    }, 30_000);

    test(`${name} that is damaged`, async () => {
      const path = join(node.directory, name);
      const before = readFileSync(path, "utf8");
      writeFileSync(path, before.slice(0, 20));
      await refused(up, 1, /restore it/);
      writeFileSync(path, before);
    }, 30_000);
  }

  test("a state directory that others may write", async () => {
    chmodSync(node.directory, 0o777);
    await refused(up, 1, new RegExp(`chmod 700 ${node.directory}`));
    chmodSync(node.directory, 0o700);
  }, 30_000);

  test("damaged state is kept aside with a word, and the node starts without it", async () => {
    await node.up();
    await node.ok("down");
    const trusted = readdirSync(join(node.directory, "trusted"))[0] as string;
    const timestamps = readdirSync(node.directory).find((name) => name.startsWith("timestamps-"));
    const files = ["node.json", "members.json", join("trusted", trusted), timestamps ?? ""];
    for (const file of files) writeFileSync(join(node.directory, file), "damaged\n");
    const daemon = await node.up();
    for (const file of files) {
      expect(readFileSync(join(node.directory, `${file}.damaged`), "utf8")).toBe("damaged\n");
      expect(daemon.log()).toMatch(new RegExp(`warning .*${file}[^\n]*kept as`));
    }
    expect((await node.status()).trusted).toBe(0);
    expect(daemon.log()).toMatch(/warning .*nobody is trusted[^\n]*meshvpn trust/);
    await node.ok("down");
    await expectNothingLeft(node);
  }, 30_000);
});

/** A user who may read everything, as the program must be read, and write nothing. */
function asNobody(...command: readonly string[]): readonly string[] {
  const read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
  return ["setpriv", "--reuid=65534", "--clear-groups", ...read, ...command];
}

async function killAll(...nodes: readonly Node[]): Promise<void> {
  for (const { daemon } of nodes) daemon?.kill("SIGKILL");
  await Promise.all(nodes.map(({ daemon }) => daemon?.exited));
}

function expectNoDamage(nodes: readonly Node[]): void {
  for (const { directory } of nodes) {
    const files = readdirSync(directory, { recursive: true }) as string[];
    expect(files.filter((name) => name.includes("damaged"))).toEqual([]);
  }
}

/** One line on stderr: what, why and what to do. */
function expectRefusal(ran: Ran, code: number, words: RegExp): void {
  expect(ran.stderr).toMatch(/^meshvpn: [^\n]+: [^\n]+; [^\n]+\n$/);
  expect(ran.stderr).toMatch(words);
  expect([ran.code, ran.stdout]).toEqual([code, ""]);
}
