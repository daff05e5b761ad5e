/**
 * Whom this node admits: in this version, the identities that its operator trusts by key. Closed by
 * default: an empty roster admits nobody. Trust is a local decision and not transitive; whatever
 * the mesh says of a member changes nothing here.
 */
import { assert, MeshError } from "../base/errors.ts";
import { formatIdentity, identityBytes } from "./identity.ts";

/** As many as there may be members. */
export const trustedMax = 16_384;

export class Roster {
  readonly #self: string;
  readonly #trusted = new Map<string, Uint8Array>();

  /** `self` is never admitted: a node is no peer of its own. */
  constructor(self: Uint8Array, trusted: Iterable<Uint8Array> = []) {
    this.#self = formatIdentity(self);
    for (const identity of trusted) this.trust(identity);
  }

  /** False where it was trusted already, or is this node. MeshError when the roster is full. */
  trust(identity: Uint8Array): boolean {
    assert(identity.length === identityBytes, "an identity is 32 bytes");
    const name = formatIdentity(identity);
    if (name === this.#self || this.#trusted.has(name)) return false;
    if (this.#trusted.size >= trustedMax) {
      throw new MeshError(
        "roster_full",
        "cannot trust another identity",
        `${trustedMax} are trusted already`,
        "remove one that is no longer used",
      );
    }
    this.#trusted.set(name, identity.slice());
    return true;
  }

  /** False where it was not trusted. */
  distrust(identity: Uint8Array): boolean {
    return this.#trusted.delete(formatIdentity(identity));
  }

  admits(identity: Uint8Array): boolean {
    return this.admitsText(formatIdentity(identity));
  }

  admitsText(identity: string): boolean {
    return this.#trusted.has(identity);
  }

  get size(): number {
    return this.#trusted.size;
  }

  /** In the order in which they were trusted. */
  identities(): Iterable<Uint8Array> {
    return this.#trusted.values();
  }
}
