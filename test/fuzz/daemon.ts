/**
 * What operators and their tools write: the configuration, requests to the daemon, WireGuard's
 * configuration protocol, and the files of the state directory, which a crash may have left in any
 * form. What is wrong is a MeshError, a number or a warning; never anything else.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatKey } from "../../src/base/base64.ts";
import { MeshError } from "../../src/base/errors.ts";
import { environmentName, readConfig, settingNames } from "../../src/daemon/config.ts";
import { parseRequest } from "../../src/daemon/control.ts";
import type { Said } from "../../src/daemon/setting.ts";
import { readMembers, readMemory } from "../../src/daemon/state.ts";
import { TimestampStore } from "../../src/daemon/timestamps.ts";
import { addKey, readKeys } from "../../src/daemon/trust-files.ts";
import { parsePolicy, ruleText } from "../../src/trust/policy.ts";
import { ModelDevice } from "../support/uapi-device.ts";
import { type FuzzTarget, rule, type SeededRandom, sentence, textOf } from "./target.ts";

/** A directory of this process alone, in memory where there is such a place. */
class Directory {
  #path: string | undefined;

  get path(): string {
    if (this.#path !== undefined) return this.#path;
    const memory = "/dev/shm";
    const made = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), "meshvpn-fuzz-"));
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
    this.#path = made;
    return made;
  }
}

const directory = new Directory();

function refusal(body: () => string, codes: readonly string[]): string {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    rule(codes.includes(error.code), `another code: ${error.code}`);
    rule(error.sentence() !== "" && !error.sentence().includes("\n"), "more than one line");
    return `${error.code} ${error.message.slice(0, 24)}`;
  }
}

const configWords = [
  ...settingNames.map((name) => `${name} = `),
  ...settingNames.map((name) => `"${name}": `),
  ...['"', "'", "[", "]", "{", "}", ",", "\n", "=", "#", ".", "true", "false", "0", "1e400", "-1"],
  ...["51820", "1360", '"10.99.0.0/16"', '"10.99.7.1/16"', '"ant"', '"[::1]:7"', '"/a"', "nan"],
  ...[
    "seeed = 1\n",
    "[table]\n",
    "null",
    "\\u0000",
    "__proto__",
    "constructor",
    "1979-05-27",
    '"""',
  ],
];

const config: FuzzTarget = {
  name: "config",
  bytesMax: 600,
  generate(random) {
    const kind = random.below(4);
    if (kind > 1) return joined(kind, sentence(random, configWords, 24));
    // Lines that are nearly right.
    let text = "";
    for (let left = random.below(5); left > 0; left -= 1) {
      const name = settingNames[random.below(settingNames.length)] as string;
      const value = configWords[2 * settingNames.length + random.below(40)] as string;
      const quoted = random.chance(0.5) ? JSON.stringify(value) : value;
      text +=
        kind === 0 ? `${name} = ${quoted}\n` : `${text === "" ? "{" : ","}"${name}":${quoted}`;
    }
    return joined(kind, new TextEncoder().encode(kind === 0 ? text : `${text}}`));
  },
  one(input) {
    const [kind = 0] = input;
    const text = textOf(input.subarray(1));
    const isFile = kind % 4 < 2;
    const said = isFile ? {} : saidIn(text);
    const path = join(directory.path, kind % 4 === 0 ? "config.toml" : "config.json");
    writeFileSync(path, isFile ? text : "{}");
    const sources = { hostname: text, file: path };
    const words =
      kind % 4 === 3
        ? { flags: {}, environment: variables(said) }
        : { flags: said, environment: {} };
    return refusal(() => {
      const read = readConfig({ ...sources, ...words });
      rule(Number.isInteger(read.port) && read.port >= 0 && read.port <= 65_535, "no port");
      rule(read.mtu >= 1280 && read.mtu <= 65_456, "no MTU");
      rule(/^[A-Za-z0-9_=+.-]{1,15}$/.test(read.interface), "no name of an interface");
      rule(/^[a-z0-9-]{0,63}$/.test(read.name), "no name");
      rule(read.state_dir.startsWith("/") && read.control_socket.startsWith("/"), "no path");
      return `taken ${read.seed.length} ${read.announce.length} ${read.tun}`;
    }, ["usage"]);
  },
};

/** `name = value` lines as flags, whatever the values. */
function saidIn(text: string): Said {
  const said: { [name: string]: string | readonly string[] } = {};
  for (const line of text.split("\n")) {
    const [name = "", value = ""] = line.split(" = ", 2);
    if ((settingNames as readonly string[]).includes(name)) {
      said[name] = value.includes(",") ? value.split(",") : value;
    }
  }
  return said as Said;
}

