/**
 * Two ends of WireGuard's control side over a network that an input is the master of: it lets time
 * pass, loses, repeats, reorders and changes datagrams, passes them on from elsewhere, restarts an
 * end, changes keys. Whatever it does, a change on the way moves no endpoint, and once it lets go
 * the two understand each other and nothing is left of what was.
 */
import { Reader } from "../../src/base/bytes.ts";
import type { Endpoint } from "../../src/base/endpoint.ts";
import { type NodeOptions, type PeerNode, World } from "../support/peer-world.ts";
import type { Packet } from "../support/virtual-network.ts";
import { Choices, type FuzzTarget, program, rule, type SeededRandom } from "./target.ts";

const stranger: Endpoint = { address: "203.0.113.9", port: 4242 };
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const keptMax = 64;
const macsBytes = 32;

/** One play. */
class Play {
  readonly world = new World(1);
  readonly kept: Packet[] = [];
  readonly ends: PeerNode[];
  leaked = 0;
  #said = 0;

  constructor() {
    this.ends = [1, 2].map((byte) => this.#open({ key: key(byte) }));
    this.#meet();
    this.world.network.filter = (packet) => {
      this.kept.push(packet);
      if (this.kept.length > keptMax) this.kept.shift();
      return true;
    };
  }

  step(choices: Choices): void {
    const what = choices.u8();
    const at = (what >> 4) & 1;
    const [end, other] = [this.ends[at], this.ends[1 - at]] as [PeerNode, PeerNode];
    switch (what & 15) {
      case 0:
        this.world.run(choices.u16() * 4);
        break;
      case 1:
        this.world.run(choices.u8());
        break;
      case 2:
        this.#say(end, other);
        break;
      case 3:
        end.initiate(other);
        break;
      case 4:
      case 5:
        this.#repeat(choices);
        break;
      case 6:
      case 7:
      case 8:
        this.#change(choices);
        break;
      case 9:
        this.world.network.conditions = {
          loss: choices.below(4) / 4,
          duplication: choices.below(3) / 4,
          delayMs: [1, 1 + choices.u8() * 8],
        };
        break;
      case 10:
        this.#restart(at);
        break;
      case 11:
        end.presharedKey(other, choices.u8() % 2 === 0 ? undefined : key(9));
        break;
      case 12:
        end.table.removePeer(this.world.now, end.peer(other));
        end.turn();
        end.meet(other);
        break;
      case 13:
        end.move(`192.0.2.${10 + choices.below(4) + 100 * at}`);
        break;
      default:
        this.#invent(choices);
    }
  }

  /** What came before on the wire, once more; perhaps from elsewhere. */
  #repeat(choices: Choices): void {
    const packet = choices.of(this.kept) as Packet | undefined;
    if (packet === undefined) return;
    const from = choices.u8() % 4 === 0 ? stranger : packet.from;
    this.#hand(packet.to, from, packet.bytes);
  }

