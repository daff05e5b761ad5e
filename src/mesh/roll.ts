/**
 * What is kept of each member whether it has a peer or not, in columns by SWIM's slots: by which
 * WireGuard key it comes, whether it offers routes, where it last was, and when it last shook hands. Some thirty bytes a member;
 * everything else follows from its record, or is gone with its peer.
 */
import { equalBytes } from "../base/bytes.ts";
import { grown, grownCapacity } from "../base/columns.ts";
import { type Endpoint, isCarried, relayWayOf } from "../base/endpoint.ts";
import { formatAddress, parseAddress } from "../base/ip.ts";
import { wordAt } from "../swim/store.ts";
import { type Record, wireguardKeyOf } from "../trust/record.ts";

const capacityStart = 16;
/** Family (0: nowhere), then whether it answered an introduction there, port, and address. */
const placeBytes = 20;

/** What is left of a member when its peer goes. */
export interface LastSeen {
  readonly seen: Endpoint | undefined;
  /** It answered an introduction there, which makes it a door. */
  readonly proven: Endpoint | undefined;
  /** Unix time; 0: never. */
  readonly lastHandshakeWallMs: number;
}

export class Roll {
  /** The first word of the key. */
  #keys = new Uint32Array(capacityStart);
  #offers = new Uint8Array(capacityStart);
  #handshakeSeconds = new Uint32Array(capacityStart);
  #places = new Uint8Array(capacityStart * placeBytes);
  readonly #recordBytes: (slot: number) => Uint8Array;

  /** `recordBytes`: of the member in the slot. */
  constructor(recordBytes: (slot: number) => Uint8Array) {
    this.#recordBytes = recordBytes;
  }

  /** The member's record says so from now on. */
  set(slot: number, { wireguardKey, prefixes }: Pick<Record, "wireguardKey" | "prefixes">): void {
    if (slot >= this.#keys.length) this.#grow(slot + 1);
    // 0 is nobody's.
    this.#keys[slot] = wordAt(wireguardKey, 0) || 1;
    this.#offers[slot] = prefixes.length > 0 ? 1 : 0;
  }

  /** Whether it offers to lead others anywhere. */
  offers(slot: number): boolean {
    return this.#offers[slot] === 1;
  }

  /** The member is no more. */
  remove(slot: number): void {
    if (slot >= this.#keys.length) return;
    this.#keys[slot] = 0;
    this.#offers[slot] = 0;
    this.#handshakeSeconds[slot] = 0;
    this.#places.fill(0, slot * placeBytes, (slot + 1) * placeBytes);
  }

  /** Whose key it is. Whoever asks has shown that he knows it, which costs him more than the search. */
  withKey(wireguardKey: Uint8Array): number | undefined {
    const word = wordAt(wireguardKey, 0) || 1;
    const keys = this.#keys;
    for (let slot = keys.indexOf(word); slot >= 0; slot = keys.indexOf(word, slot + 1)) {
      if (equalBytes(wireguardKeyOf(this.#recordBytes(slot)), wireguardKey)) return slot;
    }
    return undefined;
  }

  /** Its peer goes. Ways of this process's own, through another member or a stream, do not stay. */
  rest(slot: number, { seen, proven, lastHandshakeWallMs }: LastSeen): void {
    if ((this.#keys[slot] ?? 0) === 0) return;
    this.#handshakeSeconds[slot] = Math.ceil(lastHandshakeWallMs / 1000);
    const places = [seen, proven].map((it) => (it !== undefined && isLasting(it) ? it : undefined));
    const place = places[0] ?? places[1];
    const at = slot * placeBytes;
    this.#places.fill(0, at, at + placeBytes);
    const parsed = place && parseAddress(place.address);
    if (place === undefined || parsed === undefined || parsed.scope !== 0) return;
    this.#places[at] = parsed.family;
    this.#places[at + 1] = proven === undefined ? 0 : 1;
    this.#places[at + 2] = place.port >> 8;
    this.#places[at + 3] = place.port & 0xff;
    this.#places.set(parsed.bytes, at + 4);
  }

  /** As `rest` was told, to the second. */
  last(slot: number): LastSeen {
    const lastHandshakeWallMs = 1000 * (this.#handshakeSeconds[slot] ?? 0);
    const at = slot * placeBytes;
    const family = this.#places[at];
    if (family !== 4 && family !== 6) {
      return { seen: undefined, proven: undefined, lastHandshakeWallMs };
    }
    const bytes = this.#places.slice(at + 4, at + (family === 4 ? 8 : 20));
    const port = ((this.#places[at + 2] as number) << 8) | (this.#places[at + 3] as number);
    const seen = { address: formatAddress({ family, bytes, scope: 0 }), port };
    return { seen, proven: this.#places[at + 1] === 1 ? seen : undefined, lastHandshakeWallMs };
  }

  #grow(least: number): void {
    const capacity = grownCapacity(least, this.#keys.length);
    this.#keys = grown(this.#keys, new Uint32Array(capacity));
    this.#offers = grown(this.#offers, new Uint8Array(capacity));
    this.#handshakeSeconds = grown(this.#handshakeSeconds, new Uint32Array(capacity));
    this.#places = grown(this.#places, new Uint8Array(capacity * placeBytes));
  }
}

function isLasting(endpoint: Endpoint): boolean {
  if (relayWayOf(endpoint) !== undefined || isCarried(endpoint)) return false;
  return endpoint.socket === undefined;
}
