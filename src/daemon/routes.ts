/**
 * Keeps the data plane and the kernel in step with the routes that are approved here: members offer,
 * come and go; the operator approves, by command or in the configuration. Rules of the kernel outlive a
 * process that is killed, so what such a one left is removed at the next start.
 */
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { formatPrefix, type IpPrefix, parsePrefix } from "../base/ip.ts";
import type { Command } from "../mesh/dataplane.ts";
import type { MemberStatus } from "../mesh/report.ts";
import { planChanges, type RoutingPlace, routingPlan } from "../mesh/route-plan.ts";
import type { CommandFailure } from "../native/dataplane.ts";
import { formatIdentity, parseIdentity } from "../trust/identity.ts";
import {
  type Approval,
  allowedByRoutes,
  exitPrefixes,
  isExit,
  type Route,
  resolveRoutes,
} from "../trust/routes.ts";
import { Forwarding } from "./forwarding.ts";
import { type ApprovedRoutes, readRoutes } from "./routes-file.ts";
import type { MeshConfig } from "./setting.ts";
import type { MeshStatus } from "./status.ts";

type Settings = Pick<MeshConfig, "offer" | "offer_exit" | "forward" | "accept" | "exit_node">;
type Offering = Pick<
  MemberStatus,
  "identity" | "name" | "nameClash" | "certificate" | "offered" | "state" | "sessionLive"
>;

export interface RouteDuties {
  settings(): Settings;
  /** Members that offer something, or have a session, at the least; without their clashes of names. */
  members(): readonly Offering[];
  /** All of them: asked for where somebody is meant by a name. */
  everybody(): readonly Offering[];
  /** Addresses that streams over TCP lead to. */
  streamed(): readonly string[];
  /** The operator's own word; empty: there is none. */
  givenName(identity: string): string;
  /** Packets of members may go there, and nowhere else. */
  accept(prefixes: readonly IpPrefix[]): void;
  /** What is led to members beside their own addresses. */
  lead(routes: ReadonlyMap<string, readonly IpPrefix[]>): void;
  apply(commands: readonly Command[]): readonly CommandFailure[];
  refused(failures: readonly CommandFailure[]): void;
  /** Rules at these priorities by a device with the mark, of this process or another; below 0: the system refused. */
  flushRules(first: number, count: number, mark: number): number;
  warn(text: string): void;
}

export interface RouteKeeperOptions {
  readonly stateDirectory: string;
  /** Networks that members' addresses are from. */
  readonly mesh: readonly IpPrefix[];
  /** undefined: there is no interface, and nothing to be led into. */
  readonly place: RoutingPlace | undefined;
  readonly interfaceName: string;
}

export class RouteKeeper {
  readonly #options: RouteKeeperOptions;
  readonly #duties: RouteDuties;
  readonly #forwarding: Forwarding;
  #file: ApprovedRoutes = { approved: [], exitNode: undefined };
  /** As text: what is led to whom. */
  #led = "";
  #accepted = "";
  #own: readonly string[] = [];
  #installed: ReadonlyMap<string, Command> = new Map();
  readonly #met = new Set<string>();
  readonly #complained = new Set<string>();

  constructor(options: RouteKeeperOptions, duties: RouteDuties) {
    this.#options = options;
    this.#duties = duties;
    const warn = (text: string): void => duties.warn(text);
    this.#forwarding = new Forwarding({ ...options, warn });
  }

  /** What a daemon left that was killed is gone, and what is approved holds. */
  start(): void {
    this.#flushRules();
    this.read();
    this.settingsChanged();
  }

  /** The configuration may offer or accept other networks. */
  settingsChanged(): void {
    this.#forwarding.set(this.#duties.settings().forward, this.offered);
    this.#accept();
    this.update();
  }

  /** What the record of this node offers. */
  get offered(): readonly IpPrefix[] {
    const { offer, offer_exit: exit } = this.#duties.settings();
    return exit ? [...offer, ...exitPrefixes] : offer;
  }

  status(): Pick<MeshStatus, "offers" | "forward" | "routes" | "exit_node"> {
    const routes = this.#resolve(this.#duties.members());
    return {
      offers: this.offered.map(formatPrefix),
      forward: this.#forwarding.state,
      routes: routes.map((each) => ({ ...each, prefix: formatPrefix(each.prefix) })),
      exit_node: this.exitNode ?? null,
    };
  }

  get exitNode(): string | undefined {
    const { exit_node: said } = this.#duties.settings();
    return said === "" ? this.#file.exitNode : this.#identityOf(said);
  }

  /** Reads anew what was approved by command. */
  read(): void {
    this.#file = readRoutes(this.#options.stateDirectory, (text) => this.#duties.warn(text));
    this.update();
  }

