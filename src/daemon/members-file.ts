/**
 * Members' records on their way to the disk. A restart finds members by them, but they are signed
 * and replaceable: so they are written at most once a second, and more rarely the more there are, and
 * a disk that is full stops nothing.
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
  /** By the text of the identity. */
  readonly #records = new Map<string, Uint8Array>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dirty = false;
  #failing = false;

  constructor(directory: string, warn: Warn) {
    this.#directory = directory;
    this.#warn = warn;
    for (const bytes of readMembers(directory, warn)) {
      const record = decodeRecord(bytes);
      if (record === undefined) continue;
      // Its own copy: what was read through a view costs more memory.
      this.#records.set(formatIdentity(record.claimed.identity), record.claimed.bytes);
    }
  }

  records(): Iterable<Uint8Array> {
    return this.#records.values();
  }

  keep(identity: string, record: Uint8Array): void {
    this.#records.set(identity, record);
    this.#changed();
  }

  forget(identity: string): void {
    if (this.#records.delete(identity)) this.#changed();
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
      intervalMs + intervalMsPerMember * this.#records.size,
    );
  }

  #write(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    try {
      writeMembers(this.#directory, this.#records.values());
      this.#failing = false;
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      if (!this.#failing) this.#warn(error.sentence());
      this.#failing = true;
    }
  }
}
