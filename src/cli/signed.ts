/**
 * What an organisation signed, as it is given to this node: a certificate of its own, a revocation or
 * a vouch. Checked before anything is kept, so that a mistake is told where it is made.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import { MeshError } from "../base/errors.ts";
import { addSigned, readKeys, writeCertificate } from "../daemon/trust-files.ts";
import type { NativeCrypto } from "../native/crypto.ts";
import { verifyCertificate } from "../trust/certificate.ts";
import { formatIdentity } from "../trust/identity.ts";
import { organisationOf, verifyStatement } from "../trust/statement.ts";
import { type Given, ownIdentity, warn } from "./trust-context.ts";

export interface SignedContext {
  readonly crypto: NativeCrypto;
  readonly directory: string;
  readonly networkId: Uint8Array;
}

type Signed = Exclude<Given, { kind: "key" }>;

/** MeshError where it does not hold, or is of no use here. */
export function checkSigned(context: SignedContext, signed: Signed): void {
  const { crypto, directory, networkId } = context;
  const now: Instant = { ms: 0, wallMs: Date.now() };
  if (signed.kind === "certificate") {
    const own = ownIdentity(crypto, directory);
    const { certificate } = signed;
    if (own === undefined || !equalBytes(own, certificate.identity)) {
      const owner = formatIdentity(certificate.identity);
      throw refusal(`it is the certificate of ${owner}`, "give it to meshvpn trust on that node");
    }
    if (verifyCertificate(crypto, networkId, { claimed: certificate }, now) === undefined) {
      throw refusal(
        badSignature,
        "have it signed again for this network, with --network if it has one",
      );
    }
    return;
  }
  const organisation = formatIdentity(organisationOf(signed));
  const isTrusted = readKeys(directory, "organisations", warn).some(
    ({ identity }) => formatIdentity(identity) === organisation,
  );
  if (!isTrusted) {
    const remedy = `trust it first: meshvpn trust --org ${organisation}`;
    throw refusal(`its organisation ${organisation} is not trusted here`, remedy);
  }
  if (verifyStatement(crypto, networkId, { claimed: signed }, now) === undefined) {
    throw refusal(
      badSignature,
      "have it signed again for this network, with --network if it has one",
    );
  }
}

/** A line for the terminal. */
export function keepSigned({ directory }: SignedContext, signed: Signed): string {
  if (signed.kind === "certificate") {
    writeCertificate(directory, signed.certificate.bytes);
    const { organisation, expiresWallMs } = signed.certificate;
    const until = new Date(expiresWallMs).toISOString().slice(0, 10);
    return `certified by ${formatIdentity(organisation)} until ${until}`;
  }
  addSigned(directory, signed);
  return signed.kind === "revocation"
    ? `revoked: ${formatIdentity(signed.revocation.key)}`
    : `vouched for: ${formatIdentity(signed.vouch.identity)}`;
}

const badSignature = "its organisation did not sign it for this network, or it has expired";

function refusal(why: string, remedy: string): MeshError {
  return new MeshError("signed_refused", "cannot take what was signed", why, remedy);
}
