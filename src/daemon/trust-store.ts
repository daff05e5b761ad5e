/**
 * The daemon's side of trust: what the state directory says of it goes to the node, and what the node
 * has to say comes back to the disk. Issues invitations, where this node holds the organisation's
 * key. Owns that key's handle while the daemon runs.
 */
import type { Instant } from "../base/clock.ts";
import { MeshError } from "../base/errors.ts";
import { type IpPrefix, samePrefix } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import type { TrustState } from "../mesh/admission.ts";
import type { Joining } from "../mesh/dial-target.ts";
import type { MeshNode, NodeEvent } from "../mesh/node.ts";
import { ipv4PrefixDefault } from "../trust/address.ts";
import { canonicalGroups, decodeCertificate } from "../trust/certificate.ts";
import {
  formatIdentity,
  type Identity,
  networkIdOf,
  networkNameDefault,
  parseIdentity,
} from "../trust/identity.ts";
import {
  formatInvite,
  type Invite,
  type InviteSeed,
  inviteSeedsMax,
  parseInvite,
  verifyInvite,
} from "../trust/invite.ts";
import { InviteBook, inviteUsesMax } from "../trust/invite-book.ts";
import { isAdvertisable } from "../trust/record.ts";
import { isName } from "../trust/text.ts";
import type { ControlRequest } from "./control.ts";
import type { Warn } from "./files.ts";
import { parseSeed, type SeedName } from "./seeds.ts";
import type { MeshConfig } from "./setting.ts";
import type { KeyFiles } from "./state.ts";
import {
  type Listed,
  loadOrganisation,
  type NetworkFile,
  readCertificate,
  readInvites,
  readKeys,
  readNetwork,
  readSigned,
  readStatements,
  readToken,
  removeToken,
  tokenGivenMs,
  writeCertificate,
  writeInvites,
  writeStatements,
} from "./trust-files.ts";

/** Before this, an operator is told that this node's certificate ends. */
export const expiryWarningMs = 14 * 24 * 3_600_000;
/** Of the token's seeds, so many are the issuer's own addresses at most. */
const ownSeedsMax = 4;
/** Before that it is too early to say that an invitation is not redeemed. */
export const tokenIsNewMs = 10_000;
const dayMs = 24 * 3_600_000;

type Kept = Extract<NodeEvent, { kind: "persist_statements" | "persist_certificate" }>;

export interface TrustStoreOptions {
  readonly crypto: KeyFiles & Random;
  readonly config: MeshConfig;
  readonly identity: Identity;
  readonly now: Instant;
  readonly warn: Warn;
}

/** Whom a node lets in, for the line that says it is up. */
export function trustWords(
  of: Pick<ReturnType<MeshNode["status"]>, "trusted" | "organisations">,
): string {
  const { trusted, organisations: count } = of;
  const plural = count === 1 ? "organisation" : "organisations";
  return count === 0 ? `${trusted} trusted` : `${trusted} trusted, ${count} ${plural}`;
}

export class TrustStore {
  readonly networkId: Uint8Array;
  readonly networkName: string;
  readonly ipv4Prefix: IpPrefix;
  readonly book: InviteBook | undefined;
  readonly joining: Joining | undefined;
  readonly #options: TrustStoreOptions;
  readonly #network: NetworkFile | undefined;
  readonly #organisation: Identity | undefined;
  #trusted: readonly Listed[] = [];
  #organisationNames: ReadonlyMap<string, string> = new Map();
  #failing = false;
  #warnedAtMs: number;

