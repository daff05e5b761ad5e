/**
 * The short signed statements that gossip carries: a subject says that it lives or leaves, an
 * accuser says that a subject did not answer. Owns their bytes; signing and verifying are the
 * caller's. An accusation names an incarnation that the subject signed, so it is void as soon as the
 * subject signs another. Statements of one subject are ordered by (record sequence, incarnation).
 */
import { assert } from "../base/errors.ts";
import { type StoredKeys, wordAt } from "./store.ts";

export const statementKinds = { alive: 1, leave: 2, suspect: 3 } as const;
export type StatementKind = 1 | 2 | 3;

const identityBytes = 32;
const signatureBytes = 64;
/** Where the subject's identity stands. */
export const subjectAt = 1;
const sequenceAt = subjectAt + identityBytes;
const incarnationAt = sequenceAt + 8;
/** Of an accusation. */
export const accuserAt = incarnationAt + 4;
/** alive and leave: kind, identity, sequence, incarnation, signature. */
export const statementBytes = accuserAt + signatureBytes;
/** suspect: the accuser's identity before the signature. */
export const accusationBytes = statementBytes + identityBytes;

export interface StatementFields {
  readonly kind: StatementKind;
  readonly subject: Uint8Array;
  readonly sequence: number;
  readonly incarnation: number;
  /** Of a suspect statement. */
  readonly accuser?: Uint8Array;
}

/** How many bytes a statement of this kind takes; undefined for a kind that does not exist. */
export function statementLength(kind: number): number | undefined {
  if (kind === statementKinds.alive || kind === statementKinds.leave) return statementBytes;
  return kind === statementKinds.suspect ? accusationBytes : undefined;
}

/** The bytes without the signature. */
export function statementBody(fields: StatementFields): Uint8Array {
  const { kind, subject, sequence, incarnation, accuser } = fields;
  assert(subject.length === identityBytes, "an identity is 32 bytes");
  assert((kind === statementKinds.suspect) === (accuser !== undefined), "a suspect has an accuser");
  const out = new Uint8Array((statementLength(kind) as number) - signatureBytes);
  const view = new DataView(out.buffer);
  out[0] = kind;
  out.set(subject, 1);
  view.setBigUint64(sequenceAt, BigInt(sequence), true);
  view.setUint32(incarnationAt, incarnation, true);
  if (accuser !== undefined) out.set(accuser, accuserAt);
  return out;
}

export function statementKind(bytes: Uint8Array, at = 0): StatementKind {
  return bytes[at] as StatementKind;
}

export function subjectOf(statement: Uint8Array): Uint8Array {
  return statement.subarray(subjectAt, subjectAt + identityBytes);
}

export function accuserOf(statement: Uint8Array): Uint8Array {
  return statement.subarray(accuserAt, accuserAt + identityBytes);
}

/** Beyond JavaScript's exact integers it is not a sequence that any record has. */
export function sequenceOf(bytes: Uint8Array, at: number): number {
  return wordAt(bytes, at + sequenceAt) + wordAt(bytes, at + sequenceAt + 4) * 2 ** 32;
}

export function incarnationOf(bytes: Uint8Array, at: number): number {
  return wordAt(bytes, at + incarnationAt);
}

/** What is signed, and the signature. */
export function signedPart(statement: Uint8Array): Uint8Array {
  return statement.subarray(0, statement.length - signatureBytes);
}

export function signatureOf(statement: Uint8Array): Uint8Array {
  return statement.subarray(statement.length - signatureBytes);
}

/** Whose signature a statement bears. */
export function signerOf(statement: Uint8Array): Uint8Array {
  return statementKind(statement) === statementKinds.suspect
    ? accuserOf(statement)
    : subjectOf(statement);
}

/** Under what it is kept. */
export function statementKeys(statement: Uint8Array): StoredKeys {
  return {
    low: wordAt(statement, subjectAt),
    high: wordAt(statement, subjectAt + 4),
    sequence: sequenceOf(statement, 0),
    incarnation: incarnationOf(statement, 0),
  };
}
