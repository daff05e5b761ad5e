/**
 * The plain WireGuard device: a table of peers over one data plane, configured by WireGuard's UAPI
 * alone. Owns the device's life, from the interface to its removal, and what is on disk for it. It
 * ends when the interface or the UAPI socket is deleted, on SIGTERM, SIGINT and SIGHUP, and leaves
 * nothing behind but the memory of timestamps. On SIGUSR2 it logs its counters.
 */
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { Instant } from "../base/clock.ts";
import type { Secret } from "../base/crypto.ts";
import { MeshError } from "../base/errors.ts";
import type { DataplaneEvent } from "../mesh/dataplane.ts";
import { type Peer, PeerTable, type PeerTableEvent } from "../mesh/peer-table.ts";
import { answerUapi, type UapiDevice } from "../mesh/uapi.ts";
import { NativeCrypto } from "../native/crypto.ts";
import type {
  CipherChoice,
  CommandFailure,
  IoUringChoice,
  NativeDataplane,
} from "../native/dataplane.ts";
import type { Library } from "../native/library.ts";
import { systemClock } from "./clock.ts";
import { Driver, type Duties } from "./driver.ts";
import type { Log } from "./log.ts";
import { openDataplane } from "./open-dataplane.ts";
import { statsBySlot } from "./peer-stats.ts";
import { type LaneChoice, lanesFor, type WorkerChoice, workersFor } from "./threads.ts";
import { TimestampStore } from "./timestamps.ts";

/** UAPI requests answered in one turn. */
const requestsPerTurn = 16;
const ipv6Addresses = "/proc/net/if_inet6";

export interface DeviceOptions {
  readonly interfaceName: string;
  readonly stateDirectory: string;
  readonly cipher: CipherChoice;
  readonly lanes: LaneChoice;
  readonly workers: WorkerChoice;
  readonly ioUring: IoUringChoice;
  readonly connectedSockets: boolean;
  /** Microseconds; 0: not at all. */
  readonly busyPollUs: number;
  readonly log: Log;
}

/**
 * Runs a device until it ends. `ready` is called when it answers UAPI.
 * @returns the exit code: 0 where it was told to end, 1 where it could not go on.
 * @throws MeshError where it cannot be made.
 */
export async function runDevice(
  library: Library,
  options: DeviceOptions,
  ready: () => void,
): Promise<number> {
  const { log, interfaceName } = options;
  if (library.symbols.meshvpn_harden() < 0) log.warning("memory could not be kept from core dumps");
  const crypto = new NativeCrypto(library);
  const dataplane = openDataplane(library, {
    interfaceName,
    uapi: true,
    cipher: options.cipher,
    lanes: lanesFor(options.lanes, availableParallelism()),
    cryptoWorkers: workersFor(options.workers, availableParallelism()),
    ioUring: options.ioUring,
    connectedSockets: options.connectedSockets,
    busyPollUs: options.busyPollUs,
  });
  const { cipher, lanes, ioUring } = dataplane.deviceState();
  log.verbose(`packets are sealed by ${cipher}, in ${lanes} ${lanes === 1 ? "lane" : "lanes"}`);
  if (ioUring.startsWith("refused")) {
    log.error(`io_uring was ${ioUring}; packets go by ordinary system calls`);
  }
  const device = new WireguardDevice(library, crypto, dataplane, options);
  try {
    return await device.run(ready);
  } finally {
    device.close();
  }
}

class WireguardDevice implements UapiDevice<Peer>, Duties<PeerTableEvent> {
  readonly table: PeerTable;
  localKey: Secret | undefined;
  fwmark = 0;
  readonly scopeOf = interfaceIndex;

  readonly #crypto: NativeCrypto;
  readonly #dataplane: NativeDataplane;
  readonly #driver: Driver<PeerTableEvent>;
  readonly #timestamps: TimestampStore;
  readonly #log: Log;
  #end: ((code: number) => void) | undefined;
  #linkUp = false;

  constructor(
    library: Library,
    crypto: NativeCrypto,
    dataplane: NativeDataplane,
    { stateDirectory, log }: DeviceOptions,
  ) {
    this.#crypto = crypto;
    this.#dataplane = dataplane;
    this.#log = log;
    this.#timestamps = new TimestampStore(stateDirectory, (text) => log.warning(text));
    const { lanes } = dataplane.deviceState();
    this.table = new PeerTable({ crypto, random: crypto, lanes });
    this.#driver = new Driver(this.table, dataplane, systemClock(library), this);
  }

  async run(ready: () => void): Promise<number> {
    const ended = new Promise<number>((resolve) => {
      this.#end = resolve;
    });
    const stop = (signal: string): void => {
      this.#log.verbose(`ending on ${signal}`);
      this.#end?.(0);
    };
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, stop);
    process.on("SIGUSR2", () => this.#log.asked(`counters: ${JSON.stringify(this.#counters())}`));
    this.#dataplane.start();
    await this.#driver.start();
    this.#log.verbose("the device is up");
    ready();
    return await ended;
  }

  /** Nothing of the device is left when this returns. */
  close(): void {
    this.#driver.stop();
    this.#timestamps.close();
    this.#dataplane.close();
  }

  record(_now: Instant, reports: readonly PeerTableEvent[]): void {
    for (const report of reports) {
      switch (report.kind) {
        case "timestamp_sent":
          this.#timestamps.sent(report.tai64n);
          break;
        case "timestamp_accepted":
          this.#timestamps.accepted(report.publicKey, report.tai64n);
          break;
        case "stranger":
          this.#log.debug("an initiation came from a key that is no peer");
          break;
        default:
          this.#log.debug(`${report.kind}, peer slot ${report.peer.ref.slot}`);
      }
    }
    this.#timestamps.flush();
  }

