/**
 * The mesh daemon: a MeshNode over one data plane, with its keys and memory on disk, its seeds, its
 * control socket and its signals. Composition only: what is started here is stopped here, in the
 * opposite order, and what the node wants kept is on disk before anything leaves that depends on it.
 */
import { availableParallelism, networkInterfaces } from "node:os";
import manifest from "../../package.json" with { type: "json" };
import type { Instant } from "../base/clock.ts";
import { MeshError } from "../base/errors.ts";
import type { DataplaneEvent } from "../mesh/dataplane.ts";
import { seedsMax } from "../mesh/introducer.ts";
import { MeshNode, type NodeEvent, type NodeMemory, type Seed } from "../mesh/node.ts";
import { Outlook } from "../mesh/outlook.ts";
import { routingPlace } from "../mesh/route-plan.ts";
import { exposition } from "../metrics/exposition.ts";
import { NativeCrypto } from "../native/crypto.ts";
import type { CommandFailure, NativeDataplane } from "../native/dataplane.ts";
import type { Library } from "../native/library.ts";
import { profiles } from "../swim/profile.ts";
import { formatIdentity } from "../trust/identity.ts";
import { type Clock, systemClock } from "./clock.ts";
import { type ControlAnswer, type ControlRequest, ControlServer } from "./control.ts";
import { Doctor } from "./doctor.ts";
import { Driver, type Duties } from "./driver.ts";
import { ownCandidates } from "./endpoints.ts";
import { removeLeftovers } from "./files.ts";
import { type Configuration, LiveSettings } from "./live-settings.ts";
import type { Log } from "./log.ts";
import { memberStatuses } from "./member-statuses.ts";
import { MembersFile } from "./members-file.ts";
import { families, processFigures } from "./metrics.ts";
import { NameServer } from "./names.ts";
import { type NetcheckReport, netcheck, refreshOf } from "./netcheck.ts";
import { openDataplane } from "./open-dataplane.ts";
import { Page } from "./page.ts";
import { statsBySlot } from "./peer-stats.ts";
import { concernsMembers, PolicyKeeper } from "./policy.ts";
import { readiness } from "./readiness.ts";
import type { ReloadReport } from "./reload.ts";
import { RestingTraffic } from "./resting-traffic.ts";
import { RouteKeeper } from "./routes.ts";
import { unaskedSeeds } from "./seed-standing.ts";
import type { MeshConfig } from "./setting.ts";
import { type Keys, loadKeys, prepareStateDirectory, readMemory, writeMemory } from "./state.ts";
import { lockStateDirectory } from "./state-lock.ts";
import { certificateStatus, type MemberStatus, type MeshStatus, statusSchema } from "./status.ts";
import { Supervisor } from "./supervisor.ts";
import { Surroundings, systemResolver } from "./surroundings.ts";
import type { TcpListener } from "./tcp.ts";
import { listenForTcp, TcpFallback } from "./tcp-fallback.ts";
import { tellLog } from "./tell-log.ts";
import { lanesFor, workersFor } from "./threads.ts";
import { TimestampStore } from "./timestamps.ts";
import { TrustStore, trustWords } from "./trust-store.ts";
import { MeshUapi } from "./uapi.ts";

/** UAPI requests answered in one turn. */
const requestsPerTurn = 16;
/** Interfaces come and go unannounced, so they are looked at this often. */
const interfacesMs = 15_000;
/** Certificates, and networks of this machine, may change without an event. */
const stepMs = 1_000;
/** How long the end waits for the farewell to be sealed and sent. */
const farewellMs = 200;
const farewellLookMs = 5;

/**
 * Runs a node of the mesh until it is told to end. `ready` is called once it takes part,
 * with what it is and what the operator should know of it.
 * @returns the exit code: 0 where it was told to end, 1 where it could not go on.
 * @throws MeshError where it cannot start; nothing of it is left then.
 */
