/**
 * One device of the library, in the terms of `mesh/dataplane.ts`: commands in, events and datagrams
 * out, in batches through buffers that are made once. Owns the device's number and its buffers;
 * encodes in `structs.ts`, decides nothing. What `receive` returns is valid until the next call.
 */
import { getSystemErrorName } from "node:util";
import { assert, MeshError } from "../base/errors.ts";
import type {
  Command,
  DataplaneEvent,
  NamedPeer,
  PeerStats,
  Prefix,
  ReceivedDatagram,
  Transmit,
} from "../mesh/dataplane.ts";
import type { CompiledRule } from "../trust/policy.ts";
import { abi } from "./abi.ts";
import { type ErrorName, errorName, type Library } from "./library.ts";
import { encodeNamed, encodePrefixes, encodeRules, Records, StructCodec } from "./structs.ts";

const { enums, flags, structs } = abi;

const commandsPerCall = 256;
const eventsPerCall = 256;
const datagramsPerCall = 64;
const datagramBytesMax = abi.constants.control_datagram_bytes_max;
const statsAtFirst = 64;
const uapiBytesAtFirst = 64 * 1024;
/** The library refuses what is longer. */
const uapiBytesMax = 16 * 1024 * 1024;

export interface DataplaneConfig {
  /** At most 15 bytes. */
  readonly interfaceName: string;
  readonly mtu?: number;
  /** 0 or absent: any free port. */
  readonly listenPort?: number;
  readonly fwmark?: number;
  /** Answer WireGuard's UAPI on /var/run/wireguard/NAME.sock. */
  readonly uapi?: boolean;
  /** false: no interface; packets come from sessions only. */
  readonly tun?: boolean;
  readonly tunOffload?: boolean;
  readonly udpOffload?: boolean;
  readonly cipher?: CipherChoice;
  /** Pairs of packet threads, a power of two up to `lanesMax`; 1 unless given. */
  readonly lanes?: number;
  /** Threads beside each packet thread that seal and open with it, up to `cryptoWorkersMax`. */
  readonly cryptoWorkers?: number;
  readonly ioUring?: IoUringChoice;
  /** A connected socket for each busy peer; not where io_uring receives. */
  readonly connectedSockets?: boolean;
  /** How long a receive asks the network card, in microseconds; 0 or absent: not at all. */
  readonly busyPollUs?: number;
}

export const cryptoWorkersMax = abi.constants.crypto_workers_max;

export const lanesMax = abi.constants.lanes_max;

/** `auto`: the widest batch that this processor can run, else libsodium. `avx2` is for comparisons. */
export const cipherChoices = ["auto", "batch", "libsodium", "avx2"] as const;
export type CipherChoice = (typeof cipherChoices)[number];

/** `auto`: where it is known to be faster, which is nowhere yet. `sqpoll` gives it a core of its own. */
export const ioUringChoices = ["auto", "on", "off", "sqpoll"] as const;
export type IoUringChoice = (typeof ioUringChoices)[number];

/** Microseconds. */
export const busyPollMax: number = abi.constants.busy_poll_us_max;

export interface CommandFailure {
  readonly command: Command;
  readonly error: ErrorName;
  /** Of the system call that failed, else 0. */
  readonly errno: number;
}

export interface DeviceState {
  readonly interfaceName: string;
  readonly interfaceIndex: number;
  readonly listenPort: number;
  readonly mtu: number;
  readonly tunOffload: boolean;
  readonly tunUso: boolean;
  readonly udpSegmentation: boolean;
  readonly udpGro: boolean;
  readonly segmentsMax: number;
  /** The implementation that seals and opens packets, such as `avx512ifma`. */
  readonly cipher: string;
  readonly lanes: number;
  readonly cryptoWorkers: number;
  /** `off`, `on`, `sqpoll`, or `refused` and the errno. */
  readonly ioUring: string;
  /** Peers that have a socket of their own just now. */
  readonly connectedSockets: number;
}

export interface UapiRequest {
  readonly id: number;
  readonly text: string;
}

export type CounterName = keyof typeof enums.Counter;
const counterNames = Object.keys(enums.Counter) as CounterName[];

export class NativeDataplane {
  readonly #symbols: Library["symbols"];
  readonly #device: number;
  readonly #codec = new StructCodec();
  readonly #commands = new Records(structs.Command.size, commandsPerCall);
  readonly #statuses = new Records(structs.Status.size, commandsPerCall);
  readonly #events = new Records(structs.Event.size, eventsPerCall);
  readonly #received = new Records(structs.Datagram.size, datagramsPerCall);
  readonly #receivedBytes = new Uint8Array(datagramsPerCall * datagramBytesMax);
  readonly #sent = new Records(structs.Datagram.size, datagramsPerCall);
  readonly #sentBytes = new Uint8Array(datagramsPerCall * datagramBytesMax);
  readonly #counters = new BigUint64Array(counterNames.length);
  #stats = new Records(structs.PeerStats.size, statsAtFirst);
  #uapiBytes = new Uint8Array(uapiBytesAtFirst);
  readonly #uapiId = new Uint32Array(1);
  #open = true;

