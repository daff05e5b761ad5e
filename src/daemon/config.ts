/**
 * What the operator may set, where it may be said, and what it is when nobody says it. One table:
 * the command line's flags, the MESHVPN_* environment and the keys of the configuration file all
 * come from it, in that order of precedence. Whatever is unknown or does not parse is an error that
 * names the place where it was said; nothing is guessed and nothing is ignored.
 */
import { MeshError } from "../base/errors.ts";
import {
  canonicalAddress,
  formatPrefix,
  type IpPrefix,
  parseInterfaceAddress,
  parsePrefix,
} from "../base/ip.ts";
import { nearest } from "../base/nearest.ts";
import { seedsMax } from "../mesh/introducer.ts";
import { stunNamesMax, stunPortDefault } from "../nat/stun.ts";
import { busyPollMax, cipherChoices, ioUringChoices } from "../native/dataplane.ts";
import { type ProfileName, profiles } from "../swim/profile.ts";
import { membersMax } from "../swim/state.ts";
import { checkIpv4Prefix, ipv4PrefixDefault } from "../trust/address.ts";
import { networkNameDefault, parseIdentity } from "../trust/identity.ts";
import { isAdvertisable, prefixesFit, recordCandidatesMax, sanitizeName } from "../trust/record.ts";
import { approvalsMax, exitPrefixes, isExit, isOfferable } from "../trust/routes.ts";
import { readConfigFile } from "./config-file.ts";
import { dnsDomainsMax } from "./dns-hints.ts";
import { isHostName, parseHostPlace } from "./host-resolver.ts";
import { parseHttpListen } from "./http-listen.ts";
import { logFormats, logLevel, logLevelWords } from "./log.ts";
import { parseSeed } from "./seeds.ts";
import {
  type AcceptedRoute,
  type Announced,
  type ConfigSources,
  forwardChoices,
  type MeshConfig,
  type Setting,
  type SettingName,
} from "./setting.ts";
import { parseTcpSeed, tcpSeedsMax } from "./tcp-fallback.ts";
import { laneChoices, workerChoices } from "./threads.ts";

const unixPathBytesMax = 107;
const httpPlacesMax = 4;
/** Below 1,280 IPv6 does not work (RFC 8200 section 5). */
const mtuMin = 1280;
const mtuMax = 65_456;