export async function runMesh(
  library: Library,
  { config, reread }: Configuration,
  log: Log,
  ready: (words: string, warnings: readonly string[]) => void,
): Promise<number> {
  if (library.symbols.meshvpn_harden() < 0) log.warning("memory could not be kept from core dumps");
  const crypto = new NativeCrypto(library);
  prepareStateDirectory(config.state_dir);
  await using started = new AsyncDisposableStack();

  // Before anything is made: another daemon is the likeliest reason for a name or a port in use.
  let daemon: MeshDaemon | undefined;
  const control = await ControlServer.listen(config.control_socket, (request) => {
    if (daemon !== undefined) return daemon.answer(request);
    throw new MeshError(
      "daemon_starting",
      "the daemon cannot answer",
      "it is starting",
      "try again",
    );
  });
  started.defer(() => control.close());
  const lock = lockStateDirectory(config.state_dir);
  started.defer(() => lock.release());
  removeLeftovers(config.state_dir);
  const keys = loadKeys(crypto, config.state_dir);
  started.defer(() => crypto.release(keys.identity.seed));

  const place = config.tun ? routingPlace(config.interface) : undefined;
  const options = {
    interfaceName: config.interface,
    ...(place === undefined ? {} : { fwmark: place.mark }),
    mtu: config.mtu,
    listenPort: config.port,
    uapi: answersUapi(config),
    tun: config.tun,
    cipher: config.aead,
    // Relayed frames do not go from lane to lane, so a mesh has several only where they are asked for.
    lanes: config.lanes === "auto" ? 1 : lanesFor(config.lanes, availableParallelism()),
    cryptoWorkers: workersFor(config.encrypt_workers, availableParallelism()),
    ioUring: config.io_uring,
    connectedSockets: config.connected_sockets,
    busyPollUs: config.busy_poll,
  };
  const dataplane = openDataplane(library, options, "--no-uapi");
  started.defer(() => dataplane.close());
  daemon = new MeshDaemon({ library, crypto, dataplane, keys, config, reread, log });
  started.defer(() => daemon?.close());
  await daemon.start();
  const supervisor = new Supervisor(process.env, library.symbols.meshvpn_notify);
  supervisor.ready(daemon.describe());
  ready(daemon.describe(), [...daemon.warnings(), ...daemon.unasked("all")]);
  const code = await daemon.ended;
  supervisor.stopping();
  return code;
}

interface Parts extends Configuration {
  readonly library: Library;
  readonly crypto: NativeCrypto;
  readonly dataplane: NativeDataplane;
  readonly keys: Keys;
  readonly log: Log;
}

class MeshDaemon implements Duties<NodeEvent> {
  /** The exit code. */
  readonly ended: Promise<number>;
  readonly #end: (code: number) => void;
  readonly #parts: Parts;
  readonly #clock: Clock;
  readonly #node: MeshNode;
  readonly #outlook: Outlook;
  readonly #surroundings: Surroundings;
  readonly #driver: Driver<NodeEvent>;
  readonly #uapi: MeshUapi;
  readonly #live: LiveSettings;
  readonly #policy: PolicyKeeper;
  readonly #routes: RouteKeeper;
  #stepTimer: ReturnType<typeof setInterval> | undefined;
  readonly #doctor: Doctor;
  readonly #nameServer: NameServer;
  readonly #startedMs: number;
  readonly #timestamps: TimestampStore;
  readonly #members: MembersFile;
  readonly #trust: TrustStore;
  /** The operator's own words for identities; read again with them. */
  #givenNames = new Map<string, string>();
  readonly #traffic = new RestingTraffic();
  #seeds: readonly Seed[] = [];
  #hints: readonly Seed[] = [];
  #tcpSeeds: readonly Seed[] = [];
  #tcpListener: TcpListener | undefined;
  #tcpFallback: TcpFallback | undefined;
  #interfaceTimer: ReturnType<typeof setInterval> | undefined;
  #memoryFailing = false;