  /** Makes the interface and binds the port; no packet moves before `start`. */
  static open(library: Library, config: DataplaneConfig): NativeDataplane {
    const device = library.symbols.meshvpn_open(encodeConfig(config));
    if (device < 0) throw openError(errorName(device), config, openFailure(library));
    return new NativeDataplane(library, device);
  }

  private constructor(library: Library, device: number) {
    this.#symbols = library.symbols;
    this.#device = device;
  }

  start(): void {
    this.#check(this.#symbols.meshvpn_start(this.#device), "start the data plane");
  }

  /** Returns when both threads have ended. */
  stop(): void {
    this.#check(this.#symbols.meshvpn_stop(this.#device), "stop the data plane");
  }

  /** Takes the interface, the sockets and every secret of the device away. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#symbols.meshvpn_stop(this.#device);
    this.#check(this.#symbols.meshvpn_close(this.#device), "close the device");
  }

  /** Calls `ring` whenever something waits that `arm` did not know of. */
  async doorbell(ring: () => void): Promise<{ close(): void }> {
    const fd = this.#check(this.#symbols.meshvpn_doorbell_fd(this.#device), "get the doorbell");
    // Connecting to a descriptor works and is not in the types yet.
    const options = { fd, socket: { data: ring } } as unknown;
    const socket = await Bun.connect(options as Parameters<typeof Bun.connect>[0]);
    return { close: () => socket.terminate() };
  }

  /** Arms the doorbell; true where something waits already, for which it will not ring. */
  arm(): boolean {
    return this.#check(this.#symbols.meshvpn_arm(this.#device), "arm the doorbell") === 1;
  }

  /**
   * In place of all rules before; what none speaks of is let in or not. `keepFlows`: nobody has lost
   * a right, so flows that were let in stay so.
   */
  setPolicy(
    rules: readonly CompiledRule[],
    named: readonly NamedPeer[],
    { allowOthers, keepFlows }: { readonly allowOthers: boolean; readonly keepFlows: boolean },
  ): void {
    const { bytes } = encodeRules(rules);
    const { peers, sets } = encodeNamed(named, rules.length);
    const said =
      (allowOthers ? abi.flags.policy_flag_default_allow : 0) |
      (keepFlows ? abi.flags.policy_flag_keep_flows : 0);
    const set = this.#symbols.meshvpn_policy_set;
    const device = this.#device;
    const code = set(device, bytes, rules.length, peers, sets, named.length, said);
    this.#check(code, "set the policy");
  }

  /** Where packets of peers may go to, in place of what was said before; none: anywhere. */
  setDestinations(prefixes: readonly Prefix[]): void {
    const { bytes } = encodePrefixes(prefixes);
    const set = this.#symbols.meshvpn_destinations_set;
    this.#check(set(this.#device, bytes, prefixes.length), "say where packets may go");
  }

