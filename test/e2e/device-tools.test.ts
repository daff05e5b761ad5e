/**
 * The plain WireGuard device as a drop-in: what `wg` reads back, packets under wg-quick, what a
 * device that carried traffic leaves, and clients of its socket that behave badly. Where
 * wireguard-go is the measure, both are asked the same and must say the same. Its life and its
 * refusals are in device.test.ts.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ours, root } from "./support/implementations.ts";
import { processExists, type Ran, until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";
import { firstPing, ping } from "./support/traffic.ts";
import { ask, UapiClient, uapiPath } from "./support/uapi.ts";
import { generateKeys, type Implementation, WireGuardDevice } from "./support/wireguard.ts";

const theirs: Implementation = { name: "wireguard-go", program: "wireguard-go" };
const stateBytesMax = 4096;
/** Connections at a time; a device takes at least these. */
const clientsMax = 12;

afterAll(closeStages);

describe("wg reads back from our device what it reads from wireguard-go", () => {
  const other = "fE/wdxzl0klVp/IR8UcaoGUMjqaWi3jAd7KzHKFS6Ds=";
  const third = "jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw=";
  const key = "AGb1kFMj4eIEITAJtbcNZ2SVsBDQjUhT0jqTW8wvbFQ=";
  const psk = "cB4dZxUZQgPvPbNFdOLE0B/PVT7sIsFlXO9uWVOjE3Q=";

  const both = `[Interface]
PrivateKey = ${key}
ListenPort = 1021
FwMark = 0x1234
[Peer]
PublicKey = ${other}
PresharedKey = ${psk}
Endpoint = 192.0.2.9:1000
PersistentKeepalive = 25
AllowedIPs = 10.1.0.0/16, 10.2.3.4/32, fd01::/64, 0.0.0.0/0, ::/0
[Peer]
PublicKey = ${third}
Endpoint = [2001:db8::9]:65535
AllowedIPs = 10.3.0.0/24
`;
  const fewer = `[Interface]
PrivateKey = ${key}
ListenPort = 1022
[Peer]
PublicKey = ${third}
AllowedIPs = 10.2.3.4/32, fd03::1/128
`;
  const steps: readonly [string, (device: WireGuardDevice) => Promise<unknown>][] = [
    ["nothing is configured", async () => undefined],
    ["setconf", (device) => device.setconf(both)],
    [
      "an allowed IP moves",
      (device) => device.wg("set", "peer", third, "allowed-ips", "10.1.0.0/16,::/0"),
    ],
    [
      "keepalive is off",
      (device) => device.wg("set", "peer", other, "persistent-keepalive", "off"),
    ],
    [
      "a preshared key is taken away",
      (device) => device.wg("set", "peer", other, "preshared-key", "/dev/null"),
    ],
    [
      "an endpoint changes family",
      (device) => device.wg("set", "peer", other, "endpoint", "[2001:db8::7]:7"),
    ],
    ["a peer is removed", (device) => device.wg("set", "peer", other, "remove")],
    ["addconf", (device) => device.addconf(both)],
    ["syncconf", (device) => device.syncconf(fewer)],
    ["the mark is off", (device) => device.wg("set", "fwmark", "0")],
    ["the key is taken away", (device) => device.wg("set", "private-key", "/dev/null")],
    ["all is replaced", (device) => device.setconf(both)],
  ];

  test("after each of many changes", async () => {
    await using stage = Stage.open();
    const [left, right] = await stage.pair();
    const we = await WireGuardDevice.start(left, ours);
    const they = await WireGuardDevice.start(right, theirs);
    for (const [step, change] of steps) {
      await Promise.all([change(we), change(they)]);
      const [ourState, theirState] = await Promise.all([shown(we), shown(they)]);
      expect(ourState, step).toEqual(theirState);
    }
  });

  /** What `wg` shows, in an order of its own: wireguard-go has none. */
  async function shown(device: WireGuardDevice): Promise<object> {
    // Without the last handshake and the two counts of bytes: they are no configuration.
    const dump = (await device.wg("show", "dump")).replaceAll(/\t\d+\t\d+\t\d+\t/g, "\t");
    const showconf = await device.wg("showconf");
    // A port that the system chose is whatever it is.
    const [port = ""] = /(?<=ListenPort = )\d+/.exec(showconf) ?? [];
    const chosen = (text: string): string =>
      Number(port) < 1024 ? text : text.replace(port, "PORT");
    const sorted = (text: string): string[] =>
      chosen(text)
        .replaceAll(/[\d.:a-f]+\/\d+(,\s?[\d.:a-f]+\/\d+)*/g, (list) =>
          list.split(/,\s?/).sort().join(","),
        )
        .split(/\n(?=\[)|\n/)
        .sort();
    return { dump: sorted(dump), showconf: sorted(showconf) };
  }
});

describe("wg-quick", () => {
  test("brings our device up as a default route, packets pass, and it takes it down", async () => {
    await using stage = Stage.open();
    const hosts = await stage.pair();
    const names = [stage.interfaceName(), stage.interfaceName()] as const;
    const keys = [await generateKeys(), await generateKeys()] as const;
    const paths = [0, 1].map((side) => {
      const [self, peer] = side === 0 ? ([0, 1] as const) : ([1, 0] as const);
      const path = join(stage.directory, `${names[self]}.conf`);
      const allowed = side === 0 ? "0.0.0.0/0, ::/0" : "10.77.0.1/32, fd77::1/128";
      const text = `[Interface]
PrivateKey = ${keys[self].privateKey}
Address = 10.77.0.${self + 1}/32, fd77::${self + 1}/128
ListenPort = 51820
[Peer]
PublicKey = ${keys[peer].publicKey}
AllowedIPs = ${allowed}
Endpoint = ${hosts[peer].v4}:51820
`;
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    });
    for (const side of [0, 1] as const) {
      const host = hosts[side];
      const up = await host.run(["wg-quick", "up", paths[side] ?? ""], { env: quickEnv(stage) });
      expect(up.code, up.stderr).toBe(0);
      expect(up.stderr).toContain(`meshvpn-wg ${names[side]}`);
      expect(await host.processes()).toHaveLength(1);
    }
    // From the side that came up last: the first one's initiation found nobody and waits for a retry.
    await firstPing(hosts[1], "10.77.0.1");
    await ping(hosts[0], "fd77::2");
    // The mark on our packets keeps them out of the tunnel that is their default route.
    await ping(hosts[0], hosts[1].v4);
    for (const side of [0, 1] as const) {
      const host = hosts[side];
      const down = await host.run(["wg-quick", "down", paths[side] ?? ""], {
        env: quickEnv(stage),
      });
      expect(down.code, down.stderr).toBe(0);
      await until("the process to end", async () => (await host.processes()).length === 0);
      expect(await host.interfaces()).not.toContain(names[side]);
      expect(existsSync(uapiPath(names[side]))).toBe(false);
    }
  });

  function quickEnv(stage: Stage): Record<string, string> {
    return {
      PATH: `${join(root, "bin")}:${process.env.PATH}`,
      WG_QUICK_USERSPACE_IMPLEMENTATION: "meshvpn-wg",
      MESHVPN_STATE_DIR: join(stage.directory, "state"),
    };
  }
});

describe("a device ends and leaves only its small state file", () => {
  const ways: readonly [string, (device: WireGuardDevice) => Promise<unknown>][] = [
    ["when its interface is deleted", ({ host, name }) => host.ip(`link delete ${name}`)],
    ["on SIGTERM", async ({ daemon }) => daemon.kill("SIGTERM")],
    ["on SIGINT", async ({ daemon }) => daemon.kill("SIGINT")],
  ];
  for (const [way, end] of ways) {
    test(way, async () => {
      await using stage = Stage.open();
      const [host, far] = await stage.pair();
      const device = await configured(host, far);
      await end(device);
      expect(await device.daemon.exited).toBe(0);
      expect(await host.processes()).toEqual([]);
      expect(await host.interfaces()).toEqual(["lo", "eth0"]);
      expect(existsSync(uapiPath(device.name))).toBe(false);
      const left = filesBelow(join(stage.directory, "state"));
      expect(left.length).toBeLessThanOrEqual(1);
      for (const path of left) {
        expect(statSync(path).size).toBeLessThanOrEqual(stateBytesMax);
        expect(statSync(path).mode & 0o077).toBe(0);
      }
    });
  }

  test("and after kill -9 the same interface starts again", async () => {
    await using stage = Stage.open();
    const [host, far] = await stage.pair();
    const device = await configured(host, far);
    device.daemon.kill("SIGKILL");
    await device.daemon.exited;
    expect(existsSync(uapiPath(device.name))).toBe(true);
    const again = await WireGuardDevice.start(host, ours, device.name);
    expect(await again.wg("show", "peers")).toBe("");
  });
});

describe("clients of the socket", () => {
  test("that send half a request, or a long one without an end, block nobody", async () => {
    await using stage = Stage.open();
    const [host] = await stage.pair();
    const device = await WireGuardDevice.start(host, ours);
    using half = await UapiClient.connect(device.name);
    half.send("get=1\n");
    using slow = await UapiClient.connect(device.name);
    slow.send("set=1\nlisten_po");
    using endless = await UapiClient.connect(device.name);
    endless.send(`set=1\n${"persistent_keepalive_interval=1".repeat(4000)}`);

    expect(await ask(device.name, "get=1\n\n")).toEndWith("errno=0\n\n");
    half.send("\n");
    expect(await half.answer()).toEndWith("errno=0\n\n");
    slow.send("rt=40007\n\n");
    expect(await slow.answer()).toBe("errno=0\n\n");
    expect((await device.wg("show", "listen-port")).trim()).toBe("40007");
  });

  test("are answered many at a time, and one may ask again and again", async () => {
    await using stage = Stage.open();
    const [host] = await stage.pair();
    const device = await WireGuardDevice.start(host, ours);
    const clients = Array.from({ length: clientsMax }, () => UapiClient.connect(device.name));
    for (const client of await Promise.all(clients)) {
      for (let round = 0; round < 3; round += 1) {
        client.send("get=1\n\n");
        expect(await client.answer()).toEndWith("errno=0\n\n");
      }
      client[Symbol.dispose]();
    }
  });

  const peer = `public_key=${"7c".repeat(32)}`;
  const malformed: readonly string[] = [
    "get=1\nprivate_key=\n\n",
    "set=1\nprivate_key=zz\n\n",
    `set=1\nprivate_key=${"0".repeat(63)}\n\n`,
    "set=1\nlisten_port=65536\n\n",
    "set=1\nlisten_port=-1\n\n",
    "set=1\nfwmark=x\n\n",
    "set=1\nreplace_peers=false\n\n",
    "set=1\nno_such_key=1\n\n",
    "set=1\nwithout an equals sign\n\n",
    "set=1\npublic_key=12\n\n",
    `set=1\n${peer}\nremove=false\n\n`,
    `set=1\n${peer}\npreshared_key=1\n\n`,
    `set=1\n${peer}\nendpoint=nowhere\n\n`,
    `set=1\n${peer}\nendpoint=192.0.2.1:99999\n\n`,
    `set=1\n${peer}\npersistent_keepalive_interval=70000\n\n`,
    `set=1\n${peer}\nallowed_ip=10.0.0.0\n\n`,
    `set=1\n${peer}\nallowed_ip=10.0.0.0/33\n\n`,
    `set=1\n${peer}\nallowed_ip=fd00::/129\n\n`,
    `set=1\n${peer}\nprotocol_version=2\n\n`,
    `set=1\nallowed_ip=10.0.0.0/8\n\n`,
  ];

  test("that send nonsense get the errno that wireguard-go gives, and the device lives on", async () => {
    await using stage = Stage.open();
    const [left, right] = await stage.pair();
    const we = await WireGuardDevice.start(left, ours);
    const they = await WireGuardDevice.start(right, theirs);
    for (const request of malformed) {
      const [ourAnswer, theirAnswer] = [await ask(we.name, request), await ask(they.name, request)];
      expect(errno(ourAnswer), request).toBe(errno(theirAnswer));
      expect(errno(ourAnswer), request).not.toBe("0");
    }
    for (const garbage of ["\0\0\0\0", "\n", "\n\n", "frobnicate=1\n\n", "=\n\n"]) {
      using client = await UapiClient.connect(we.name);
      client.send(garbage);
    }
    expect(errno(await ask(we.name, "get=1\n\n"))).toBe("0");
    expect(we.daemon.running).toBe(true);
  });

  function errno(answer: string): string {
    return /errno=(-?\d+)\n/.exec(answer)?.[1] ?? `no errno in ${JSON.stringify(answer)}`;
  }
});

describe("without -f", () => {
  test("it returns when wg can ask, and lets go of the caller's output", async () => {
    await using stage = Stage.open();
    const [host] = await stage.pair();
    const name = stage.interfaceName();
    const started = performance.now();
    // A shell's substitution ends only when nobody holds the pipe any more.
    const script = `out="$(${ours.program} ${name} 2>&1)" && wg show ${name} && printf %s "$out" >&2`;
    const ran = await host.run(["sh", "-c", script], { timeoutMs: 20_000, env: stateOf(stage) });
    expect(ran.code, ran.stderr).toBe(0);
    expect(ran.stdout).toContain(`interface: ${name}`);
    expect(ran.stderr).toBe("");
    const [pid = 0, ...rest] = await host.processes();
    expect(rest).toEqual([]);
    expect(performance.now() - started).toBeLessThan(20_000);
    process.kill(pid, "SIGTERM");
    await until("the device to end", () => !processExists(pid));
    expect(existsSync(uapiPath(name))).toBe(false);
  });

  const failures: readonly [string, (name: string) => readonly string[], number, RegExp][] = [
    ["the name is taken", () => [ours.program, "eth0"], 1, /eth0/],
    ["the name is too long", () => [ours.program, "a234567890123456"], 2, /15/],
    ["there is no name", () => [ours.program], 2, /IFNAME/],
    ["a flag is unknown", (name) => [ours.program, "--fast", name], 2, /IFNAME/],
  ];
  for (const [why, command, code, words] of failures) {
    for (const foreground of [false, true]) {
      test(`one line and the code say that ${why}${foreground ? ", with -f too" : ""}`, async () => {
        await using stage = Stage.open();
        const [host] = await stage.pair();
        const env = { ...stateOf(stage), WG_PROCESS_FOREGROUND: foreground ? "1" : "" };
        const name = stage.interfaceName();
        const ran = await host.run(command(name), { env, timeoutMs: 20_000 });
        expect(ran.code, ran.stderr).toBe(code);
        expectOneLine(ran);
        expect(ran.stderr).toMatch(words);
        await until("all to end", async () => (await host.processes()).length === 0);
        expect(existsSync(uapiPath(name))).toBe(false);
      });
    }
  }
});

function expectOneLine({ stdout, stderr }: Ran): void {
  expect(stdout).toBe("");
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
}

/** With a key and a peer, and packets that wait for one another: all that a device may write. */
async function configured(host: Host, far: Host): Promise<WireGuardDevice> {
  const device = await WireGuardDevice.start(host, ours);
  const peer = await generateKeys();
  await device.setconf(`[Interface]
PrivateKey = ${device.keys.privateKey}
[Peer]
PublicKey = ${peer.publicKey}
Endpoint = ${far.v4}:9
AllowedIPs = 10.77.0.2/32
`);
  await host.ip(`address add 10.77.0.1/24 dev ${device.name}`);
  await host.ip(`link set ${device.name} up`);
  await host.run(["ping", "-c", "1", "-W", "0.2", "10.77.0.2"]);
  return device;
}

function stateOf(stage: Stage): Record<string, string> {
  return { MESHVPN_STATE_DIR: join(stage.directory, "state") };
}

function filesBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