function variables(said: Said): Record<string, string> {
  const entries = Object.entries(said) as [keyof Said, string | readonly string[]][];
  return Object.fromEntries(entries.map(([name, text]) => [environmentName(name), String(text)]));
}

const jsonWords = [
  ...['{"command":"', '"status"', '"command"', '"counters":true', '"}', "{", "}", "[", "]", ","],
  ...[":", "null", "true", "1e999", '"__proto__":', '"\\ud800"', '"', " ", "-0", "down", "uapi"],
];

const controlRequest: FuzzTarget = {
  name: "control-request",
  bytesMax: 400,
  generate: (random) => sentence(random, jsonWords, 14),
  one: (input) =>
    refusal(() => {
      const request = parseRequest(textOf(input));
      rule(typeof request.command === "string", "no command");
      return `taken ${Object.keys(request).length}`;
    }, ["request_invalid"]),
};

const key = "aa".repeat(32);
const uapiWords = [
  ...[
    "private_key=\n",
    "preshared_key=\n",
    `public_key=${key}\n`,
    `public_key=${"bb".repeat(32)}\n`,
  ],
  ...["listen_port=1\n", "listen_port=53\n", "fwmark=7\n", "replace_peers=true\n", "remove=true\n"],
  ...["update_only=true\n", "endpoint=[fe80::1%eth0]:4242\n", "endpoint=192.0.2.1:1\n", "x=1\n"],
  ...["allowed_ip=10.0.0.0/8\n", "allowed_ip=-10.0.0.0/8\n", "replace_allowed_ips=true\n", "\n"],
  ...["persistent_keepalive_interval=25\n", "protocol_version=1\n", "public_key=", "=", "\r", "x"],
];

const uapiRequest: FuzzTarget = {
  name: "uapi-request",
  bytesMax: 2000,
  generate(random) {
    const first = new TextEncoder().encode(random.chance(0.9) ? "set=1\n" : "get=1\n");
    return new Uint8Array(Buffer.concat([first, sentence(random, uapiWords, 16)]));
  },
  one(input) {
    const device = new ModelDevice();
    device.peersMax = 3;
    const answer = device.ask(...cleaned(textOf(input)));
    rule(/^([a-z_]+=[^\n]*\n)*errno=(0|-[0-9]+)\n\n$/.test(answer), `no answer: ${answer}`);
    // Of all handles that came, those in use are left.
    let held = device.localKey === undefined ? 0 : 1;
    for (const peer of device.peers()) if (peer.presharedKey !== undefined) held += 1;
    rule(device.live.size === held, "a secret was left");
    const again = device.ask("get=1");
    rule(again.endsWith("errno=0\n\n"), "what was set cannot be read");
    return `${answer.slice(-9)} ${device.byKey.size} ${held}`;
  },
};

/** As the library hands it over: a key line holds a handle, each its own. */
function cleaned(text: string): string[] {
  let handle = 0;
  return text.split("\n").flatMap((line) => {
    const name = /^(private_key|preshared_key)=/.exec(line)?.[0];
    if (name !== undefined) {
      handle += 1;
      return `${name}@${line.length % 5 === 0 ? 0 : handle}`;
    }
    return /(private_key|preshared_key)/i.test(line) ? [] : line;
  });
}

const identity = new Uint8Array(32).fill(5);
const publicKey = new Uint8Array(32).fill(6);
const stamp = "400000006553f10a01000000";
const stateWords = [
  ...['{"schema":1,', '"sequence":', '"ipv4_candidate":', '"records":[', '"', '"AAAA"', "]", "}"],
  ...["1", "0", "-1", "1.5", "16", "9007199254740993", "null", ",", "\n", " ", '{"schema":2}'],
  ...[formatKey(identity), formatKey(publicKey), "ant", "Ant", "meshvpn timestamps 1\n", "sent - "],
  ...[stamp, `peer ${formatKey(publicKey)} ${stamp} `, "gone - - ", "00000000"],
];

/** Four files; the first byte says which of them holds the rest. */
class StateFiles implements FuzzTarget {
  readonly name = "state";
  readonly bytesMax = 600;
  /** It waits for files. */
  readonly timed = false;
  #files: readonly string[] | undefined;
  #directory = "";

