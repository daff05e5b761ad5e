/**
 * What membership has to send: messages encoded and queued up to a bound, and records and statements
 * of many members packed into as few messages as they fit in.
 */
import { Fifo } from "../base/fifo.ts";
import {
  encodeMessage,
  type Message,
  messageBytesMax,
  messageHeaderBytes,
  recordOverheadBytes,
} from "./message.ts";
import type { MemberTable } from "./state.ts";

const transmitsMax = 4_096;

export interface SwimTransmit {
  readonly to: number;
  /** A control message: at most 1,200 bytes. */
  readonly bytes: Uint8Array;
}

export class Outbox {
  sent = 0;
  dropped = 0;
  readonly #table: MemberTable;
  readonly #transmits = new Fifo<SwimTransmit>();

  constructor(table: MemberTable) {
    this.#table = table;
  }

  send(to: number, message: Message): void {
    if (this.#transmits.size >= transmitsMax) {
      this.dropped += 1;
      return;
    }
    this.sent += 1;
    this.#transmits.push({ to, bytes: encodeMessage(message) });
  }

  /** Records, or statements alone, of these slots. */
  sendHeld(to: number, slots: readonly number[], statementsOnly: readonly boolean[]): void {
    const { statements: store } = this.#table;
    const records: Uint8Array[] = [];
    const statements: Uint8Array[] = [];
    for (let i = 0; i < slots.length; i += 1) {
      const slot = slots[i] as number;
      const only = statementsOnly[i] === true;
      const statement = this.#table.statement(slot);
      if (!only) records.push(this.#table.recordBytes(slot));
      // The record says the same as the statement of incarnation 0.
      if (statement !== 0 && (only || this.#table.incarnation(slot) > 0)) {
        statements.push(store.bytes(statement));
      }
    }
    for (const part of packed(records, recordOverheadBytes)) {
      this.send(to, { kind: "records", records: part });
    }
    for (const part of packed(statements, 0)) {
      this.send(to, { kind: "gossip", statements: part });
    }
  }

  poll(): SwimTransmit | undefined {
    return this.#transmits.shift();
  }
}

/** In order, each part as large as a message holds. */
function packed(items: readonly Uint8Array[], overhead: number): Uint8Array[][] {
  const parts: Uint8Array[][] = [];
  let bytesFree = 0;
  for (const item of items) {
    const bytes = item.length + overhead;
    if (bytes > bytesFree) {
      parts.push([]);
      bytesFree = messageBytesMax - messageHeaderBytes;
    }
    (parts.at(-1) as Uint8Array[]).push(item);
    bytesFree -= bytes;
  }
  return parts;
}
