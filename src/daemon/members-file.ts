/**
 * Members' records on their way to the disk. A restart finds members by them, but they are signed
 * and replaceable: so they are written at most once a second, and more rarely the more there are, and
 * a disk that is full stops nothing. They are kept by the node alone; here are only those of an earlier
 * life that are not members now, for they say where to look.
 */
import { MeshError } from "../base/errors.ts";
import { formatIdentity } from "../trust/identity.ts";
import { decodeRecord } from "../trust/record.ts";
import type { Warn } from "./files.ts";
import { readMembers, writeMembers } from "./state.ts";

const intervalMs = 1_000;
/** And for each member: the file of ten thousand takes some MB, and one changes twice a second. */
const intervalMsPerMember = 6;

export class MembersFile {
  readonly #directory: string;
  readonly #warn: Warn;
  readonly #current: () => Iterable<Uint8Array>;
  /** By the text of the identity. */
  readonly #earlier = new Map<string, Uint8Array>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #count = 0;
  #dirty = false;
  #failing = false;

  /** `current`: the records of all members, as they are now. */
  constructor(directory: string, warn: Warn, current: () => Iterable<Uint8Array>) {
    this.#directory = directory;
    this.#warn = warn;
    this.#current = current;
    for (const bytes of readMembers(directory, warn)) {
      const record = decodeRecord(bytes);
      if (record === undefined) continue;
      // Its own copy: what was read through a view costs more memory.
      this.#earlier.set(formatIdentity(record.claimed.identity), record.claimed.bytes);
    }
  }

  /** Of an earlier life. */
  records(): Iterable<Uint8Array> {
    return this.#earlier.values();
  }

  /** Those that are members from now on need not be kept here. */
  started(isMember: (identity: string) => boolean): void {
    for (const identity of this.#earlier.keys()) {
      if (isMember(identity)) this.#earlier.delete(identity);
    }
  }

  /** The member's record is new. */
  keep(identity: string): void {
    this.#earlier.delete(identity);
    this.#changed();
  }

  /** It is a member no longer. */
  forget(identity: string): void {
    this.#earlier.delete(identity);
    this.#changed();
  }

  /** What waits is on disk when this returns, and nothing waits any more. */
  close(): void {
    this.#write();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** The first at once; what follows closely, together. */
  #changed(): void {
    this.#dirty = true;
    if (this.#timer !== undefined) return;
    this.#write();
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        if (this.#dirty) this.#changed();
      },
      intervalMs + intervalMsPerMember * this.#count,
    );
  }

  #write(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    try {
      const records = [...this.#current(), ...this.#earlier.values()];
      this.#count = records.length;
      writeMembers(this.#directory, records);
      this.#failing = false;
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      if (!this.#failing) this.#warn(error.sentence());
      this.#failing = true;
    }
  }
}