  generate(random: SeededRandom): Uint8Array {
    return joined(random.below(4), random.chance(0.3) ? this.#whole(random) : this.#words(random));
  }

  one(input: Uint8Array): string {
    const [which = 0] = input;
    this.#files ??= this.#makeFiles();
    const path = this.#files[which % 4] as string;
    writeFileSync(path, input.subarray(1));
    let warnings = 0;
    const warn = (text: string): void => {
      rule(text.includes(path), "a warning about another file");
      warnings += 1;
    };
    const first = this.#read(which % 4, warn);
    const warned = warnings;
    rule(warned <= 1, "more than one warning");
    // What is there now is whole, and says the same.
    const second = this.#read(which % 4, warn);
    rule(first === second, `read ${first}, and then ${second}`);
    rule(warnings === warned, "a warning again");
    this.#removeDamaged(path, warned);
    return `${which % 4} ${warned} ${first.length > 3}`;
  }

  #whole(random: SeededRandom): Uint8Array {
    const texts = [
      `{"schema":1,"sequence":${random.u32()},"ipv4_candidate":${random.below(18)}}\n`,
      `{"schema":1,"records":["AAAA","${formatKey(random.bytes(32))}"]}\n`,
      `${formatKey(identity)} ant\n`,
      "meshvpn timestamps 1\n",
    ];
    return new TextEncoder().encode(texts[random.below(texts.length)]);
  }

  #words(random: SeededRandom): Uint8Array {
    return sentence(random, stateWords, 12);
  }

  #makeFiles(): readonly string[] {
    this.#directory = join(directory.path, "state");
    mkdirSync(this.#directory, { mode: 0o700 });
    addKey(this.#directory, "trusted", identity, "ant");
    const trusted = join(this.#directory, "trusted");
    const [trustedFile = ""] = readdirSync(trusted);
    new TimestampStore(this.#directory, () => undefined).open(publicKey);
    const stamps = readdirSync(this.#directory).find((name) => name.startsWith("timestamps-"));
    return [
      join(this.#directory, "node.json"),
      join(this.#directory, "members.json"),
      join(trusted, trustedFile),
      join(this.#directory, stamps ?? ""),
    ];
  }

  #read(which: number, warn: (text: string) => void): string {
    switch (which) {
      case 0:
        return JSON.stringify(readMemory(this.#directory, warn));
      case 1:
        return readMembers(this.#directory, warn).map(String).join();
      case 2:
        return readKeys(this.#directory, "trusted", warn)
          .map(({ name }) => name)
          .join();
      default: {
        const store = new TimestampStore(this.#directory, warn);
        const { lastSent, accepted } = store.open(publicKey);
        store.close();
        return `${lastSent} ${[...accepted].join()}`;
      }
    }
  }

  /** So that the next input finds the directory as this one did. */
  #removeDamaged(path: string, warned: number): void {
    if (warned === 0) return;
    rmSync(`${path}.damaged`);
  }
}

const policyWords = [
  ...["to ", "group:ant ", "org:ant ", "group:a@ant ", "fd00::/8 ", "10.0.0.1 "],
  ...["allow ", "deny ", "default ", "any ", "tcp ", "udp ", "icmp ", "ant ", "22", "-", "65535"],
  ...["1-2", "\n", "#", "\t", "ANT ", `${formatKey(identity)} `, "65536 ", "0 ", "any\n", "22\n"],
];

const policyText: FuzzTarget = {
  name: "policy-text",
  bytesMax: 400,
  generate: (random) => sentence(random, policyWords, 20),
  one(input) {
    const policy = parsePolicy(textOf(input));
    if ("why" in policy) {
      rule(policy.line >= 1 && policy.why !== "", "a mistake without a place");
      return policy.why.replace(/.*(is|more|whom|has)/, "$1").slice(0, 24);
    }
    // What is shown of a policy is that policy.
    const shown = [`default ${policy.default}`, ...policy.rules.map(ruleText)];
    const again = parsePolicy(shown.join("\n"));
    rule(!("why" in again), "what is shown is no policy");
    rule(again.default === policy.default, "another default");
    rule(again.rules.map(ruleText).join() === shown.slice(1).join(), "other rules");
    return `taken ${Math.min(3, policy.rules.length)} ${policy.default}`;
  },
};

function joined(kind: number, rest: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([Uint8Array.of(kind), rest]));
}

export const daemonTargets: readonly FuzzTarget[] = [
  config,
  controlRequest,
  uapiRequest,
  new StateFiles(),
  policyText,
];
