/**
 * Signatures over membership's statements: the identity's, under a domain of their own and with the
 * network id inside, so that no statement counts in another network and none can pass for a record.
 */
import { concatBytes } from "../base/bytes.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import type { StatementSigner } from "../swim/gossip.ts";
import { domain, type Identity } from "../trust/identity.ts";

const statementDomain = domain("meshvpn statement v1");

export function statementSigner(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  identity: Identity,
): StatementSigner {
  const prefix = concatBytes(statementDomain, networkId);
  return {
    sign: (body) => crypto.sign(identity.seed, concatBytes(prefix, body)),
    verify: (signer, body, signature) =>
      crypto.verify(signer, concatBytes(prefix, body), signature),
  };
}
