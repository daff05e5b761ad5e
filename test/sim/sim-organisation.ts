/**
 * The organisation whose certificates make the nodes of a simulation members, and whose word ends it.
 * Its key is nobody's in the simulation but this object's.
 */

import type { Random } from "../../src/base/random.ts";
import type { TrustState } from "../../src/mesh/admission.ts";
import { signCertificate } from "../../src/trust/certificate.ts";
import type { Identity } from "../../src/trust/identity.ts";
import { signRevocation } from "../../src/trust/revocation.ts";
import type { SimHost } from "./sim-host.ts";
import type { SimCrypto } from "./simulation.ts";

const yearMs = 365 * 86_400_000;
const revocationKind = 1;

export interface OrganisationOptions {
  readonly crypto: SimCrypto;
  readonly random: Random;
  readonly networkId: Uint8Array;
}

export class SimOrganisation {
  readonly #options: OrganisationOptions;
  readonly #identity: Identity;
  /** By host: signed once, so that a restart brings the same. */
  readonly #certificates: Uint8Array[] = [];

  constructor(options: OrganisationOptions) {
    const { crypto, random } = options;
    this.#options = options;
    const seed = crypto.importSecret(random.bytes(32));
    this.#identity = { seed, publicKey: crypto.identityPublicKey(seed) };
  }

  get publicKey(): Uint8Array {
    return this.#identity.publicKey;
  }

  /** What is on a member's disk. */
  trustOf(host: SimHost): Pick<TrustState, "organisations" | "certificate"> {
    const { index, identity, now } = host;
    this.#certificates[index] ??= this.certify(identity.publicKey, now.wallMs);
    const certificate = this.#certificates[index];
    return { organisations: [this.#identity.publicKey], certificate };
  }

  /** The statement that ends a membership. */
  revocationOf({ identity, now }: SimHost): Uint8Array {
    const { crypto, networkId } = this.#options;
    const { publicKey } = identity;
    const revocation = signRevocation(crypto, networkId, this.#identity, publicKey, now.wallMs);
    return Uint8Array.of(revocationKind, ...revocation);
  }

  certify(identity: Uint8Array, wallMs: number): Uint8Array {
    const { crypto, networkId } = this.#options;
    return signCertificate(crypto, networkId, this.#identity, {
      identity,
      issuedWallMs: wallMs,
      expiresWallMs: wallMs + yearMs,
      isVouch: false,
      name: "",
      groups: [],
    });
  }
}