  constructor(options: TrustStoreOptions) {
    const { crypto, config, warn } = options;
    const directory = config.state_dir;
    this.#options = options;
    this.#warnedAtMs = options.now.ms;
    this.#network = readNetwork(directory, warn);
    this.networkId = this.#network?.id ?? networkIdOf(crypto, config.network);
    this.networkName = this.#network?.name ?? config.network;
    if (this.#network !== undefined && config.network !== networkNameDefault) {
      warn(
        `the setting network = ${config.network} is not heeded: this node belongs to a network that was made by init`,
      );
    }
    // Whoever configures the default prefix in a network of another gets the network's.
    const isSaid = !samePrefix(config.prefix, ipv4PrefixDefault);
    this.ipv4Prefix = isSaid ? config.prefix : (this.#network?.ipv4Prefix ?? config.prefix);
    this.#organisation = loadOrganisation(crypto, directory);
    this.book = this.#organisation && this.#openBook(this.#organisation);
    this.joining = this.#readJoining();
  }

  /** What the node is given; read anew each time. */
  read(): { readonly trusted: readonly Uint8Array[]; readonly trust: Omit<TrustState, "trusted"> } {
    const { config, warn } = this.#options;
    const directory = config.state_dir;
    const organisations = readKeys(directory, "organisations", warn);
    this.#trusted = readKeys(directory, "trusted", warn);
    this.#organisationNames = namesOf(organisations);
    return {
      trusted: this.#trusted.map(({ identity }) => identity),
      trust: {
        organisations: organisations.map(({ identity }) => identity),
        revoked: readKeys(directory, "revoked", warn).map(({ identity }) => identity),
        statements: [...readStatements(directory, warn), ...readSigned(directory, warn)],
        certificate: readCertificate(directory, warn),
      },
    };
  }

  /** The operator's own words for identities, as last read. */
  givenNames(): Map<string, string> {
    return new Map(this.#trusted.map(({ identity, name }) => [formatIdentity(identity), name]));
  }

  /** His words for organisations, to their keys. */
  organisationNames(): ReadonlyMap<string, string> {
    return this.#organisationNames;
  }

  /** Where the network was found when this node came into it. */
  seeds(): readonly SeedName[] {
    return (this.#network?.seeds ?? []).flatMap((text) => parseSeed(text) ?? []);
  }

  /** What the node wants kept; on disk when this returns. */
  record(report: NodeEvent): report is Kept {
    const directory = this.#options.config.state_dir;
    if (report.kind === "persist_statements") {
      this.#keep(() => writeStatements(directory, report.statements));
      return true;
    }
    if (report.kind !== "persist_certificate") return false;
    // The invitation goes only when what it brought is safe.
    this.#keep(() => {
      writeCertificate(directory, report.certificate);
      removeToken(directory);
    });
    return true;
  }

  /** What the operator should know of this node's own certificate and its invitation. */
  warnings(now: Instant, node: MeshNode): readonly string[] {
    const { certificate, joining } = node.status();
    const out: string[] = [];
    const { state_dir: directory } = this.#options.config;
    const givenMs = joining ? tokenGivenMs(directory) : undefined;
    if (givenMs !== undefined && now.wallMs - givenMs > tokenIsNewMs) {
      out.push("the invitation is not redeemed yet; its issuer is asked until it is");
    }
    const stored = readCertificate(directory, this.#options.warn);
    const expires = (certificate ?? (stored && decodeCertificate(stored)?.claimed))?.expiresWallMs;
    if (expires === undefined || expires - now.wallMs > expiryWarningMs) return out;
    const day = new Date(expires).toISOString().slice(0, 10);
    const days = Math.floor((expires - now.wallMs) / dayMs);
    const when = expires <= now.wallMs ? `expired on ${day}` : `expires on ${day}, in ${days} days`;
    const remedy = "have it made anew with meshvpn org sign, and give it to meshvpn trust";
    return [...out, `this node's certificate ${when}: members let go of it then; ${remedy}`];
  }

  /** The same once a day, for a node that runs for long. */
  dailyWarnings(now: Instant, node: MeshNode): readonly string[] {
    if (now.ms < this.#warnedAtMs + dayMs) return [];
    this.#warnedAtMs = now.ms;
    return this.warnings(now, node);
  }

  /** A token for another node. */
  invite(now: Instant, node: MeshNode, request: ControlRequest): unknown {
    const { identity } = this.#options;
    if (this.book === undefined || this.#organisation === undefined) {
      throw new MeshError(
        "not_a_signer",
        "cannot invite a node",
        "this node does not hold the organisation's key",
        "invite on the node that made the network, or make one with meshvpn init",
      );
    }
    const terms = inviteTerms(now, request);
    const seeds = this.#inviteSeeds(node);
    if (seeds.length === 0) {
      throw new MeshError(
        "no_address",
        "cannot invite a node",
        "this node knows no address at which it can be reached",
        "name one with meshvpn up --announce IP",
      );
    }
    const secret = this.book.issue(now, terms);
    const invite: Invite = {
      networkId: this.networkId,
      name: isName(this.networkName) ? this.networkName : "",
      organisation: this.#organisation.publicKey,
      issuer: identity.publicKey,
      secret,
      expiresWallMs: terms.expiresWallMs,
      ipv4Prefix: this.ipv4Prefix,
      seeds,
    };
    const token = formatInvite(this.#options.crypto, identity, invite);
    return { token, expires: terms.expiresWallMs, uses: terms.uses, network: this.networkName };
  }

  close(): void {
    if (this.#organisation !== undefined) this.#options.crypto.release(this.#organisation.seed);
  }

  #openBook(organisation: Identity): InviteBook {
    const { crypto, config, warn } = this.#options;
    return new InviteBook({
      crypto,
      random: crypto,
      networkId: this.networkId,
      organisation,
      entries: readInvites(config.state_dir, warn),
      save: (entries) => this.#keep(() => writeInvites(config.state_dir, entries)),
    });
  }

  #readJoining(): Joining | undefined {
    const { crypto, config, identity, warn } = this.#options;
    const text = readToken(config.state_dir, warn);
    if (text === undefined) return undefined;
    const stored = readCertificate(config.state_dir, warn);
    const unverified = parseInvite(text);
    const invite = unverified && verifyInvite(crypto, unverified);
    const own = stored && decodeCertificate(stored)?.claimed;
    const organisation = invite && formatIdentity(invite.organisation);
    const isSpent =
      own !== undefined &&
      formatIdentity(own.identity) === formatIdentity(identity.publicKey) &&
      formatIdentity(own.organisation) === organisation;
    if (isSpent) {
      // Ended between the certificate and the token.
      this.#keep(() => removeToken(config.state_dir));
      return undefined;
    }
    if (invite === undefined) {
      warn("the invitation in join.token is damaged; ask for another and run meshvpn join");
      return undefined;
    }
    return { secret: invite.secret, issuer: invite.issuer, seeds: invite.seeds };
  }

  /** This node's own addresses, then members that would pass the joiner's request on. */
  #inviteSeeds(node: MeshNode): readonly InviteSeed[] {
    const { identity } = this.#options;
    const own = node
      .status()
      .candidates.filter((it) => it.kind !== "tls" && isAdvertisable(it))
      .slice(0, ownSeedsMax)
      .map(({ address, port }) => ({ identity: identity.publicKey, endpoint: { address, port } }));
    const others = node
      .status()
      .members.filter(({ state, sessionLive }) => state === "alive" && sessionLive)
      .toSorted((a, b) => (a.rttMs ?? Number.MAX_VALUE) - (b.rttMs ?? Number.MAX_VALUE))
      .flatMap(({ identity: name, endpoint }): InviteSeed[] => {
        const member = parseIdentity(name);
        const isKnown = member !== undefined && endpoint !== undefined;
        return isKnown && isAdvertisable(endpoint) ? [{ identity: member, endpoint }] : [];
      })
      .slice(0, inviteSeedsMax - own.length);
    return [...own, ...others];
  }

  /** False where the disk refused; said once until it does not. */
  #keep(write: () => void): boolean {
    try {
      write();
      this.#failing = false;
      return true;
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      if (!this.#failing) this.#options.warn(error.sentence());
      this.#failing = true;
      return false;
    }
  }
}

/** Names to keys; who has none, or shares one, has to be named by its key. */
export function namesOf(listed: readonly Listed[]): ReadonlyMap<string, string> {
  const named = listed.filter(
    ({ name }) => name !== "" && listed.filter((each) => each.name === name).length === 1,
  );
  return new Map(named.map(({ identity, name }) => [name, formatIdentity(identity)]));
}

/** MeshError for whatever the command line should not have let through. */
function inviteTerms(now: Instant, request: ControlRequest): Parameters<InviteBook["issue"]>[1] {
  const { ttl_ms: ttlMs, uses, name, certificate_ms: certificateMs, groups: given } = request;
  const groups =
    Array.isArray(given) && given.every((group) => typeof group === "string")
      ? canonicalGroups(given)
      : undefined;
  const isRight =
    isPositive(ttlMs) &&
    isPositive(uses) &&
    uses <= inviteUsesMax &&
    isPositive(certificateMs) &&
    typeof name === "string" &&
    isName(name) &&
    groups !== undefined;
  if (!isRight) {
    throw new MeshError(
      "request_invalid",
      "cannot invite a node",
      "the request is not whole",
      "use a meshvpn of the same version",
    );
  }
  return { expiresWallMs: Math.floor(now.wallMs + ttlMs), uses, name, groups, certificateMs };
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0;
}