export const settings: { readonly [Name in SettingName]: Setting<MeshConfig[Name]> } = {
  seed: {
    hint: "[KEY@]HOST:PORT",
    describe: "a member to ask for the mesh; may be repeated",
    many: true,
    fallback: [],
    parse: (texts) => every(texts, seedsMax, parseSeed),
    expects: `[KEY@]HOST:PORT, at most ${seedsMax} of them`,
  },
  interface: text({
    hint: "NAME",
    describe: "the tunnel interface",
    fallback: "meshvpn0",
    parse: (said) =>
      /^[A-Za-z0-9_=+.-]{1,15}$/.test(said) && !/^\.+$/.test(said) ? said : undefined,
    expects: "an interface's name of at most 15 letters, digits and _=+.-",
  }),
  port: text({
    hint: "N",
    describe: "the UDP port; 0 takes any free one",
    fallback: "51820",
    parse: (said) => number(said, 0, 65_535),
    expects: "a port, 0 to 65535",
  }),
  mtu: text({
    hint: "N",
    describe: "the tunnel's MTU",
    fallback: "1360",
    parse: (said) => number(said, mtuMin, mtuMax),
    expects: `a number of bytes, ${mtuMin} to ${mtuMax}`,
  }),
  prefix: text({
    hint: "CIDR",
    describe: "where members' IPv4 addresses come from; the same on every node",
    fallback: formatPrefix(ipv4PrefixDefault),
    parse: parseIpv4Prefix,
    expects: "an IPv4 prefix of 8 to 30 bits, like 10.99.0.0/16",
    correct: ([said = ""]) => {
      const prefix = ipv4PrefixAround(said);
      return prefix === undefined ? undefined : formatPrefix(prefix);
    },
  }),
  name: text({
    hint: "NAME",
    describe: "what this node is called; this machine's name unless given",
    fallback: "",
    parse: (said) => (said === "" || sanitizeName(said) === said ? said : undefined),
    expects: "a name of a-z, 0-9 and -, at most 63 characters",
  }),
  network: text({
    hint: "NAME",
    describe: "the network that this node belongs to",
    fallback: networkNameDefault,
    parse: (said) => (said !== "" && said.length <= 255 ? said : undefined),
    expects: "a name of 1 to 255 characters",
  }),
  announce: {
    hint: "IP[:PORT]",
    describe: "an address that others can reach this node at; may be repeated",
    many: true,
    fallback: [],
    parse: (texts) => every(texts, recordCandidatesMax, parseAnnounced),
    expects: `a unicast IP[:PORT], IPv6 as [IP]:PORT, at most ${recordCandidatesMax} of them`,
  },
  mdns: toggle("find members on the local networks, and be found there", false),
  portmap: toggle("have the gateway forward the port to this node"),
  stun: {
    hint: "HOST[:PORT]",
    describe: "a STUN server to ask where this node is seen; two have to agree; may be repeated",
    many: true,
    fallback: [],
    parse: (texts) => every(texts, stunNamesMax, (said) => parseHostPlace(said, stunPortDefault)),
    expects: `HOST[:PORT], at most ${stunNamesMax} of them`,
  },
  detection: text({
    hint: Object.keys(profiles).join("|"),
    describe: "failure detection: lan, or wan for slow paths; the same on every node",
    fallback: "lan",
    parse: (said) => (Object.hasOwn(profiles, said) ? (said as ProfileName) : undefined),
    expects: `one of ${Object.keys(profiles).join(", ")}`,
  }),
  sessions_held: text({
    hint: "N",
    describe: "up to how many members a session is held with each; above, as they are needed",
    fallback: "64",
    parse: (said) => number(said, 0, membersMax),
    expects: `a number of members, 0 to ${membersMax}`,
  }),
  dns: {
    hint: "DOMAIN",
    describe: "a domain whose _meshvpn records say where members are; may be repeated",
    many: true,
    fallback: [],
    parse: (texts) =>
      every(texts, dnsDomainsMax, (said) => (isHostName(said) ? said.toLowerCase() : undefined)),
    expects: `the name of a domain, at most ${dnsDomainsMax} of them`,
  },
  offer: {
    hint: "CIDR",
    describe: "a network behind this node that members may be led into; may be repeated",
    many: true,
    fallback: [],
    parse: parseOffered,
    expects: "networks like 192.168.7.0/24, at most 16 of IPv4 or 5 of IPv6 beside an exit node",
  },
  offer_exit: toggle("be an exit node: lead members to wherever they want", false),
  forward: text({
    hint: forwardChoices.join("|"),
    describe:
      "have the kernel forward what members send into offered networks while the daemon runs; masquerade also hides members behind this machine's addresses",
    fallback: "off",
    parse: (said) => forwardChoices.find((choice) => choice === said),
    expects: `one of ${forwardChoices.join(", ")}`,
  }),
  accept: {
    hint: "WHO=CIDR",
    describe: "use a network that a member offers; may be repeated",
    many: true,
    fallback: [],
    parse: (texts) => every(texts, approvalsMax, parseAccepted),
    expects: `an identity or your own word for it, = and a network, at most ${approvalsMax} of them`,
  },
  exit_node: text({
    hint: "WHO",
    describe: "send everything that is for no member through that one",
    fallback: "",
    parse: (said) => (said === "" || isWho(said) ? said : undefined),
    expects: "an identity, or your own word for it",
  }),
  aead: text({
    hint: cipherChoices.join("|"),
    describe: "what seals packets: the widest batch, or libsodium",
    fallback: "auto",
    parse: (said) => cipherChoices.find((choice) => choice === said),
    expects: `one of ${cipherChoices.join(", ")}`,
  }),
  lanes: text({
    hint: laneChoices.join("|"),
    describe: "pairs of packet threads; auto is one, for relayed frames need that",
    fallback: "auto",
    parse: (said) => laneChoices.find((choice) => choice === said),
    expects: `one of ${laneChoices.join(", ")}`,
  }),
  encrypt_workers: text({
    hint: "auto|0..8",
    describe: "threads beside each packet thread; auto is one from four processors on",
    fallback: "auto",
    parse: (said) => workerChoices.find((choice) => choice === said),
    expects: `auto, or 0 to ${workerChoices.at(-1)}`,
  }),
  io_uring: text({
    hint: ioUringChoices.join("|"),
    describe: "move packets by io_uring; auto does where that is known to be faster",
    fallback: "auto",
    parse: (said) => ioUringChoices.find((choice) => choice === said),
    expects: `one of ${ioUringChoices.join(", ")}`,
  }),
  connected_sockets: text({
    hint: "on|off",
    describe: "give each busy peer a connected socket of its own",
    fallback: "off",
    parse: onOrOff,
    expects: "on or off",
  }),
  busy_poll: text({
    hint: "N",
    describe: "how many microseconds a receive asks the network card before it sleeps",
    fallback: "0",
    parse: (said) => number(said, 0, busyPollMax),
    expects: `a number of microseconds, 0 to ${busyPollMax}`,
  }),
  relay: toggle("relay for members that cannot reach each other", false),
  relay_quota: text({
    hint: "KIB",
    describe: "what a relay forwards for each pair of members, KiB a second; 0 is without a limit",
    fallback: "16384",
    parse: (said) => number(said, 0, 16_777_216),
    expects: "KiB a second, 0 to 16777216",
  }),
  tcp: {
    hint: "[KEY@][tls://]HOST:PORT",
    describe: "a member to reach by TCP where no UDP gets out; may be repeated",
    many: true,
    fallback: [],
    parse: (texts) => every(texts, tcpSeedsMax, parseTcpSeed),
    expects: `[KEY@][tls://]HOST:PORT, at most ${tcpSeedsMax} of them`,
  },
  tcp_listen: text({
    hint: "N",
    describe: "the TCP port for members without UDP; 0 takes none",
    fallback: "0",
    parse: (said) => number(said, 0, 65_535),
    expects: "a port, 0 to 65535",
  }),
  tcp_cert: text({
    hint: "PATH",
    describe: "the certificate of that port, PEM: it takes TLS then",
    fallback: "",
    parse: (said) => (said === "" || said.startsWith("/") ? said : undefined),
    expects: "a path that starts with /",
  }),
  tcp_key: text({
    hint: "PATH",
    describe: "the key of that certificate, PEM",
    fallback: "",
    parse: (said) => (said === "" || said.startsWith("/") ? said : undefined),
    expects: "a path that starts with /",
  }),
  tun: toggle("make a tunnel interface"),
  uapi: toggle("answer wg(8) on /var/run/wireguard/INTERFACE.sock"),
  state_dir: text({
    hint: "PATH",
    describe: "where identity, trust and what is known of members are kept",
    fallback: "/var/lib/meshvpn",
    parse: (said) => (said.startsWith("/") ? said.replace(/(?<=.)\/+$/, "") : undefined),
    expects: "a path that starts with /",
  }),
  control_socket: text({
    hint: "PATH",
    describe: "where the daemon takes requests",
    fallback: "/run/meshvpn/meshvpn.sock",
    parse: (said) =>
      said.startsWith("/") && Buffer.byteLength(said) <= unixPathBytesMax ? said : undefined,
    expects: `a path that starts with /, at most ${unixPathBytesMax} bytes`,
  }),
  http: {
    hint: "[IP:]PORT",
    describe:
      "answer /metrics, /healthz and /readyz there; loopback, or mesh:PORT; may be repeated",
    many: true,
    fallback: [],
    parse: (texts) => every(texts, httpPlacesMax, parseHttpListen),
    expects: `PORT, a loopback IP:PORT or mesh:PORT, at most ${httpPlacesMax} of them`,
  },
  names: text({
    hint: "PORT",
    describe: "answer NAME.mesh there, at this node's address in the mesh; 0 does not",
    fallback: "0",
    parse: (said) => number(said, 0, 65_535),
    expects: "a UDP port, 53 as a rule, or 0",
  }),
  log_format: text({
    hint: logFormats.join("|"),
    describe: "the form of the log's lines",
    fallback: "text",
    parse: (said) => logFormats.find((format) => format === said),
    expects: `one of ${logFormats.join(", ")}`,
  }),
  log_level: text({
    hint: logLevelWords.join("|"),
    describe: "how much the log says",
    fallback: "info",
    parse: (said) => (logLevelWords.some((word) => word === said) ? logLevel(said) : undefined),
    expects: `one of ${logLevelWords.join(", ")}`,
  }),
};