  /** After anything that may have changed what is offered, by whom, and who is up. */
  update(): void {
    if (this.#isIdle()) return;
    const members = this.#duties.members();
    for (const { identity, state, sessionLive } of members) {
      if (sessionLive && state === "alive") this.#met.add(identity);
    }
    const routes = this.#resolve(members);
    this.#lead(routes);
    const { place } = this.#options;
    if (place === undefined) return;
    const used = routes.filter(({ state }) => state === "used").map(({ prefix }) => prefix);
    this.#install(routingPlan(used, place, this.#direct()));
  }

  /** Streams over TCP are not the data plane's, and carry no mark. */
  #direct(): readonly IpPrefix[] {
    return this.#duties.streamed().map(hostPrefix);
  }

  /** Nothing is approved and nothing is left of it: members need no look. */
  #isIdle(): boolean {
    const { accept, exit_node: exitNode } = this.#duties.settings();
    const { approved, exitNode: chosen } = this.#file;
    const isApproved =
      accept.length + approved.length > 0 || exitNode !== "" || chosen !== undefined;
    return !isApproved && this.#installed.size === 0 && this.#led === "";
  }

  #resolve(members: readonly Offering[]): readonly Route[] {
    const { mesh, interfaceName } = this.#options;
    return resolveRoutes({
      offers: members.map(({ identity, offered, state }) => ({
        identity,
        prefixes: offered,
        met: this.#met.has(identity),
        up: state === "alive" || state === "suspect",
      })),
      approvals: this.#approvals(),
      exitNode: this.exitNode,
      mesh,
      local: [...localNetworks(networkInterfaces(), interfaceName), ...this.offered],
    });
  }

  /** Nothing of it stays: rules outlive their process. */
  close(): void {
    this.#install(new Map());
    this.#flushRules();
    this.#forwarding.close();
  }

  #flushRules(): void {
    const { place } = this.#options;
    if (place === undefined) return;
    if (this.#duties.flushRules(place.first, place.count, place.mark) >= 0) return;
    this.#duties.warn("routing rules of an earlier daemon could not be looked for");
  }

  #lead(routes: readonly Route[]): void {
    const led = allowedByRoutes(routes, this.#options.mesh);
    const text = [...led].map(([who, what]) => `${who} ${what.map(formatPrefix)}`).join();
    if (text === this.#led) return;
    this.#led = text;
    this.#duties.lead(led);
  }

  /** This node's own addresses in the mesh are these now. */
  setOwn(addresses: readonly string[]): void {
    this.#own = addresses;
    this.#accept();
  }

  /** A kernel that forwards would do so for members wherever it can. */
  #accept(): void {
    const all = [...this.#own.map(hostPrefix), ...this.offered];
    const text = all.map(formatPrefix).join();
    if (text === this.#accepted) return;
    this.#accepted = text;
    this.#duties.accept(all);
  }

  #install(plan: ReadonlyMap<string, Command>): void {
    const commands = planChanges(this.#installed, plan);
    if (commands.length === 0) return;
    const failures = this.#duties.apply(commands);
    const failed = new Set(failures.map(({ command }) => command));
    // What was refused is tried again, and complained of once.
    const installed = [...plan].filter(([, command]) => !failed.has(command));
    const news = failures.filter(({ command }) => !this.#complained.has(JSON.stringify(command)));
    for (const { command } of news) this.#complained.add(JSON.stringify(command));
    if (news.length > 0) this.#duties.refused(news);
    this.#installed = new Map(installed);
  }

  #approvals(): readonly Approval[] {
    const accepted = this.#duties.settings().accept.flatMap(({ who, prefix }): Approval[] => {
      const identity = this.#identityOf(who);
      return identity === undefined ? [] : [{ identity, prefix }];
    });
    return [...accepted, ...this.#file.approved].filter(({ prefix }) => !isExit(prefix));
  }

  /**
   * A key, the operator's own word, or the name in an organisation's certificate. What a member calls
   * itself is nobody's: it would choose who is meant.
   */
  #identityOf(word: string): string | undefined {
    const key = parseIdentity(word);
    if (key !== undefined) return formatIdentity(key);
    const members = this.#duties.everybody();
    const given = members.filter(({ identity }) => this.#duties.givenName(identity) === word);
    const certified = members.filter(
      ({ certificate, nameClash }) => certificate?.name === word && !nameClash,
    );
    const meant = given.length > 0 ? given : certified;
    return meant.length === 1 ? meant[0]?.identity : undefined;
  }
}

function hostPrefix(address: string): IpPrefix {
  return { address, bits: address.includes(":") ? 128 : 32 };
}

/** Networks in which this machine has an address, but those of the tunnel and of itself alone. */
export function localNetworks(
  interfaces: Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>,
  own: string,
): readonly IpPrefix[] {
  return Object.entries(interfaces).flatMap(([name, infos]) => {
    if (name === own) return [];
    return (infos ?? []).flatMap(({ cidr, internal }): IpPrefix[] => {
      const prefix = cidr === null || internal ? undefined : parsePrefix(cidr);
      return prefix === undefined ? [] : [prefix];
    });
  });
}
