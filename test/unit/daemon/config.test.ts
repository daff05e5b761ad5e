import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import {
  environmentName,
  readConfig,
  readSettings,
  settingNames,
} from "../../../src/daemon/config.ts";
import type { ConfigSources, Said } from "../../../src/daemon/setting.ts";

const directory = mkdtempSync(join(tmpdir(), "meshvpn-config-"));
afterAll(() => rmSync(directory, { recursive: true }));

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";

function sources(
  flags: Said,
  file?: string,
  environment: Record<string, string> = {},
): ConfigSources {
  return { flags, environment, file: file ?? written(""), hostname: "Alpha.example.org" };
}

function written(text: string, name = "config.toml"): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

function refusal(body: () => unknown): MeshError {
  try {
    body();
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("the configuration", () => {
  test("is complete when nobody says anything", () => {
    expect(readConfig(sources({}))).toEqual({
      seed: [],
      interface: "meshvpn0",
      port: 51820,
      mtu: 1360,
      aead: "auto",
      lanes: "auto",
      encrypt_workers: "auto",
      io_uring: "auto",
      connected_sockets: false,
      busy_poll: 0,
      prefix: { address: "10.99.0.0", bits: 16 },
      name: "alpha",
      network: "meshvpn",
      announce: [],
      stun: [],
      detection: "lan",
      mdns: false,
      portmap: true,
      dns: [],
      offer: [],
      offer_exit: false,
      forward: "off",
      accept: [],
      exit_node: "",
      relay: false,
      relay_quota: 16_384,
      sessions_held: 64,
      tcp: [],
      tcp_listen: 0,
      tcp_cert: "",
      tcp_key: "",
      tun: true,
      uapi: true,
      state_dir: "/var/lib/meshvpn",
      control_socket: "/run/meshvpn/meshvpn.sock",
      http: [],
      names: 0,
      log_format: "text",
      log_level: "verbose",
    });
  });

  test("is what the flags say before the environment, and the environment before the file", () => {
    const file = written(
      'port = 1\nmtu = 1400\nname = "file"\nseed = ["a:1", "b:2"]\ntun = false\n',
    );
    const environment = { MESHVPN_PORT: "2", MESHVPN_MTU: "1410", MESHVPN_SEED: "c:3, d:4" };
    const config = readConfig(sources({ port: "3" }, file, environment));
    expect([config.port, config.mtu, config.name, config.tun]).toEqual([3, 1410, "file", false]);
    expect(config.seed.map(({ host, port }) => `${host} ${port}`)).toEqual(["c 3", "d 4"]);
  });

  test("says what is offered, and of whom what is accepted", () => {
    const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
    const config = readConfig(
      sources({
        offer: ["192.168.7.0/24", "fd07::/64"],
        accept: ["gate=10.1.0.0/16", `${key}=fd08::/48`],
      }),
    );
    expect(config.offer.map(({ address, bits }) => `${address}/${bits}`)).toEqual([
      "192.168.7.0/24",
      "fd07::/64",
    ]);
    expect(config.accept).toEqual([
      { who: "gate", prefix: { address: "10.1.0.0", bits: 16 } },
      { who: key, prefix: { address: "fd08::", bits: 48 } },
    ]);
  });

  test("chooses how failures are detected", () => {
    expect(readConfig(sources({}, written('detection = "wan"\n'))).detection).toBe("wan");
  });

  test("may be JSON", () => {
    const file = written('{ "port": 7, "announce": ["192.0.2.1", "[2001:db8::1]:9"] }', "c.json");
    const config = readConfig(sources({}, file));
    expect(config.port).toBe(7);
    expect(config.announce).toEqual([
      { address: "192.0.2.1" },
      { address: "2001:db8::1", port: 9 },
    ]);
  });

  test("takes no word for a variable that is empty", () => {
    expect(readConfig(sources({}, undefined, { MESHVPN_PORT: "" })).port).toBe(51820);
  });

  test("has one variable for each setting", () => {
    expect(settingNames.map(environmentName)).toContain("MESHVPN_STATE_DIR");
  });

  test("is read in part without the file where flags say that part", () => {
    const broken = written("this is no TOML");
    const names = ["control_socket"] as const;
    const { control_socket } = readSettings(sources({ control_socket: "/x" }, broken), names);
    expect(control_socket).toBe("/x");
    expect(() => readSettings(sources({}, broken), names)).toThrow(MeshError);
  });

  test("is read in part with mistakes elsewhere in the file, which are told", () => {
    const file = written('prot = 1\ncontrol_socket = "/run/b.sock"\n[net]\nport = 2\n');
    const told: string[] = [];
    const mistake = (error: MeshError): void => void told.push(error.why);
    const read = (path: string, name: "control_socket" | "port") =>
      readSettings({ ...sources({}, path), mistake }, [name]);
    expect(read(file, "control_socket")).toMatchObject({ control_socket: "/run/b.sock" });
    expect(told).toEqual(['it has the unknown key "prot"', expect.stringContaining("no tables")]);
    // What is wrong with that part itself, and a named file that is none, leave nothing to go by.
    expect(() => read(written("port = true\n"), "port")).toThrow(MeshError);
    expect(() => read(written("control_socket = \n"), "control_socket")).toThrow(MeshError);
  });

  test("cuts a state directory's last slash off", () => {
    expect(readConfig(sources({ state_dir: "/var/x/" })).state_dir).toBe("/var/x");
    expect(readConfig(sources({ state_dir: "/" })).state_dir).toBe("/");
  });
});

describe("what is wrong is refused as a mistake of usage, naming the place:", () => {
  const cases: readonly [string, Said, string][] = [
    ["a port above 65535", { port: "65536" }, "--port"],
    ["a port with a sign", { port: "-1" }, "--port"],
    ["a port that is no number", { port: "http" }, "--port"],
    ["an empty port", { port: "" }, "--port"],
    ["an MTU below IPv6's least", { mtu: "1279" }, "--mtu"],
    ["an MTU above what a packet holds", { mtu: "65457" }, "--mtu"],
    ["an interface name that is too long", { interface: "sixteen-letters-" }, "--interface"],
    ["an interface name with a slash", { interface: "a/b" }, "--interface"],
    ["an interface called ..", { interface: ".." }, "--interface"],
    ["a profile of detection that there is not", { detection: "moon" }, "--detection"],
    ["an IPv6 prefix", { prefix: "fd00::/64" }, "--prefix"],
    ["a prefix with no room", { prefix: "10.0.0.0/31" }, "--prefix"],
    ["a name in capitals", { name: "Alpha" }, "--name"],
    ["an empty network", { network: "" }, "--network"],
    ["a seed without a port", { seed: ["alpha"] }, "--seed"],
    ["one bad seed of two", { seed: ["a:1", "b:0"] }, "--seed"],
    ["a loopback address announced", { announce: ["127.0.0.1"] }, "--announce"],
    ["a link-local address announced", { announce: ["fe80::1"] }, "--announce"],
    ["an address announced with port 0", { announce: ["192.0.2.1:0"] }, "--announce"],
    ["nine addresses announced", { announce: Array(9).fill("192.0.2.1") }, "--announce"],
    ["a network offered with host bits", { offer: ["192.168.7.1/24"] }, "--offer"],
    ["everything offered as a network", { offer: ["0.0.0.0/0"] }, "--offer"],
    ["a link-local network offered", { offer: ["fe80::/64"] }, "--offer"],
    ["a multicast network offered", { offer: ["224.0.0.0/8"] }, "--offer"],
    [
      "more networks of IPv6 than a record holds",
      { offer: Array.from({ length: 6 }, (_, at) => `fd0${at}::/64`) },
      "--offer",
    ],
    ["a forwarding that there is not", { forward: "yes" }, "--forward"],
    ["a network accepted of nobody", { accept: ["=192.168.7.0/24"] }, "--accept"],
    ["everything accepted as a network", { accept: ["gate=0.0.0.0/0"] }, "--accept"],
    ["an exit node in capitals", { exit_node: "Gate" }, "--exit-node"],
    ["a relative state directory", { state_dir: "state" }, "--state-dir"],
    [
      "a control socket longer than a socket's name",
      { control_socket: `/${"x".repeat(107)}` },
      "--control-socket",
    ],
  ];
  for (const [sentence, flags, place] of cases) {
    test(sentence, () => {
      const error = refusal(() => readConfig(sources(flags)));
      expect(error.code).toBe("usage");
      expect(error.message).toContain(place);
      expect(error.why).not.toBe("");
      expect(error.remedy).not.toBe("");
    });
  }

  test("a variable", () => {
    const error = refusal(() => readConfig(sources({}, undefined, { MESHVPN_MTU: "big" })));
    expect(error.sentence()).toBe(
      'cannot use MESHVPN_MTU: "big" is not acceptable; give it a number of bytes, 1280 to 65456',
    );
  });
});

describe("a file is refused", () => {
  const cases: readonly [string, string, string][] = [
    ["that is no TOML", "port = \n", "TOML"],
    ["with a value that does not parse", "port = 70000\n", "port in"],
    ["with a string for a switch", 'tun = "no"\n', "tun must be true or false"],
    ["with a list where one is wanted", 'name = ["a", "b"]\n', "name must be"],
    ["with a table for a value", "[seed]\na = 1\n", "seed must be a list"],
    ["with numbers in a list of strings", "seed = [1]\n", "seed must be a list"],
  ];
  for (const [sentence, text, words] of cases) {
    test(sentence, () => {
      const error = refusal(() => readConfig(sources({}, written(text))));
      expect([error.code, error.sentence().includes(words)]).toEqual(["usage", true]);
    });
  }

  test("with an unknown key, and the nearest known one is named", () => {
    const said = (text: string): string =>
      refusal(() => readConfig(sources({}, written(text)))).remedy;
    expect(said("prot = 1\n")).toBe("did you mean port?");
    expect(said('seeds = ["a:1"]\n')).toBe("did you mean seed?");
    expect(said('statedir = "/x"\n')).toBe("did you mean state_dir?");
    expect(said("completely_else = 1\n")).toContain("known are seed, interface");
    expect(said("toString = 1\n")).toContain("known are");
  });

  test("and the line is named in which it is wrong", () => {
    const place = (text: string, name?: string): string =>
      refusal(() => readConfig(sources({}, written(text, name)))).message.replace(/^.*\//, "");
    expect(place('name = "a"\n\n  prot = 1\n')).toBe("config.toml:3");
    expect(place('name = "a"\nport = 70000\n')).toBe("config.toml:2");
    expect(place('name = "a"\nport == 7\n')).toBe("config.toml:2");
    expect(place('name = "a"\nname = "b"\n')).toBe("config.toml:2");
    expect(place('name = "a"\n[policy]\nallow = 1\n')).toBe("config.toml:2");
    expect(place('{\n"name": "a",\n"tun": "no"\n}', "c.json")).toBe("c.json:3");
  });

  test("that is not there, only where it was named", () => {
    const missing = join(directory, "missing.toml");
    expect(refusal(() => readConfig(sources({}, missing))).why).toBe("there is no such file");
    const named = { flags: {}, environment: { MESHVPN_CONFIG: missing }, hostname: "a" };
    expect(refusal(() => readConfig(named)).why).toBe("there is no such file");
  });

  test("that is huge", () => {
    const error = refusal(() => readConfig(sources({}, written("#".repeat(1024 * 1024 + 1)))));
    expect(error.why).toContain("the limit is");
  });
});

test("a key before a seed is taken for its identity", () => {
  const [seed] = readConfig(sources({ seed: [`${key}@[2001:db8::1]:9`] })).seed;
  expect(seed?.identity).toHaveLength(32);
  expect(seed?.host).toBe("2001:db8::1");
});
