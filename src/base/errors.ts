/**
 * The two ways in which this program gives up. A `MeshError` is for the operator: what failed, why,
 * and what to do about it, under a code that scripts can match. An assertion is for a mistake of
 * ours. Neither is ever thrown because of bytes that came from the network.
 */

/** An error that an operator can act on. `message` says what failed, in a few words. */
export class MeshError extends Error {
  /** Stable, snake_case: `key_file_invalid`. */
  readonly code: string;
  readonly why: string;
  readonly remedy: string;

  constructor(code: string, what: string, why: string, remedy: string) {
    super(what);
    this.name = "MeshError";
    this.code = code;
    this.why = why;
    this.remedy = remedy;
  }

  /** One line: `cannot read the key file: it is open to others; run chmod 600 KEYFILE`. */
  sentence(): string {
    const remedy = this.remedy === "" ? "" : `; ${this.remedy}`;
    return this.why === "" ? `${this.message}${remedy}` : `${this.message}: ${this.why}${remedy}`;
  }
}

/** Why nothing can be written, and what to do. */
export const diskFull = [
  "the disk is full or read-only",
  "make room there, or name another directory",
] as const;

/** A broken assumption of this program; never caused by input. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the `default` of a switch over a union: a new member is a compile error here. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`);
}
