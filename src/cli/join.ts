/**
 * `meshvpn join TOKEN`: comes into a network by an invitation: makes an identity where there is none,
 * starts the daemon in the background, and returns when the invitation was redeemed.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineCommand } from "citty";
import { equalBytes } from "../base/bytes.ts";
import { formatEndpoint } from "../base/endpoint.ts";
import { MeshError } from "../base/errors.ts";
import { readConfig, settingNames } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import { createKeys } from "../daemon/state.ts";
import type { MeshStatus } from "../daemon/status.ts";
import {
  addKey,
  readCertificate,
  readKeys,
  readNetwork,
  writeNetwork,
  writeToken,
} from "../daemon/trust-files.ts";
import { decodeCertificate } from "../trust/certificate.ts";
import { formatIdentity } from "../trust/identity.ts";
import { type Invite, parseInvite, verifyInvite } from "../trust/invite.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { openCrypto, ownIdentity, warn } from "./trust-context.ts";

const joinMsMax = 30_000;
const askEveryMs = 100;

export default defineCommand({
  meta: {
    name: "join",
    description:
      "Come into a network by the token that meshvpn invite printed there, and stay in it: the daemon is " +
      "started in the background. Example: meshvpn join mvjoin1_AbC",
  },
  args: {
    token: {
      type: "positional",
      required: false,
      valueHint: "TOKEN",
      description: "the whole line; - reads stdin",
    },
    up: {
      type: "boolean",
      default: true,
      description: "start the daemon and wait",
      negativeDescription: "only prepare: the next meshvpn up comes in",
    },
    ...settingFlags(settingNames),
  },
  async run({ args, rawArgs }) {
    const config = readConfig(settingSources(settingNames, args, rawArgs));
    const { state_dir: directory, control_socket: socket } = config;
    if (args.token === undefined) {
      throw usageError(
        "no token is given",
        "join what?",
        "give the line that meshvpn invite printed",
      );
    }
    const crypto = await openCrypto();
    const token = (args.token === "-" ? readFileSync(0, "utf8") : args.token).trim();
    const invite = readInvite(crypto, token);
    await refuseWhereUp(socket);
    const identity = ownIdentity(crypto, directory) ?? prepareKeys(crypto, directory);
    keep(directory, invite, token, identity);
    if (args.up === false) {
      console.log(`prepared ${formatIdentity(identity)}: meshvpn up comes into ${called(invite)}`);
      return;
    }
    const { startDetached } = await import("./detach.ts");
    const rest = rawArgs.filter((argument) => argument !== "--up" && argument !== args.token);
    process.stderr.write(await startDetached(["up", ...rest]));
    const status = await untilJoined(socket, invite);
    console.log(`joined ${called(invite)}: ${status.name}, ${status.addresses.join(", ")}`);
  },
});

/** @throws MeshError for a token that leads nowhere. */
function readInvite(crypto: Awaited<ReturnType<typeof openCrypto>>, token: string): Invite {
  const unverified = parseInvite(token);
  const invite = unverified && verifyInvite(crypto, unverified);
  if (invite === undefined) {
    const why = "it is no invitation, or it was changed or cut on its way";
    throw usageError(
      "cannot use the token",
      why,
      "copy the whole line that meshvpn invite printed",
    );
  }
  if (invite.expiresWallMs <= Date.now()) {
    const when = new Date(invite.expiresWallMs).toISOString();
    const why = `it expired at ${when}, or this machine's clock is wrong`;
    throw new MeshError("invite_expired", "cannot join", why, "ask for another: meshvpn invite");
  }
  return invite;
}

async function refuseWhereUp(socket: string): Promise<void> {
  try {
    await ask(socket, { command: "status" });
  } catch (error) {
    if (error instanceof MeshError && error.code === "daemon_not_running") return;
    throw error;
  }
  throw new MeshError(
    "daemon_running",
    "cannot join",
    `a daemon answers on ${socket}`,
    "end it with meshvpn down, or choose another --state-dir and --control-socket",
  );
}

function prepareKeys(
  crypto: Awaited<ReturnType<typeof openCrypto>>,
  directory: string,
): Uint8Array {
  // Where there is one that cannot be read, that is said, and it is not replaced.
  if (existsSync(join(directory, "identity.key"))) {
    throw new MeshError(
      "identity_unreadable",
      "cannot join",
      `${directory}/identity.key cannot be read`,
      "run as root, or see meshvpn export",
    );
  }
  return createKeys(crypto, directory, false);
}

/** The token comes last: with it there, all else is. MeshError where the node is elsewhere already. */
function keep(directory: string, invite: Invite, token: string, identity: Uint8Array): void {
  const known = readNetwork(directory, warn);
  const elsewhere = known !== undefined && !equalBytes(known.id, invite.networkId);
  const byKey = known === undefined && readKeys(directory, "trusted", warn).length > 0;
  if (elsewhere || byKey) {
    throw new MeshError(
      "network_exists",
      "cannot join",
      elsewhere
        ? `this node is in the network ${known.name} already`
        : "this node trusts others by key, in another network",
      "choose another --state-dir (and --control-socket, --interface and --port to run both)",
    );
  }
  if (known !== undefined && isCertified(directory, identity)) {
    throw new MeshError(
      "already_joined",
      "cannot join",
      `this node is a member of ${called(invite)} already`,
      "meshvpn up starts it",
    );
  }
  writeNetwork(directory, {
    id: invite.networkId,
    name: invite.name,
    ipv4Prefix: invite.ipv4Prefix,
    seeds: invite.seeds.map(
      ({ identity, endpoint }) => `${formatIdentity(identity)}@${formatEndpoint(endpoint)}`,
    ),
  });
  const name = invite.name === "" ? undefined : invite.name;
  addKey(directory, "organisations", invite.organisation, name);
  writeToken(directory, token);
}

/** That of a former identity lets nobody in. */
function isCertified(directory: string, identity: Uint8Array): boolean {
  const stored = readCertificate(directory, warn);
  const certificate = stored && decodeCertificate(stored)?.claimed;
  return certificate !== undefined && equalBytes(certificate.identity, identity);
}

async function untilJoined(socket: string, invite: Invite): Promise<MeshStatus> {
  const deadlineMs = performance.now() + joinMsMax;
  for (;;) {
    const status = (await ask(socket, { command: "status" })) as MeshStatus;
    const isReached = status.members.some(({ handshake_age_s: age }) => age !== null);
    if (!status.joining && isReached) return status;
    if (performance.now() > deadlineMs) throw unanswered(status, invite);
    await Bun.sleep(askEveryMs);
  }
}

function unanswered(status: MeshStatus, { seeds }: Invite): MeshError {
  const places = seeds.map(({ endpoint }) => formatEndpoint(endpoint)).join(", ");
  return new MeshError(
    "join_unanswered",
    status.joining ? "the invitation is not redeemed yet" : "no member is reached yet",
    status.joining
      ? `nobody answered at ${places}: they cannot be reached, or the token was used already`
      : "the certificate is here, but no session came up, or this identity was revoked",
    "the daemon goes on trying: see meshvpn status; check that UDP reaches those addresses, run meshvpn doctor on the node that issued the token; or ask for another, and run meshvpn down before you join by it",
  );
}

function called({ name }: Invite): string {
  return name === "" ? "the network" : name;
}