export const settingNames = Object.keys(settings) as SettingName[];

export function environmentName(name: SettingName): string {
  return `MESHVPN_${name.toUpperCase()}`;
}

/** Read elsewhere than here, by this program and by what starts it. */
const otherVariables = ["CONFIG", "LOG_FILE", "READY_FD", "BUN", "CACHE", "LIBRARY"];

/** A line for each MESHVPN_* variable that says nothing to anybody. */
export function strayVariables(environment: ConfigSources["environment"]): readonly string[] {
  const known = settingNames.map((name) => name.toUpperCase()).concat(otherVariables);
  const strays = Object.keys(environment)
    .filter((name) => name.startsWith("MESHVPN_"))
    .map((name) => name.slice("MESHVPN_".length))
    .filter((name) => !known.includes(name));
  return strays.toSorted().map((name) => {
    const near = nearest(
      name.toLowerCase(),
      known.map((word) => word.toLowerCase()),
    );
    const remedy = near === undefined ? "unset it" : `did you mean MESHVPN_${near.toUpperCase()}?`;
    return `MESHVPN_${name} is no setting and is ignored; ${remedy}`;
  });
}

/** The whole configuration. MeshError `usage` for whatever is wrong with it. */
export function readConfig(sources: ConfigSources): MeshConfig {
  const config = readSettings(sources, settingNames);
  return config.name === "" ? { ...config, name: sanitizeName(sources.hostname) } : config;
}

