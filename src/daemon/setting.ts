/**
 * What an operator may set, by name and type, and what each place may say of it. What the settings
 * mean, and what they are when nobody says anything, is config.ts'.
 */
import type { MeshError } from "../base/errors.ts";
import type { IpPrefix } from "../base/ip.ts";
import type { CipherChoice, IoUringChoice } from "../native/dataplane.ts";
import type { ProfileName } from "../swim/profile.ts";
import type { HostPlace } from "./host-resolver.ts";
import type { HttpListen } from "./http-listen.ts";
import type { LogFormat, LogLevel } from "./log.ts";
import type { SeedName } from "./seeds.ts";
import type { TcpSeed } from "./tcp-fallback.ts";
import type { LaneChoice, WorkerChoice } from "./threads.ts";

/** An address that others are told of; without a port, the one that is listened on. */
export interface Announced {
  readonly address: string;
  readonly port?: number;
}

export const forwardChoices = ["off", "on", "masquerade"] as const;
export type ForwardChoice = (typeof forwardChoices)[number];

export interface AcceptedRoute {
  /** An identity, or the operator's word for one. */
  readonly who: string;
  readonly prefix: IpPrefix;
}

export interface MeshConfig {
  readonly seed: readonly SeedName[];
  readonly interface: string;
  /** 0: any free one. */
  readonly port: number;
  readonly mtu: number;
  readonly aead: CipherChoice;
  readonly lanes: LaneChoice;
  readonly encrypt_workers: WorkerChoice;
  readonly io_uring: IoUringChoice;
  readonly connected_sockets: boolean;
  /** Microseconds; 0: not at all. */
  readonly busy_poll: number;
  readonly prefix: IpPrefix;
  readonly name: string;
  readonly network: string;
  readonly announce: readonly Announced[];
  /** Members are looked for on the local networks. */
  readonly mdns: boolean;
  /** The default gateway is asked to forward the port. */
  readonly portmap: boolean;
  /** Domains that say where members are. */
  readonly dns: readonly string[];
  /** STUN servers: two at least, or none is believed. */
  readonly stun: readonly HostPlace[];
  /** How soon a member that does not answer counts as dead. */
  readonly detection: ProfileName;
  /** Up to so many members a session is held with each. */
  readonly sessions_held: number;
  /** Networks behind this node that members may be led into; all of them where it is an exit node. */
  readonly offer: readonly IpPrefix[];
  readonly offer_exit: boolean;
  readonly forward: ForwardChoice;
  /** Offers of members that are used here, beside those that were approved by command. */
  readonly accept: readonly AcceptedRoute[];
  /** An identity, or the operator's word for one; empty: as was said by command. */
  readonly exit_node: string;
  readonly relay: boolean;
  /** KiB a second for each pair of members that this node relays for; 0: without a limit. */
  readonly relay_quota: number;
  /** Members to reach by TCP where UDP does not get out. */
  readonly tcp: readonly TcpSeed[];
  /** 0: no TCP is taken. */
  readonly tcp_listen: number;
  /** PEM files; both or neither. Empty: TCP without TLS. */
  readonly tcp_cert: string;
  readonly tcp_key: string;
  readonly tun: boolean;
  readonly uapi: boolean;
  readonly state_dir: string;
  readonly control_socket: string;
  readonly http: readonly HttpListen[];
  /** The port at which names are answered; 0: none. */
  readonly names: number;
  readonly log_format: LogFormat;
  readonly log_level: LogLevel;
}

export type SettingName = keyof MeshConfig;

export interface Setting<T> {
  /** One word for what goes there, for the help; undefined for a switch. */
  readonly hint: string | undefined;
  readonly describe: string;
  readonly many: boolean;
  /** Texts of the default, parsed like what an operator says. */
  readonly fallback: readonly string[];
  /** undefined where the texts are not acceptable. */
  readonly parse: (texts: readonly string[]) => T | undefined;
  /** What would have been acceptable. */
  readonly expects: string;
  /** What was meant, where that can be told of texts that are not acceptable. */
  readonly correct?: (texts: readonly string[]) => string | undefined;
}

/** What each place says: texts by name of setting, and whether a switch is on. */
export type Said = Partial<Record<SettingName, string | boolean | readonly string[]>>;

export interface ConfigSources {
  /** The flags of the command line. */
  readonly flags: Said;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Of --config; then there must be such a file. */
  readonly file?: string | undefined;
  /**
   * Of whoever asks for some settings only: is told what is wrong elsewhere in the file, in place of a
   * throw, and the rest counts. A file that somebody named must be readable all the same.
   */
  readonly mistake?: (error: MeshError) => void;
  /** Of this machine: what a node is called unless somebody says otherwise. */
  readonly hostname: string;
}
