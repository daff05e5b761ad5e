/**
 * Members that exist on paper only: records of an organisation's that nobody runs, for the state
 * directory of a daemon that is to think of its mesh as a large one.
 */
import { NativeCrypto } from "../../src/native/crypto.ts";
import { loadLibrary } from "../../src/native/library.ts";
import { ipv4PrefixDefault } from "../../src/trust/address.ts";
import { signCertificate } from "../../src/trust/certificate.ts";
import { formatIdentity, identityOf, networkIdOf } from "../../src/trust/identity.ts";
import { signRecord } from "../../src/trust/record.ts";

const dayMs = 86_400_000;

export interface Phantoms {
  /** Text of the organisation's key. */
  readonly organisation: string;
  readonly records: readonly Uint8Array[];
}

/** `ipv4`: they claim an address, which may be somebody else's. */
export interface PhantomOptions {
  readonly ipv4?: boolean;
}

/** Of the network that nobody named. Nothing answers where they say that they are. */
export function phantoms(count: number, { ipv4 = false }: PhantomOptions = {}): Phantoms {
  const crypto = new NativeCrypto(loadLibrary());
  const networkId = networkIdOf(crypto, "meshvpn");
  const organisation = identityOf(crypto, crypto.generate());
  const now = Date.now();
  const records = Array.from({ length: count }, (_, number) => {
    const identity = identityOf(crypto, crypto.generate());
    const key = crypto.generate();
    const certificate = signCertificate(crypto, networkId, organisation, {
      identity: identity.publicKey,
      issuedWallMs: now - dayMs,
      expiresWallMs: now + dayMs,
      isVouch: false,
      name: `phantom-${number}`,
      groups: ["phantoms"],
    });
    const fields = {
      sequence: now,
      expiresWallMs: now + dayMs,
      wireguardKey: crypto.publicKey(key),
      name: `phantom-${number}`,
      // Of a network for documentation (RFC 5737).
      candidates: [
        { kind: "interface" as const, address: `198.51.100.${1 + (number % 250)}`, port: 51820 },
        { kind: "observed" as const, address: `203.0.113.${1 + (number % 250)}`, port: 51820 },
      ],
      natKind: "unknown" as const,
      relay: false,
      ...(ipv4 ? { ipv4: { candidate: 0, prefix: ipv4PrefixDefault } } : {}),
      prefixes: [],
    };
    const record = signRecord(crypto, networkId, identity, fields, certificate);
    crypto.release(identity.seed, key);
    return record;
  });
  crypto.release(organisation.seed);
  return { organisation: formatIdentity(organisation.publicKey), records };
}