/** What is said for a setting: its texts, and where, in words for an operator. */
export interface Saying {
  readonly texts: readonly string[];
  /** `--port`, `MESHVPN_PORT`, `port in FILE:LINE`; undefined: nobody says anything. */
  readonly where: string | undefined;
}

/**
 * Some settings only. The file is not looked at where flags and environment say them all, so that
 * a daemon can be stopped while its file is being written.
 */
export function readSettings<Name extends SettingName>(
  sources: ConfigSources,
  names: readonly Name[],
): Pick<MeshConfig, Name> {
  const out: Partial<Record<SettingName, unknown>> = {};
  for (const [name, saying] of sayings(sources, names)) out[name] = parse(name, saying);
  return out as Pick<MeshConfig, Name>;
}

/** What is said for each, and acceptable or not. MeshError `usage` where the file is none. */
export function sayings<Name extends SettingName>(
  sources: ConfigSources,
  names: readonly Name[],
): ReadonlyMap<Name, Saying> {
  const out = new Map<Name, Saying>();
  for (const name of names) {
    const variable = environmentName(name);
    const flag = sources.flags[name];
    const said = sources.environment[variable];
    const elsewhere = name === "log_level" ? sources.environment.LOG_LEVEL : undefined;
    if (flag !== undefined) out.set(name, { texts: textsOf(flag), where: `--${flagName(name)}` });
    else if (said !== undefined && said !== "") {
      out.set(name, { texts: split(name, said), where: variable });
    } else if (elsewhere !== undefined && elsewhere !== "") {
      // By which wireguard-go is told, and with it the plain device.
      out.set(name, { texts: [elsewhere], where: "LOG_LEVEL" });
    }
  }
  const file = out.size === names.length ? undefined : readConfigFile(sources, settings, names);
  for (const name of names) {
    if (out.has(name)) continue;
    const said = file?.said[name];
    const texts = said === undefined ? settings[name].fallback : textsOf(said);
    const where = said === undefined ? undefined : `${name} in ${file?.place(name)}`;
    out.set(name, { texts, where });
  }
  return out;
}

export function flagName(name: SettingName): string {
  return name.replaceAll("_", "-");
}

function parse(name: SettingName, { texts, where }: Saying): unknown {
  const value = settings[name].parse(texts);
  if (value !== undefined) return value;
  const said = texts.map((text) => JSON.stringify(text)).join(", ");
  const meant = settings[name].correct?.(texts);
  throw new MeshError(
    "usage",
    `cannot use ${where ?? `the default of ${name}`}`,
    `${said} is not acceptable`,
    meant === undefined ? `give it ${settings[name].expects}` : `did you mean ${meant}?`,
  );
}

function textsOf(said: string | boolean | readonly string[]): readonly string[] {
  return typeof said === "object" ? said : [String(said)];
}