  /** Applies in order. A failure stops nothing; all of them are returned. */
  apply(commands: readonly Command[]): CommandFailure[] {
    const failures: CommandFailure[] = [];
    for (let start = 0; start < commands.length; start += commandsPerCall) {
      const count = Math.min(commandsPerCall, commands.length - start);
      for (let at = 0; at < count; at += 1) {
        this.#codec.encodeCommand(this.#commands, at, commands[start + at] as Command);
      }
      const code = this.#symbols.meshvpn_apply(
        this.#device,
        this.#commands.bytes,
        count,
        this.#statuses.bytes,
      );
      this.#check(code, "apply commands");
      for (let at = 0; at < count; at += 1) {
        const status = this.#statuses.at(at);
        const result = this.#statuses.view.getInt32(status + structs.Status.code, true);
        if (result >= 0) continue;
        const errno = this.#statuses.u32(status + structs.Status.system_errno);
        const command = commands[start + at] as Command;
        failures.push({ command, error: errorName(result), errno });
      }
    }
    return failures;
  }

  /** At most 256; none means there are none. */
  events(): DataplaneEvent[] {
    const { bytes } = this.#events;
    const code = this.#symbols.meshvpn_events(this.#device, bytes, eventsPerCall);
    const count = this.#check(code, "take events");
    const out: DataplaneEvent[] = [];
    for (let at = 0; at < count; at += 1) {
      const event = this.#codec.decodeEvent(this.#events, at);
      if (event !== undefined) out.push(event);
    }
    return out;
  }

  /** At most 64; none means there are none. Their bytes are overwritten by the next call. */
  receive(): ReceivedDatagram[] {
    const code = this.#symbols.meshvpn_receive(
      this.#device,
      this.#received.bytes,
      datagramsPerCall,
      this.#receivedBytes,
      this.#receivedBytes.length,
    );
    const count = this.#check(code, "receive datagrams");
    const out: ReceivedDatagram[] = [];
    for (let at = 0; at < count; at += 1) {
      const datagram = this.#codec.decodeDatagram(this.#received, at, this.#receivedBytes);
      if (datagram !== undefined) out.push(datagram);
    }
    return out;
  }

  /** How many were taken; what a full outbox did not take is lost, as datagrams may be. */
  send(transmits: readonly Transmit[]): number {
    let taken = 0;
    for (let start = 0; start < transmits.length; start += datagramsPerCall) {
      const count = Math.min(datagramsPerCall, transmits.length - start);
      let length = 0;
      for (let at = 0; at < count; at += 1) {
        const transmit = transmits[start + at] as Transmit;
        this.#codec.encodeTransmit(this.#sent, at, length, transmit);
        this.#sentBytes.set(transmit.bytes, length);
        length += transmit.bytes.length;
      }
      const code = this.#symbols.meshvpn_send(
        this.#device,
        this.#sent.bytes,
        count,
        this.#sentBytes,
        length,
      );
      taken += this.#check(code, "send datagrams");
    }
    return taken;
  }

  peerStats(): PeerStats[] {
    for (;;) {
      const { bytes, capacity } = this.#stats;
      const code = this.#symbols.meshvpn_peer_stats(this.#device, bytes, capacity);
      const count = this.#check(code, "read the peers' counters");
      if (count < capacity || capacity >= abi.constants.peers_max) {
        return Array.from({ length: count }, (_, at) => this.#codec.decodeStats(this.#stats, at));
      }
      this.#stats = new Records(structs.PeerStats.size, capacity * 4);
    }
  }

  counters(): Record<CounterName, number> {
    const code = this.#symbols.meshvpn_counters(
      this.#device,
      this.#counters,
      this.#counters.length,
    );
    this.#check(code, "read the counters");
    const entries = counterNames.map((name, at) => [name, Number(this.#counters[at])] as const);
    return Object.fromEntries(entries) as Record<CounterName, number>;
  }

  deviceState(): DeviceState {
    const layout = structs.DeviceInfo;
    const state = new Records(layout.size, 1);
    this.#check(this.#symbols.meshvpn_device_info(this.#device, state.bytes), "read the device");
    const set = state.u32(layout.flags);
    const textAt = (at: number): string => {
      const bytes = state.bytes.subarray(at, at + 16);
      return new TextDecoder().decode(bytes.subarray(0, (bytes.indexOf(0) + 17) % 17));
    };
    return {
      interfaceName: textAt(layout.interface_name),
      interfaceIndex: state.u32(layout.interface_index),
      listenPort: state.u32(layout.listen_port),
      mtu: state.u32(layout.mtu),
      tunOffload: (set & flags.device_flag_tun_offload) !== 0,
      tunUso: (set & flags.device_flag_tun_uso) !== 0,
      udpSegmentation: (set & flags.device_flag_udp_segmentation) !== 0,
      udpGro: (set & flags.device_flag_udp_gro) !== 0,
      segmentsMax: state.u32(layout.segments_max),
      cipher: textAt(layout.cipher),
      lanes: state.u32(layout.lanes),
      cryptoWorkers: state.u32(layout.crypto_workers),
      ioUring: ioUringText(state.u32(layout.io_uring), state.u32(layout.io_uring_errno)),
      connectedSockets: state.u32(layout.connected_sockets),
    };
  }

  /** One whole UAPI request, its keys as handles that are now the caller's; undefined: none. */
  uapiReceive(): UapiRequest | undefined {
    for (;;) {
      const buffer = this.#uapiBytes;
      const code = this.#symbols.meshvpn_uapi_receive(
        this.#device,
        this.#uapiId,
        buffer,
        buffer.length,
      );
      const small = code < 0 && errorName(code) === "buffer_too_small";
      if (small && buffer.length < uapiBytesMax) {
        this.#uapiBytes = new Uint8Array(buffer.length * 4);
        continue;
      }
      const length = this.#check(code, "take a UAPI request");
      if (length === 0) return undefined;
      const text = new TextDecoder().decode(buffer.subarray(0, length));
      return { id: this.#uapiId[0] as number, text };
    }
  }

  /** Answers a request; false where its client has gone. */
  uapiReply(id: number, text: string): boolean {
    const bytes = new TextEncoder().encode(text);
    return this.#symbols.meshvpn_uapi_reply(this.#device, id, bytes, bytes.length) >= 0;
  }

  #check(code: number, what: string): number {
    if (code >= 0) return code;
    const name = errorName(code);
    const why = `the library answered ${name}`;
    throw new MeshError(name, `cannot ${what}`, why, "report this with the log");
  }
}

function encodeConfig(config: DataplaneConfig): Uint8Array {
  const layout = structs.Config;
  const records = new Records(layout.size, 1);
  const name = new TextEncoder().encode(config.interfaceName);
  assert(name.length <= 15, "an interface's name is at most 15 bytes");
  records.bytes.set(name, layout.interface_name);
  const set =
    (config.tun === false ? flags.config_flag_no_tun : 0) |
    (config.uapi === true ? flags.config_flag_uapi : 0) |
    (config.udpOffload === false ? flags.config_flag_no_udp_offload : 0) |
    (config.tunOffload === false ? flags.config_flag_no_tun_offload : 0) |
    (config.connectedSockets === true ? flags.config_flag_connected_sockets : 0);
  records.view.setUint32(layout.mtu, config.mtu ?? abi.constants.mtu_default, true);
  records.view.setUint32(layout.listen_port, config.listenPort ?? 0, true);
  records.view.setUint32(layout.fwmark, config.fwmark ?? 0, true);
  records.view.setUint32(layout.flags, set, true);
  const cipher = enums.Cipher[config.cipher ?? "auto"];
  records.view.setUint32(layout.cipher, cipher, true);
  records.view.setUint32(layout.lanes, config.lanes ?? 1, true);
  records.view.setUint32(layout.crypto_workers, config.cryptoWorkers ?? 0, true);
  const ioUring = enums.IoUring[config.ioUring ?? "auto"];
  records.view.setUint32(layout.io_uring, ioUring, true);
  records.view.setUint32(layout.busy_poll_us, config.busyPollUs ?? 0, true);
  return records.bytes;
}

/** What became of io_uring here, for people. */
export function ioUringText(state: number, errno: number): string {
  const names = Object.entries(enums.IoUringState);
  const name = names.find(([, value]) => value === state)?.[0] ?? "unknown";
  if (state !== enums.IoUringState.refused) return name;
  return `${name}: ${getSystemErrorName(-errno)}`;
}

/** What the library was about when it could not open the device, and what the system answered. */
interface OpenFailure {
  readonly step: keyof typeof enums.OpenStep;
  /** 0: it was no system call. */
  readonly errno: number;
}

function openFailure({ symbols }: Library): OpenFailure {
  const layout = structs.OpenFailure;
  const failure = new Records(layout.size, 1);
  symbols.meshvpn_open_failure(failure.bytes);
  const value = failure.u32(layout.step);
  const names = Object.keys(enums.OpenStep) as OpenFailure["step"][];
  const step = names.find((name) => enums.OpenStep[name] === value) ?? "none";
  return { step, errno: failure.u32(layout.system_errno) };
}

const openSteps: Readonly<Record<OpenFailure["step"], string>> = {
  none: "its settings",
  cipher: "the cipher",
  tun: "the TUN device",
  netlink: "the routing socket",
  mtu: "the MTU",
  udp: "the UDP socket",
  tables: "the tables",
  ways: "the options of its sockets",
  lanes: "the packet threads",
  uapi: "the socket for wg",
};

export function openError(
  name: ErrorName,
  config: DataplaneConfig,
  { step, errno }: OpenFailure,
): MeshError {
  const device = config.interfaceName;
  const known: Partial<Record<ErrorName, readonly [string, string]>> = {
    permission_denied: ["it takes CAP_NET_ADMIN", "run as root"],
    no_tun: ["there is no /dev/net/tun", "modprobe tun, or give the container that device"],
    interface_busy: [
      "an interface of that name exists or is in use",
      `choose another name, or remove it: ip link del ${device}`,
    ],
    address_in_use: [
      `UDP port ${config.listenPort ?? 0} is in use`,
      "choose another port, or stop the program that holds it: ss -ulpn",
    ],
    uapi_in_use: [
      `another process answers on /var/run/wireguard/${device}.sock`,
      "stop that process, or choose another name",
    ],
    table_full: ["this process has all the devices it can have", "use fewer devices"],
    self_test_failed: [
      "no batched cipher runs on this processor and agrees with libsodium",
      "choose --aead auto or libsodium",
    ],
    invalid_argument: ["the name, the MTU or the port is not acceptable", "correct it"],
  };
  const refusal = errno === 0 ? name : getSystemErrorName(-errno);
  const fallback = [
    `the system refused ${openSteps[step]} (${refusal})`,
    "see dmesg and the limits of this user",
  ] as const;
  const [why, remedy] = known[name] ?? fallback;
  return new MeshError(name, `cannot make the interface ${device}`, why, remedy);
}