  observe(now: Instant, event: DataplaneEvent): boolean {
    switch (event.kind) {
      case "link_gone":
        this.#log.verbose("ending: the interface or its UAPI socket was deleted");
        this.#end?.(0);
        return false;
      case "fatal":
        this.#log.error(`the data plane ended with errno ${event.errno}; start the device again`);
        this.#end?.(1);
        return false;
      case "link_changed":
        this.#changeLink(now, event.up);
        return true;
      case "handshake_wanted":
        this.#log.debug(`a handshake is wanted: ${event.reason}, peer slot ${event.peer.slot}`);
        // As in the kernel: a device that is down asks nobody.
        return this.#linkUp || event.reason !== "persistent_keepalive";
      default:
        return true;
    }
  }

  /** Persistent keepalives begin with the link. */
  #changeLink(now: Instant, up: boolean): void {
    this.#log.verbose(`the interface is ${up ? "up" : "down"}`);
    this.#linkUp = up;
    if (!up) return;
    for (const peer of this.table.peers()) {
      if (peer.keepaliveSeconds > 0 && !peer.sessionLive) this.table.initiate(now, peer);
    }
  }

  serve(now: Instant): void {
    for (let count = 0; count < requestsPerTurn; count += 1) {
      const request = this.#dataplane.uapiReceive();
      if (request === undefined) return;
      const answer = answerUapi(now, request.text, this);
      const errno = /errno=(-?[1-9][0-9]*)\n\n$/.exec(answer)?.[1];
      if (errno !== undefined) this.#log.verbose(`a UAPI request was refused: errno ${errno}`);
      if (!this.#dataplane.uapiReply(request.id, answer)) this.#log.debug("a UAPI client has gone");
    }
    this.#driver.wake();
  }

  refused(failures: readonly CommandFailure[]): void {
    for (const { command, error, errno } of failures) {
      const system = errno === 0 ? "" : `, errno ${errno}`;
      this.#log.error(`the data plane refused ${command.kind}: ${error}${system}`);
    }
  }

  warn(text: string): void {
    this.#log.warning(text);
  }

  failed(error: unknown): void {
    const words = error instanceof MeshError ? error.sentence() : describe(error);
    this.#log.error(`ending after an internal error: ${words}`);
    this.#end?.(1);
  }

  get listenPort(): number {
    return this.#dataplane.deviceState().listenPort;
  }

  /** The memory of timestamps belongs to the key, so it changes with it. */
  setLocalKey(now: Instant, key: Secret | undefined): void {
    this.settle(now);
    if (key === undefined) this.#timestamps.close();
    const history =
      key === undefined ? undefined : this.#timestamps.open(this.#crypto.publicKey(key));
    this.localKey = key;
    this.table.setLocalKey(now, key, history);
  }

  removePeer(now: Instant, peer: Peer): void {
    this.#timestamps.forget(peer.publicKey);
    this.table.removePeer(now, peer);
  }

  setListenPort(port: number): number {
    return this.#applied(this.#dataplane.apply([{ kind: "listen_port_set", port }]));
  }

  setFwmark(fwmark: number): number {
    const errno = this.#applied(this.#dataplane.apply([{ kind: "fwmark_set", fwmark }]));
    if (errno === 0) this.fwmark = fwmark;
    return errno;
  }

  settle(now: Instant): number {
    const failures = this.#driver.flush(now);
    this.#timestamps.flush();
    return this.#applied(failures);
  }

  publicKeyOf(secret: Secret): Uint8Array {
    return this.#crypto.publicKey(secret);
  }

  release(secret: Secret): void {
    this.#crypto.release(secret);
  }

  traffic(): (peer: Peer) => { txBytes: number; rxBytes: number } {
    const find = statsBySlot(this.#dataplane.peerStats());
    return ({ ref }) => find(ref) ?? { txBytes: 0, rxBytes: 0 };
  }

  #counters(): Readonly<Record<string, number>> {
    const { counters } = this.table;
    return {
      ...counters,
      ...this.#dataplane.counters(),
      diffie_hellman: this.#crypto.diffieHellman,
    };
  }

  #applied(failures: readonly CommandFailure[]): number {
    this.refused(failures);
    const [first] = failures;
    return first === undefined ? 0 : errnoOf(first);
  }
}

/** The index of an interface of this process's network namespace. */
function interfaceIndex(name: string): number | undefined {
  // Absent where IPv6 is switched off; in it, interfaces that are up.
  const list = existsSync(ipv6Addresses) ? readFileSync(ipv6Addresses, "utf8") : "";
  for (const line of list.split("\n")) {
    const [, index, , , , owner] = line.split(/ +/);
    if (owner === name && index !== undefined) return Number.parseInt(index, 16);
  }
  // One that is down. What is mounted on /sys may belong to another namespace, /proc/net does not.
  const here = readFileSync("/proc/net/dev", "utf8").split("\n");
  if (!here.some((line) => line.trim().startsWith(`${name}:`))) return undefined;
  const path = `/sys/class/net/${name}/ifindex`;
  return existsSync(path) ? Number(readFileSync(path, "utf8")) : undefined;
}

/** The system's number where there is one, else the nearest in meaning. */
function errnoOf({ error, errno }: CommandFailure): number {
  if (errno !== 0) return errno;
  switch (error) {
    case "permission_denied":
      return 1;
    case "out_of_memory":
      return 12;
    case "invalid_argument":
      return 22;
    case "table_full":
      return 28;
    case "address_in_use":
      return 98;
    default:
      return 5;
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