  constructor(parts: Parts) {
    const { library, crypto, dataplane, keys, config } = parts;
    const ended = Promise.withResolvers<number>();
    this.ended = ended.promise;
    this.#end = ended.resolve;
    this.#parts = parts;
    this.#clock = systemClock(library);
    this.#timestamps = new TimestampStore(config.state_dir, this.warn);
    this.#members = new MembersFile(config.state_dir, this.warn, () => this.#node.view.records());
    const { identity } = keys;
    this.#trust = new TrustStore({ crypto, config, identity, now: this.#clock(), warn: this.warn });
    const { networkId, ipv4Prefix, book, joining } = this.#trust;
    this.#doctor = new Doctor({
      status: (withCounters) => this.#status(withCounters),
      roster: () => this.#node.roster,
      policy: (identity) => this.#policy.standing(identity),
      config: () => this.#live.config,
      seeds: () => this.#live.seedPlaces(),
      unasked: () => unaskedSeeds(this.#live.config, this.#node.roster),
      domains: () => this.#surroundings.domains(),
      now: () => this.#clock(),
      called: (identity) => this.#called(identity),
      warn: this.warn,
      say: (text) => parts.log.verbose(text),
    });
    this.#node = new MeshNode({
      crypto,
      random: crypto,
      identity,
      networkId,
      name: config.name,
      wireguardKey: keys.wireguard,
      ipv4Prefix,
      mtu: config.mtu,
      ...this.#readTrust(),
      book,
      joining,
      seeds: [],
      candidates: this.#candidates(),
      memory: readMemory(config.state_dir, this.warn),
      members: this.#members.records(),
      history: this.#timestamps.open(crypto.publicKey(keys.wireguard)),
      profile: { ...profiles[config.detection], heldMax: config.sessions_held },
      offered: () => this.#routes?.offered ?? [],
      relay: config.relay ? { kibPerSecond: config.relay_quota } : undefined,
      arrivals: this.#doctor.arrivals,
    });
    const place = config.tun ? routingPlace(config.interface) : undefined;
    const uapi = [this.#node, keys.wireguard, dataplane, crypto, this.#traffic] as const;
    this.#uapi = new MeshUapi(...uapi, place?.mark);
    this.#outlook = new Outlook(this.#node, crypto);
    this.#surroundings = new Surroundings({
      outlook: this.#outlook,
      random: crypto,
      port: dataplane.deviceState().listenPort,
      interfaceName: config.tun ? config.interface : undefined,
      portmap: config.portmap,
      stun: config.stun,
      mdns: config.mdns,
      identity: formatIdentity(identity.publicKey),
      admits: (found) => this.#node.roster.mayAsk(found),
      dns: config.dns,
      tell: (say) => this.#outside(say),
      hinted: (hints) => {
        this.#hints = hints;
        this.#setSeeds();
      },
      isAlone: () => this.#isAlone(),
      refreshSeeds: () => this.#live.refreshSeeds(),
      nowMs: () => this.#clock().ms,
      warn: this.warn,
    });
    this.#driver = new Driver(this.#outlook, dataplane, this.#clock, this);
    this.#startedMs = this.#clock().wallMs;
    this.#policy = new PolicyKeeper(config.state_dir, dataplane, {
      isMember: (identity) => this.#node.view.slotOf(identity) !== undefined,
      present: () => this.#node.view.present(),
      certificateOf: (identity) => this.#node.roster.certificateOf(identity),
      givenName: (identity) => this.#givenNames.get(identity) ?? "",
      organisations: () => this.#trust.organisationNames(),
      own: () => this.#meshAddress(),
    });
    const { ipv6Prefix } = this.#node.status();
    const { state_dir: stateDirectory, interface: interfaceName } = config;
    this.#routes = new RouteKeeper(
      { stateDirectory, mesh: [ipv4Prefix, ipv6Prefix], place, interfaceName },
      {
        settings: () => this.#live?.config ?? config,
        members: () => this.#node.view.offering(),
        everybody: () => this.#node.status().members,
        streamed: () => this.#tcpFallback?.addresses ?? [],
        givenName: (identity) => this.#givenNames.get(identity) ?? "",
        accept: (prefixes) => dataplane.setDestinations(prefixes),
        lead: (routes) => this.#outside((now) => this.#node.setRoutes(now, routes)),
        apply: (commands) => dataplane.apply(commands),
        refused: (failures) => this.refused(failures),
        flushRules: library.symbols.meshvpn_rules_flush,
        warn: this.warn,
      },
    );
    this.#nameServer = new NameServer({ status: () => this.#status(false), warn: this.warn });
    this.#live = new LiveSettings(parts, parts.log, {
      seedsChanged: (seeds) => {
        this.#seeds = seeds;
        this.#setSeeds();
      },
      announceChanged: () =>
        this.#outside((now) => this.#outlook.setLocal(now, this.#candidates())),
      routesChanged: () => {
        this.#routes.settingsChanged();
        this.#outside((now) => this.#node.offeredChanged(now));
      },
      meshAddress: () => this.#meshAddress(),
      families: () => this.#families(),
      readiness: () => readiness(this.#status(false)),
      page: new Page(() => {
        const status = this.#status(false);
        return { status, readiness: readiness(status) };
      }),
      learntSeeds: () => this.#trust.seeds(),
    });
  }

  #setSeeds(): void {
    const seeds = [...this.#tcpSeeds, ...this.#seeds, ...this.#hints].slice(0, seedsMax);
    this.#outside((now) => this.#node.setSeeds(now, seeds));
  }

  #isAlone(): boolean {
    return this.#node.view.linkedCount === 0;
  }

  /** TCP for members that cannot send UDP, and for this node where it cannot. */
  #startTcp(): void {
    const { config, dataplane } = this.#parts;
    const { listenPort: udpPort } = dataplane.deviceState();
    this.#tcpListener = listenForTcp(config, udpPort);
    this.#tcpFallback = new TcpFallback({
      seeds: config.tcp,
      udpPort,
      nowMs: () => this.#clock().ms,
      isAlone: () => this.#isAlone(),
      opened: (seeds) => {
        this.#tcpSeeds = seeds;
        this.#setSeeds();
      },
      moved: () => this.#routes.update(),
      resolver: systemResolver(this.warn),
    });
    this.#tcpFallback.start();
  }

  async start(): Promise<void> {
    process.on("SIGTERM", () => this.#end(0));
    process.on("SIGINT", () => this.#end(0));
    process.on("SIGHUP", () => {
      try {
        this.#reload();
      } catch (error) {
        if (!(error instanceof MeshError)) throw error;
        this.warn(error.sentence());
      }
    });
    for (const text of [...this.warnings(), ...this.unasked("tcp")]) this.warn(text);
    // In force before the first packet.
    this.#policy.read();
    this.#routes.start();
    this.#stepTimer = setInterval(() => this.#keepStep(), stepMs);
    this.#node.start(this.#clock());
    this.#members.started((identity) => this.#node.view.slotOf(identity) !== undefined);
    this.#parts.dataplane.start();
    await this.#driver.start();
    this.#live.start();
    const { tun, names, interface: interfaceName } = this.#parts.config;
    if (tun) await this.#doctor.start(this.#meshAddress());
    if (tun && names > 0) await this.#nameServer.start(this.#meshAddress(), names, interfaceName);
    this.#startTcp();
    this.#outlook.setLocal(this.#clock(), this.#candidates());
    await this.#surroundings.start();
    this.#interfaceTimer = setInterval(() => {
      this.#outside((now) => this.#outlook.setLocal(now, this.#candidates()));
      for (const text of this.#trust.dailyWarnings(this.#clock(), this.#node)) this.warn(text);
    }, interfacesMs);
  }

  /** The others are told that this node goes, where it still can be said. */
  async close(): Promise<void> {
    clearInterval(this.#interfaceTimer);
    clearInterval(this.#stepTimer);
    this.#tcpFallback?.stop();
    this.#tcpListener?.close();
    this.#live.stop();
    const released = this.#surroundings.stop();
    this.#doctor.stop();
    this.#nameServer.stop();
    const sentBefore = this.#messagesSent();
    const now = this.#clock();
    this.#node.leave(now);
    const waiting = this.#driver.finish(now);
    const untilMs = now.ms + farewellMs;
    while (this.#messagesSent() < sentBefore + waiting && this.#clock().ms < untilMs) {
      await Bun.sleep(farewellLookMs);
    }
    await released;
    // Until now the farewell could need what it leads.
    this.#routes.close();
    this.#members.close();
    this.#timestamps.close();
    this.#trust.close();
  }

  #messagesSent(): number {
    return this.#parts.dataplane.counters().session_messages_sent ?? 0;
  }

  /** For the line that says it is up. */
  describe(): string {
    const { name, addresses } = this.#node.status();
    const { interfaceName, listenPort } = this.#parts.dataplane.deviceState();
    const place = this.#parts.config.tun ? interfaceName : "no interface";
    return `${name}, ${place}, ${addresses.join(", ")}, port ${listenPort}, ${trustWords(this.#node.status())}`;
  }

  warnings(): readonly string[] {
    const { roster } = this.#node;
    const isClosed = roster.size === 0 && roster.organisationCount === 0;
    const own = this.#trust.warnings(this.#clock(), this.#node);
    return isClosed ? [nobodyTrusted, ...own] : own;
  }

  /** Seeds that are named, and not asked as trust stands; the log is told of others by the node. */
  unasked(over: "all" | "tcp"): readonly string[] {
    const { seed, tcp } = this.#live.config;
    const named = { seed: over === "all" ? seed : [], tcp };
    return unaskedSeeds(named, this.#node.roster).map(({ words, mend }) => `${words}; ${mend}`);
  }

  answer(request: ControlRequest): ControlAnswer {
    switch (request.command) {
      case "status":
        return { result: this.#status(request.counters === true, request.paths === true) };
      case "netcheck":
        return { result: this.#netcheck(refreshOf(request)) };
      case "invite":
        return { result: this.#trust.invite(this.#clock(), this.#node, request) };
      case "reload":
        return { result: this.#reload() };
      case "doctor":
        return { result: this.#doctor.answer(String(request.about)) };
      case "page":
        return { result: this.#live.pageAddress() ?? null };
      case "logs":
        return { result: this.#parts.log.lines(Number(request.after) || 0) };
      case "metrics":
        return { result: exposition(this.#families(), "prometheus") };
      case "stop":
        // Answered first; the connection ends when this process does.
        setImmediate(() => this.#end(0));
        return { result: null, hold: true };
      default:
        throw new MeshError(
          "request_unknown",
          "cannot take the request",
          `this daemon knows no ${JSON.stringify(request.command).slice(0, 80)}`,
          "use a meshvpn of the same version",
        );
    }
  }

  record(_now: Instant, reports: readonly NodeEvent[]): void {
    for (const report of reports) this.#record(report);
    if (reports.some(concernsMembers)) this.#keepStep();
    this.#timestamps.flush();
  }

  observe(_now: Instant, event: DataplaneEvent): boolean {
    if (event.kind === "network_changed") this.#surroundings.networkChanged();
    if (event.kind !== "link_gone" && event.kind !== "fatal") return true;
    const what =
      event.kind === "fatal"
        ? `the data plane ended with errno ${event.errno}`
        : "the interface or its UAPI socket was deleted";
    this.#parts.log.error(`ending: ${what}; start the daemon again`);
    this.#end(1);
    return false;
  }

  serve(now: Instant): void {
    const { dataplane, log, config } = this.#parts;
    this.#doctor.tellRefused();
    if (!answersUapi(config)) return;
    for (let count = 0; count < requestsPerTurn; count += 1) {
      const request = dataplane.uapiReceive();
      if (request === undefined) return;
      const answer = this.#uapi.answer(now, request.text);
      if (!dataplane.uapiReply(request.id, answer)) log.debug("a UAPI client has gone");
    }
    this.#driver.wake();
  }

  refused(failures: readonly CommandFailure[]): void {
    for (const { command, error, errno } of failures) {
      // The node speaks of an interface, whether there is one or not.
      if (error === "no_tun" && !this.#parts.config.tun) continue;
      const system = errno === 0 ? "" : `, errno ${errno}`;
      const about = "prefix" in command ? ` ${command.prefix.address}/${command.prefix.bits}` : "";
      this.#parts.log.error(`the data plane refused ${command.kind}${about}: ${error}${system}`);
    }
  }

  readonly warn = (text: string): void => this.#parts.log.warning(text);

  failed(error: unknown): void {
    const words =
      error instanceof MeshError
        ? error.sentence()
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
    this.#parts.log.error(`ending after an internal error: ${words}`);
    this.#end(1);
  }

  #record(report: NodeEvent): void {
    if (this.#trust.record(report)) return;
    switch (report.kind) {
      case "timestamp_sent":
        this.#timestamps.sent(report.tai64n);
        break;
      case "timestamp_accepted":
        this.#timestamps.accepted(report.publicKey, report.tai64n);
        break;
      case "persist_record":
        this.#keepMemory(report);
        break;
      case "persist_member":
        this.#members.keep(report.identity);
        break;
      case "peer_coming":
        break;
      case "peer_resting":
        this.#traffic.rest(report.slot, this.#parts.dataplane.peerStats(), report.peer);
        break;
      case "address_assigned":
        this.#routes.setOwn([report.ipv6, ...(report.ipv4 === undefined ? [] : [report.ipv4])]);
        tellLog(this.#parts.log, report, (subject) => subject);
        break;
      case "member_joined":
        this.#parts.log.verbose(`${this.#called(report.identity)} is a member`);
        break;
      case "member_left":
        this.#parts.log.verbose(
          `${this.#called(report.identity, report.name)} is no longer a member: ${this.#doctor.whyNot(report.identity)}`,
        );
        this.#traffic.forget(report.slot);
        this.#members.forget(report.identity);
        break;
      default:
        // Said already, by the name that the operator gave.
        if (report.kind === "warning" && this.#tcpFallback?.isOwn(report.subject)) break;
        tellLog(this.#parts.log, report, (subject) => this.#called(subject));
    }
  }

  /** Without it the next start takes the clock's word for the sequence, which is nearly as good. */
  #keepMemory(memory: NodeMemory): void {
    try {
      writeMemory(this.#parts.config.state_dir, memory);
      this.#memoryFailing = false;
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      if (!this.#memoryFailing) this.warn(error.sentence());
      this.#memoryFailing = true;
    }
  }

  /** `name (identity)`, named as in `status`, or whatever else the subject is. */
  #called(subject: string, own = this.#node.view.nameOf(subject) ?? ""): string {
    const name = this.#givenNames.get(subject) || own;
    return name === "" ? subject : `${name} (${subject})`;
  }

  /** Says something to the node between turns. */
  #outside(say: (now: Instant) => void): void {
    say(this.#clock());
    this.#driver.wake();
  }

  /** What the configuration says now, as far as it can be taken over, and whom the disk trusts. */
  #reload(): ReloadReport {
    this.#policy.read();
    const report = this.#live.reload();
    this.#reloadTrusted();
    this.#routes.read();
    this.#keepStep();
    return { schema: 1, trusted: this.#node.roster.size, ...report };
  }

  /** Whom the disk says is trusted, and nobody else. */
  #reloadTrusted(): void {
    const { trusted, trust } = this.#readTrust();
    this.#outside((now) => this.#node.setTrust(now, trusted, trust));
    for (const text of this.unasked("tcp")) this.warn(text);
    const { size, organisationCount } = this.#node.roster;
    this.#parts.log.verbose(
      `${size} identities and ${organisationCount} organisations are trusted`,
    );
  }

  #readTrust(): ReturnType<TrustStore["read"]> {
    const read = this.#trust.read();
    this.#givenNames = this.#trust.givenNames();
    return read;
  }

  #candidates(): ReturnType<typeof ownCandidates> {
    const { config, dataplane } = this.#parts;
    const { listenPort } = dataplane.deviceState();
    const own = config.tun ? config.interface : undefined;
    // The node is told of its endpoints before there are live settings.
    const { announce } = this.#live?.config ?? config;
    return ownCandidates(networkInterfaces(), own, listenPort, announce);
  }

  /** Before what is reported can let a packet through. */
  #keepStep(): void {
    try {
      this.#policy.update();
      this.#routes.update();
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      this.warn(error.sentence());
    }
  }

  #meshAddress(): string {
    return this.#node.view.addresses.find((each) => each.includes(":")) ?? "::1";
  }

  /** `refreshMs`: for how long somebody waits for servers that are asked anew. */
  #netcheck(refreshMs: number | undefined): NetcheckReport {
    const { config, dataplane } = this.#parts;
    if (refreshMs !== undefined) {
      this.#outside((now) => this.#outlook.stun.refresh(now, refreshMs));
    }
    return netcheck({
      ...this.#outlook.view(this.#clock()),
      ...this.#surroundings.stunNames(),
      portMapping: this.#surroundings.portMapping(),
      node: this.#node.status(),
      givenName: (identity) => this.#givenNames.get(identity) ?? "",
      port: dataplane.deviceState().listenPort,
      offersRelay: config.relay,
      tcpListens: config.tcp_listen,
      tcpMembers: config.tcp.length,
    });
  }

  #status(withCounters: boolean, withPaths = false): MeshStatus {
    const { config, dataplane } = this.#parts;
    const status = this.#node.status();
    const { listenPort, cipher, lanes, ioUring } = dataplane.deviceState();
    return {
      schema: statusSchema,
      version: manifest.version,
      pid: process.pid,
      identity: status.identity,
      name: status.name,
      network: this.#trust.networkName,
      interface: config.tun ? config.interface : null,
      addresses: status.addresses,
      port: listenPort,
      nat: status.natKind,
      aead: cipher,
      lanes,
      io_uring: ioUring,
      trusted: status.trusted,
      organisations: status.organisations,
      certificate: certificateStatus(status.certificate),
      joining: status.joining,
      warnings: this.unasked("all"),
      ...this.#routes.status(),
      members: this.#memberStatuses(status.members, withPaths),
      ...(withCounters ? { counters: this.#counters() } : {}),
    };
  }

  #families(): ReturnType<typeof families> {
    return families(this.#status(true), processFigures(this.#startedMs));
  }

  #memberStatuses(
    members: ReturnType<MeshNode["status"]>["members"],
    withPaths: boolean,
  ): readonly MemberStatus[] {
    return memberStatuses(members, {
      find: statsBySlot(this.#parts.dataplane.peerStats()),
      resting: this.#traffic,
      now: this.#clock(),
      givenName: (identity) => this.#givenNames.get(identity) ?? "",
      trusted: this.#node.roster.identities(),
      withPaths,
    });
  }

  #counters(): Readonly<Record<string, number>> {
    const dataplane = Object.entries(this.#parts.dataplane.counters());
    return {
      ...this.#outlook.allCounters(),
      ...this.#surroundings.counters(),
      diffie_hellman: this.#parts.crypto.diffieHellman,
      introductions_forgotten: this.#doctor.arrivals.counters.forgotten,
      introductions_refused_untold: this.#doctor.arrivals.counters.untold,
      ...Object.fromEntries(dataplane.map(([name, count]) => [`dataplane_${name}`, count])),
    };
  }
}

/** Without an interface there is no name that wg(8) could ask for. */
function answersUapi({ uapi, tun }: MeshConfig): boolean {
  return uapi && tun;
}

const nobodyTrusted =
  "nobody is trusted, so this node will have no peers: it is closed by default; run meshvpn trust KEY, meshvpn join TOKEN or meshvpn init";