/** In a variable, several are separated by commas or white space. */
function split(name: SettingName, said: string): readonly string[] {
  return settings[name].many ? said.split(/[\s,]+/).filter((part) => part !== "") : [said];
}

interface TextSetting<T> {
  readonly hint: string;
  readonly describe: string;
  readonly fallback: string;
  readonly parse: (said: string) => T | undefined;
  readonly expects: string;
  readonly correct?: (texts: readonly string[]) => string | undefined;
}

function text<T>(setting: TextSetting<T>): Setting<T> {
  return {
    ...setting,
    many: false,
    fallback: [setting.fallback],
    parse: (texts) => (texts.length === 1 ? setting.parse(texts[0] as string) : undefined),
  };
}

export function onOrOff(said: string): boolean | undefined {
  return said === "on" ? true : said === "off" ? false : undefined;
}

function toggle(describe: string, fallback = true): Setting<boolean> {
  return {
    hint: undefined,
    describe,
    many: false,
    fallback: [`${fallback}`],
    parse: ([said]) => (said === "true" ? true : said === "false" ? false : undefined),
    expects: "true or false",
  };
}

function every<T>(
  texts: readonly string[],
  max: number,
  parseOne: (text: string) => T | undefined,
): readonly T[] | undefined {
  const out: T[] = [];
  for (const one of texts) {
    const value = parseOne(one);
    if (value === undefined) return undefined;
    out.push(value);
  }
  return out.length <= max ? out : undefined;
}

function number(said: string, min: number, max: number): number | undefined {
  if (!/^[0-9]{1,6}$/.test(said)) return undefined;
  const value = Number(said);
  return value >= min && value <= max ? value : undefined;
}

/** Without host bits: whoever gives 10.99.7.1/16 may have meant 10.99.7.0/24. */
function parseIpv4Prefix(said: string): IpPrefix | undefined {
  const prefix = ipv4PrefixAround(said);
  const given = parseInterfaceAddress(said);
  return prefix !== undefined && given?.address === prefix.address ? prefix : undefined;
}

/** Host bits are cleared. */
function ipv4PrefixAround(said: string): IpPrefix | undefined {
  const prefix = parsePrefix(said);
  if (prefix === undefined) return undefined;
  try {
    checkIpv4Prefix(prefix);
    return prefix;
  } catch (error) {
    if (error instanceof MeshError) return undefined;
    throw error;
  }
}

/** Each once; what members cannot all mean alike by it, and what a record does not hold, is refused. */
function parseOffered(texts: readonly string[]): readonly IpPrefix[] | undefined {
  const prefixes = new Map<string, IpPrefix>();
  for (const text of texts) {
    const prefix = parseNetwork(text);
    if (prefix === undefined || isExit(prefix)) return undefined;
    prefixes.set(formatPrefix(prefix), prefix);
  }
  const all = [...prefixes.values()];
  return prefixesFit([...all, ...exitPrefixes]) ? all : undefined;
}

/** Without host bits, and of a kind that can be led into. */
export function parseNetwork(text: string): IpPrefix | undefined {
  const prefix = parsePrefix(text);
  const given = parseInterfaceAddress(text);
  if (prefix === undefined || given?.address !== prefix.address) return undefined;
  return isOfferable(prefix) ? prefix : undefined;
}

function parseAccepted(text: string): AcceptedRoute | undefined {
  // A key ends in one of its own.
  const at = text.lastIndexOf("=");
  const who = text.slice(0, Math.max(0, at));
  const prefix = parseNetwork(text.slice(at + 1));
  return isWho(who) && prefix !== undefined && !isExit(prefix) ? { who, prefix } : undefined;
}

function isWho(said: string): boolean {
  return parseIdentity(said) !== undefined || (said !== "" && sanitizeName(said) === said);
}

/** `192.0.2.1`, `192.0.2.1:51820`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:51820`. */
function parseAnnounced(said: string): Announced | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::([0-9]{1,5}))?$/.exec(said);
  const address = canonicalAddress(match?.[1] ?? match?.[2] ?? said);
  if (address === undefined) return undefined;
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (!isAdvertisable({ address, port: port ?? 1 })) return undefined;
  return port === undefined ? { address } : { address, port };
}