  /** The same with a byte changed, and the first MAC made right again: it is public. */
  #change(choices: Choices): void {
    const packet = choices.of(this.kept) as Packet | undefined;
    if (packet === undefined) return;
    const bytes = packet.bytes.slice();
    const end = bytes[0] === 4 ? bytes.length : bytes.length - macsBytes;
    const place = 4 + (choices.u8() % Math.max(1, end - 4));
    bytes[place] = (bytes[place] as number) ^ (choices.u8() | 1);
    const to = choices.u8() % 4 === 0 ? packet.from : packet.to;
    // A sender's index is under no seal: with another one, a message is as good as repeated.
    if (place < 8 && bytes[0] !== 4) this.#hand(to, stranger, this.#stamped(to, bytes));
    else this.#unmoved(to, bytes);
  }

  /** Bytes of the input's own. */
  #invent(choices: Choices): void {
    const kinds = [1, 2, 3, 4];
    const kind = choices.of(kinds);
    const bytes = new Uint8Array([0, 148, 92, 64, 48][kind] as number);
    bytes.set(choices.take(40), 4);
    bytes[0] = kind;
    const end = choices.of(this.ends);
    this.#unmoved(end.endpoint, bytes);
  }

  #unmoved(to: Endpoint, bytes: Uint8Array): void {
    const before = this.ends.map((one) => this.#endpointsOf(one));
    this.#hand(to, stranger, this.#stamped(to, bytes));
    const after = this.ends.map((one) => this.#endpointsOf(one));
    rule(before.join() === after.join(), "a changed datagram moved an endpoint");
  }

  #stamped(to: Endpoint, bytes: Uint8Array): Uint8Array {
    const kind = new Reader(bytes).u32();
    const end = this.ends.find(({ endpoint }) => endpoint.address === to.address);
    if (kind === 1 || kind === 2) end?.dataplane.gate.stamp(bytes);
    return bytes;
  }

  #endpointsOf(end: PeerNode): string {
    return [...end.table.peers()]
      .map((peer) => end.dataplane.inspect(peer.ref).endpoint?.address)
      .join();
  }

  #hand(to: Endpoint, from: Endpoint, bytes: Uint8Array): void {
    const end = this.ends.find(({ endpoint }) => endpoint.address === to.address);
    end?.receive(from, bytes.slice());
    end?.turn();
  }

  #restart(at: number): void {
    const [end, other] = [this.ends[at], this.ends[1 - at]] as [PeerNode, PeerNode];
    const { lastSent, accepted, keyBytes, endpoint } = end;
    this.leaked += end.close();
    const history = { ...(lastSent && { lastSent }), accepted: new Map(accepted) };
    const fresh = this.#open({ key: keyBytes, address: endpoint.address, ...history });
    this.ends[at] = fresh;
    fresh.meet(other);
  }

  #open(options: NodeOptions): PeerNode {
    return this.world.node(options);
  }

  #meet(): void {
    const [a, b] = this.ends as [PeerNode, PeerNode];
    a.meet(b);
    b.meet(a);
  }

  #say(end: PeerNode, other: PeerNode): string {
    this.#said += 1;
    end.send(other, `${this.#said}`);
    return `${this.#said}`;
  }

  /** Nothing stands in the way any more: within two minutes each hears what the other says. */
  settle(): string {
    const { world } = this;
    const [a, b] = this.ends as [PeerNode, PeerNode];
    world.network.conditions = { loss: 0, duplication: 0, delayMs: [5, 5] };
    for (const [end, other] of [
      [a, b],
      [b, a],
    ] as const) {
      end.presharedKey(other, undefined);
      end.table.setEndpoint(world.now, end.peer(other), other.endpoint);
      end.turn();
    }
    let heard = [false, false];
    let rounds = 0;
    for (; rounds < 60 && heard.includes(false); rounds += 1) {
      const said = [this.#say(a, b), this.#say(b, a)];
      world.run(2_000);
      heard = [b.heard().includes(said[0] as string), a.heard().includes(said[1] as string)];
    }
    rule(!heard.includes(false), `they do not understand each other: ${heard.join()}`);
    const initiations = a.transmits.concat(b.transmits).length;
    for (const end of this.ends) this.leaked += end.close();
    rule(this.leaked === 0, `${this.leaked} secrets or indices were left`);
    return `${Math.min(rounds, 12)} ${Math.min(15, initiations)}`;
  }
}

const twoEnds: FuzzTarget = {
  name: "two-ends",
  inputs: 10_000,
  bytesMax: 120,
  timed: false,
  generate: (random: SeededRandom) => program(random, 60),
  one(input) {
    const choices = new Choices(input);
    const play = new Play();
    for (let step = 0; step < 40 && !choices.done; step += 1) play.step(choices);
    return play.settle();
  },
};

export const handshakeTargets: readonly FuzzTarget[] = [twoEnds];
