/**
 * What was said, and what was proved. A decoder returns `Unverified<T>`, only a verifier makes a
 * `Verified<T>` of it, and whatever changes state asks for that: unsigned state cannot compile.
 */

declare const verifiedBrand: unique symbol;

/** A value whose signature held, in this network, within its time. */
export type Verified<T> = T & { readonly [verifiedBrand]: true };

/** A value that was well formed, and nothing more. */
export interface Unverified<T> {
  readonly claimed: T;
}

export const signatureBytes = 64;
