/** Paths on a virtual clock: two ends, and ways between them that work or do not. */
import { describe, expect, test } from "bun:test";
import {
  type Endpoint,
  formatEndpoint,
  relayEndpoint,
  sameEndpoint,
} from "../../../src/base/endpoint.ts";
import { heardWaysMax, MemberPaths } from "../../../src/nat/member-paths.ts";
import { encodePathMessage } from "../../../src/nat/message.ts";
import { type PathEvent, Paths, probesBurst, probesPerMinute } from "../../../src/nat/paths.ts";
import { nodeProbesBurst } from "../../../src/nat/probe-limits.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const direct: Endpoint = { address: "192.0.2.2", port: 51_820 };
const other: Endpoint = { address: "2001:db8::2", port: 51_820 };
const relay = relayEndpoint({ slot: 9, generation: 1, far: 2 });
const relay2 = relayEndpoint({ slot: 10, generation: 1, far: 2 });
const slot = 4;

/** One end; the other answers by each way that is open, after that way's delay. */
class End {
  relays: readonly Endpoint[] = [];
  readonly paths = new Paths(new SeededRandom(5), () => this.relays);
  readonly open = new Map<string, number>();
  /** By which other way it answers what comes by one. */
  readonly answersBy = new Map<string, Endpoint>();
  /** So many numbers after the one that it was asked by it answers too. */
  guessed = 0;
  /** The longest that a way carries, where it does not carry everything. */
  readonly longest = new Map<string, number>();
  readonly events: PathEvent[] = [];
  readonly sent: { atMs: number; by: string; type: number; padded: number }[] = [];
  readonly #arriving: { atMs: number; bytes: Uint8Array; by: Endpoint }[] = [];
  nowMs = 1_000;

  get now() {
    return { ms: this.nowMs, wallMs: this.nowMs };
  }

  openWay(way: Endpoint, rttMs: number): void {
    this.open.set(formatEndpoint(way), rttMs);
  }

  close(way: Endpoint): void {
    this.open.delete(formatEndpoint(way));
  }

  tell(...candidates: readonly Endpoint[]): void {
    const bytes = encodePathMessage({ kind: "whereabouts", ask: false, nat: "easy", candidates });
    this.paths.handleMessage(this.now, slot, bytes, relay);
  }

  get used(): Endpoint | undefined {
    return this.paths.paths(slot)?.current?.endpoint;
  }

  run(ms: number): void {
    const end = this.nowMs + ms;
    for (;;) {
      this.#collect();
      const due = Math.min(
        this.paths.nextTimeout() ?? Number.POSITIVE_INFINITY,
        ...this.#arriving.map(({ atMs }) => atMs),
      );
      if (due > end) break;
      this.nowMs = Math.max(this.nowMs, due);
      const at = this.#arriving.findIndex(({ atMs }) => atMs <= this.nowMs);
      const [message] = at < 0 ? [] : this.#arriving.splice(at, 1);
      if (message !== undefined) {
        this.paths.handleMessage(this.now, slot, message.bytes, message.by);
      } else this.paths.handleTimeout(this.now);
    }
    this.nowMs = end;
  }

  #collect(): void {
    for (let it = this.paths.pollTransmit(); it; it = this.paths.pollTransmit()) {
      const by = it.by ?? this.used;
      if (by === undefined) continue;
      const way = formatEndpoint(by);
      const type = it.bytes[0] as number;
      const padded = it.padded ?? 0;
      this.sent.push({ atMs: this.nowMs, by: way, type, padded });
      const rttMs = this.open.get(way);
      if (type !== 13 || rttMs === undefined) continue;
      if (padded > (this.longest.get(way) ?? padded)) continue;
      const number = new DataView(it.bytes.buffer, it.bytes.byteOffset).getUint32(4, true);
      const observed = by.port === 0 ? undefined : { address: "192.0.2.1", port: 7 };
      const back = this.answersBy.get(way) ?? by;
      for (let after = 0; after <= this.guessed; after += 1) {
        const said = (number + after) % 2 ** 32;
        const bytes = encodePathMessage({ kind: "reply", number: said, observed });
        this.#arriving.push({ atMs: this.nowMs + rttMs, bytes, by: back });
      }
    }
    for (let it = this.paths.pollEvent(); it; it = this.paths.pollEvent()) this.events.push(it);
  }

  uses(): string[] {
    return this.events.flatMap((it) =>
      it.kind === "use" ? [`${it.why} ${formatEndpoint(it.endpoint)}`] : [],
    );
  }
}

function relayed(seek = true): End {
  const end = new End();
  end.relays = [relay, relay2];
  end.openWay(relay, 20);
  end.paths.link(end.now, slot, relay, { tell: true, observe: false, seek });
  return end;
}

/** How often it was asked by that way. */
function probes(end: End, way: Endpoint): number {
  return end.sent.filter(({ by, type }) => type === 13 && by === formatEndpoint(way)).length;
}

describe("a member that is reached through a relay", () => {
  test("is reached directly as soon as it answers at an address that it told", () => {
    const end = relayed();
    end.openWay(direct, 10);
    end.tell(other, direct);
    end.run(100);
    expect(end.used).toEqual(direct);
    expect(end.uses()).toEqual([`direct ${formatEndpoint(direct)}`]);
    expect(end.events).toContainEqual({
      kind: "observed",
      slot,
      by: direct,
      seen: { address: "192.0.2.1", port: 7 },
    });
  });

  test("stays there while nothing else answers, and is tried again within 10 s, always", () => {
    const end = relayed();
    end.tell(direct);
    end.run(120_000);
    expect(end.used).toEqual(relay);
    const tried = end.sent.filter(({ by, type }) => type === 13 && by === formatEndpoint(direct));
    const gaps = tried.slice(1).map(({ atMs }, at) => atMs - (tried[at]?.atMs ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(10_000);
    end.openWay(direct, 10);
    end.run(10_000);
    expect(end.used).toEqual(direct);
  });

  test("is looked for once a minute while there is nothing for it, and at once when there is", () => {
    const end = relayed(false);
    end.tell(direct);
    end.run(600_000);
    const tried = (): number =>
      end.sent.filter(({ by, type }) => type === 13 && by === formatEndpoint(direct)).length;
    expect(tried()).toBeGreaterThanOrEqual(4 * 8);
    expect(tried()).toBeLessThanOrEqual(4 * 14);
    end.openWay(direct, 10);
    end.paths.seek(end.now, slot);
    end.run(50);
    expect(end.used).toEqual(direct);
  });

  test("that is heard by two relays in turn is not asked by both for ever", () => {
    const end = relayed();
    end.openWay(relay2, 20);
    end.run(1_000);
    const before = end.sent.length;
    // Each answer comes by the other relay as it were, and is heard there.
    for (let i = 0; i < 100; i += 1) {
      end.paths.handleHeard(end.now, slot, i % 2 === 0 ? relay : relay2);
      end.run(10);
    }
    expect(end.sent.length - before).toBeLessThan(20);
  });

  test("is not asked by another relay that it is heard by and that has answered, however often", () => {
    const end = relayed();
    end.openWay(relay2, 20);
    end.run(10_000);
    const asked = (): number => probes(end, relay2);
    const before = asked();
    expect(before).toBeGreaterThan(0);
    for (let i = 0; i < 8; i += 1) {
      end.paths.handleHeard(end.now, slot, relay2);
      end.run(1_000);
    }
    expect(asked()).toBe(before);
  });

  test("moves to the relay that it is heard by, where the one in use leads nowhere any more", () => {
    const end = relayed(false);
    end.openWay(relay2, 20);
    end.run(30_000);
    end.close(relay);
    // Nothing that is forwarded for others has the data plane wait for an answer.
    end.paths.handleHeard(end.now, slot, relay2);
    end.run(500);
    expect(end.used).toEqual(relay2);
  });

  test("moves to another relay within two searches, when the one in use loses all and nobody says so", () => {
    const end = relayed(false);
    end.openWay(relay2, 20);
    end.run(30_000);
    end.close(relay);
    end.run(240_000);
    expect(end.used).toEqual(relay2);
  });

  test("is asked by other relays three times a minute, and by none while there is nothing for it", () => {
    const [sought, idle] = [relayed(), relayed(false)];
    for (const end of [sought, idle]) {
      end.openWay(relay2, 20);
      end.run(60_000);
    }
    expect(probes(sought, relay2)).toBeGreaterThanOrEqual(3);
    expect(probes(sought, relay2)).toBeLessThanOrEqual(4);
    expect(probes(idle, relay2)).toBe(0);
  });

  test("is asked twice in a search at an address of a local network, and more often at others", () => {
    const end = relayed();
    const near = { address: "192.168.0.2", port: 51_820 };
    end.tell(direct, near);
    end.run(2_900);
    expect(probes(end, near)).toBe(2);
    expect(probes(end, direct)).toBe(7);
    end.openWay(near, 1);
    end.run(5_000);
    expect(end.used).toEqual(near);
  });

  test("is told where this node may be when that is news, in whichever order it comes", () => {
    const end = relayed();
    end.paths.setOwn(end.now, [direct, other], "none");
    end.run(2_000);
    const told = (): number => end.sent.filter(({ type }) => type === 11).length;
    const before = told();
    end.paths.setOwn(end.now, [other, direct], "none");
    end.run(1);
    expect(told()).toBe(before);
    end.paths.setOwn(end.now, [other], "none");
    end.run(1);
    expect(told()).toBe(before + 1);
    // Of a mapping for each destination only the address helps anybody.
    end.run(2_000);
    end.paths.setOwn(end.now, [direct], "hard");
    end.run(2_000);
    const hard = told();
    end.paths.setOwn(end.now, [{ ...direct, port: 7 }], "hard");
    end.run(1);
    expect(told()).toBe(hard);
  });

  test("costs no more probes than are stated, over any minute and over an hour", () => {
    const end = relayed();
    end.tell(...Array.from({ length: 12 }, (_, at) => ({ ...direct, port: 1000 + at })));
    end.run(3_600_000);
    const probes = end.sent.filter(({ type }) => type === 13).map(({ atMs }) => atMs);
    for (const [at, from] of probes.entries()) {
      const within = probes.slice(at).filter((atMs) => atMs - from < 60_000).length;
      expect(within).toBeLessThanOrEqual(probesBurst + probesPerMinute + 1);
    }
    // Ever more slowly: once a minute at the end.
    const last = probes.filter((atMs) => atMs > end.nowMs - 600_000).length;
    expect(last).toBeLessThan(10 * 12 * 8);
    expect(last).toBeGreaterThan(0);
  });

  test("moves to the relay that its own one goes through, though that is farther, and stays there", () => {
    for (const seek of [true, false]) {
      const end = relayed(seek);
      end.answersBy.set(formatEndpoint(relay), relay2);
      end.openWay(relay2, 40);
      end.run(1_000);
      expect(end.used).toEqual(relay2);
      end.run(120_000);
      expect(end.uses()).toEqual([`shorter ${formatEndpoint(relay2)}`]);
    }
  });

  test("stays at a relay behind another where that one does not answer or loses much", () => {
    const end = relayed();
    end.answersBy.set(formatEndpoint(relay), relay2);
    end.run(60_000);
    expect(end.used).toEqual(relay);
    end.openWay(relay2, 5);
    end.run(60_000);
    expect(end.used).toEqual(relay2);
    // Every other second nothing passes there, and that is enough to leave it, and not to take it again.
    for (let second = 0; second < 120; second += 1) {
      if (second % 2 === 0) end.openWay(relay2, 5);
      else end.close(relay2);
      end.run(1_000);
    }
    expect(end.used).toEqual(relay);
    expect(end.uses().length).toBeLessThan(6);
  });

  test("has lost nothing where it was only asked again before it could answer", () => {
    const end = relayed();
    end.openWay(relay, 240);
    end.run(5_000);
    expect(end.paths.paths(slot)?.current?.loss).toBe(0);
  });

  test("moves to a relay that is much nearer, and not to one that is a little nearer", () => {
    for (const [rttMs, expected] of [
      [18, relay],
      [5, relay2],
    ] as const) {
      const end = relayed();
      end.openWay(relay2, rttMs);
      end.run(10_000);
      expect(end.used).toEqual(expected);
    }
  });
});

test("a relay that loses every other probe is left for one that does not, though it is nearer", () => {
  const end = relayed();
  end.openWay(relay2, 40);
  end.run(20_000);
  expect(end.used).toEqual(relay);
  const number = (): number =>
    end.sent.filter(({ by, type }) => type === 13 && by === formatEndpoint(relay)).length;
  for (let second = 0; second < 60 && sameEndpoint(end.used, relay); second += 1) {
    if (number() % 2 === 0) end.openWay(relay, 20);
    else end.close(relay);
    end.run(1_000);
  }
  expect(end.used).toEqual(relay2);
  expect(end.uses()).toEqual([`faster ${formatEndpoint(relay2)}`]);
});

describe("a way in use", () => {
  function connected(): End {
    const end = relayed();
    end.openWay(direct, 10);
    end.tell(direct, other);
    end.run(5_000);
    expect(end.used).toEqual(direct);
    return end;
  }

  test("is kept when it answers, however often it is said to be silent", () => {
    const end = connected();
    for (let second = 0; second < 60; second += 1) {
      end.paths.handleSilent(end.now, slot);
      end.run(1_000);
    }
    expect(end.uses()).toHaveLength(1);
  });

  test("gives way within a second to the relay when it is silent, and is taken again when it works", () => {
    const end = connected();
    end.close(direct);
    end.paths.handleSilent(end.now, slot);
    end.run(1_000);
    expect(end.used).toEqual(relay);
    end.run(20_000);
    expect(end.used).toEqual(relay);
    end.openWay(direct, 10);
    end.run(10_000);
    expect(end.used).toEqual(direct);
  });

  test("is not taken again for one answer, if it failed a moment ago", () => {
    const end = connected();
    end.close(direct);
    end.paths.handleSilent(end.now, slot);
    end.run(1_000);
    // One probe gets through.
    end.openWay(direct, 1);
    end.paths.handleHeard(end.now, slot, direct);
    end.run(0);
    end.close(direct);
    end.run(2_000);
    expect(end.used).toEqual(relay);
  });

  test("moves to where the member is heard, once it answers there and the old place is silent", () => {
    const end = connected();
    end.close(direct);
    const moved = { address: "198.51.100.7", port: 4000 };
    end.openWay(moved, 10);
    end.paths.handleHeard(end.now, slot, moved);
    end.run(500);
    expect(end.used).toEqual(moved);
  });

  test("does not move for a packet from elsewhere while it answers itself", () => {
    const end = connected();
    const elsewhere = { address: "198.51.100.7", port: 4000 };
    end.openWay(elsewhere, 10);
    end.paths.handleHeard(end.now, slot, elsewhere);
    end.run(5_000);
    expect(end.used).toEqual(direct);
  });

  test("is lost when nothing answers, which is said, and searched for without end", () => {
    const end = connected();
    end.open.clear();
    end.paths.handleSilent(end.now, slot);
    end.run(10_000);
    expect(end.events).toContainEqual({ kind: "lost", slot });
    end.openWay(other, 10);
    end.run(10_000);
    expect(end.used).toEqual(other);
  });
});

describe("a member that is reached directly", () => {
  function reached(terms: { tell?: boolean; observe?: boolean } = {}): End {
    const end = new End();
    end.relays = [relay];
    end.openWay(direct, 10);
    end.openWay(other, 4);
    end.paths.link(end.now, slot, direct, { tell: false, observe: false, seek: true, ...terms });
    return end;
  }

  test("costs nothing while there is no other address to ask", () => {
    const end = reached();
    end.run(3_600_000);
    expect(end.sent).toEqual([]);
    expect(end.paths.nextTimeout()).toBeUndefined();
  });

  test("is asked once where it sees this node, if that is wanted, also when the session is renewed", () => {
    const end = reached({ observe: true });
    end.run(60_000);
    expect(end.sent.map(({ type }) => type)).toEqual([13]);
    expect(end.events.map(({ kind }) => kind)).toEqual(["observed"]);
    end.paths.link(end.now, slot, direct, { tell: false, observe: true, seek: true });
    end.run(60_000);
    expect(end.sent.map(({ type }) => type)).toEqual([13, 13]);
  });

  test("is reached by a better address that it tells of, and others are asked twice and no more", () => {
    const end = reached();
    const dead = { address: "198.51.100.9", port: 1 };
    end.tell(direct, other, dead);
    end.run(60_000);
    expect(end.used).toEqual(other);
    expect(end.sent.filter(({ by }) => by === formatEndpoint(dead))).toHaveLength(2);
  });

  test("is held by a relay as soon as it is silent, and nothing is left of it when its session ends", () => {
    const end = reached();
    end.openWay(relay, 20);
    end.close(direct);
    end.paths.handleSilent(end.now, slot);
    end.run(1_000);
    expect(end.used).toEqual(relay);
    end.paths.unlink(slot);
    expect(end.paths.paths(slot)).toBeUndefined();
    expect(end.paths.nextTimeout()).toBeUndefined();
  });
});

describe("how long a packet the way in use carries", () => {
  function sizes(end: End): number[] {
    return end.events.flatMap((it) => (it.kind === "size" ? [it.bytes] : []));
  }

  function probes(end: End): string[] {
    return end.sent.filter(({ padded }) => padded > 0).map(({ by, padded }) => `${by} ${padded}`);
  }

  test("is asked when long packets go there, by one probe where it carries them", () => {
    const end = relayed();
    end.run(5_000);
    expect(probes(end)).toEqual([]);
    end.paths.handleSizeWanted(end.now, slot, 1_360);
    end.run(5_000);
    expect(probes(end)).toEqual([`${formatEndpoint(relay)} 1360`]);
    expect(sizes(end)).toEqual([]);
  });

  test("is told within a second where it does not, and again when another way is used", () => {
    const end = relayed();
    end.longest.set(formatEndpoint(relay), 1_210);
    end.paths.handleSizeWanted(end.now, slot, 1_360);
    end.run(1_000);
    expect(sizes(end)).toEqual([1_152]);
    end.run(10_000);
    expect(sizes(end).at(-1)).toBe(1_200);
    // The address carries more, and that is found without being asked for again.
    end.openWay(direct, 10);
    end.longest.set(formatEndpoint(direct), 1_310);
    end.tell(direct);
    end.run(1_000);
    expect(end.used).toEqual(direct);
    end.run(10_000);
    expect(sizes(end).at(-1)).toBe(1_296);
    // Back at the relay what was found there is known at once.
    end.close(direct);
    end.paths.handleSilent(end.now, slot);
    end.run(1_000);
    expect(end.used).toEqual(relay);
    expect(sizes(end).at(-1)).toBe(1_200);
    end.paths.unlink(slot);
    end.run(0);
    expect(sizes(end).at(-1)).toBe(0);
  });

  test("is not said to be little where the way answers nothing", () => {
    const end = relayed();
    end.close(relay);
    end.paths.handleSizeWanted(end.now, slot, 1_360);
    end.run(60_000);
    expect(sizes(end)).toEqual([]);
    expect(probes(end).length).toBeLessThanOrEqual(8);
  });
});

describe("side sockets", () => {
  const hit: Endpoint = { ...direct, socket: 7 };

  function sprayed(): End {
    const end = relayed();
    end.paths.setOwn(end.now, [], "hard");
    end.tell(direct);
    end.run(8_000);
    expect(sockets(end)).toEqual([true]);
    return end;
  }

  function sockets(end: End): boolean[] {
    return end.events.flatMap((it) => (it.kind === "sockets" ? [it.open] : []));
  }

  test("go once one of them was hit, and are looked after while one is in use", () => {
    const end = sprayed();
    end.openWay(hit, 10);
    end.paths.handleHeard(end.now, slot, hit);
    end.run(1_000);
    expect(end.used).toEqual(hit);
    expect(sockets(end)).toEqual([true]);
    end.run(2_000);
    expect(sockets(end)).toEqual([true, false]);
    end.run(60_000);
    expect(sockets(end)).toEqual([true, false, false]);
    end.paths.unlink(slot);
    end.run(60_000);
    expect(sockets(end)).toEqual([true, false, false, false]);
    expect(end.paths.nextTimeout()).toBeUndefined();
  });

  test("wait for each member that was not found yet, and for none that is gone", () => {
    const end = sprayed();
    end.run(20_000);
    expect(sockets(end)).toEqual([true]);
    end.paths.unlink(slot);
    end.run(30_000);
    expect(sockets(end)).toEqual([true, false]);
    expect(end.paths.nextTimeout()).toBeUndefined();
  });
});

describe("a member whose packets are copied, or that means ill,", () => {
  const copier: Endpoint = { address: "198.51.100.66", port: 666 };

  test("is not lost, and does not move, when it is heard from a new address every 20 ms", () => {
    for (const way of [direct, relay]) {
      const end = new End();
      end.openWay(way, 10);
      // By this one the copier lets answers through.
      end.openWay(copier, 60);
      end.relays = [relay];
      end.paths.link(end.now, slot, way, { tell: false, observe: false, seek: true });
      end.run(5_000);
      for (let i = 0; i < 60 * 50; i += 1) {
        const port = i % 20 === 0 && way === direct ? copier.port : 1_000 + i;
        end.paths.handleHeard(end.now, slot, { ...copier, port });
        end.run(20);
      }
      expect(end.used).toEqual(way);
      expect(end.events.filter(({ kind }) => kind === "lost" || kind === "use")).toEqual([]);
      // Silence is found as soon as ever.
      end.close(way);
      end.openWay(other, 10);
      end.paths.handleHeard(end.now, slot, other);
      end.paths.handleSilent(end.now, slot);
      end.run(1_000);
      expect(end.used).not.toEqual(way);
    }
  });

  test("leaves to others what is kept for checks of their ways, however many are copied", () => {
    const paths = new Paths(new SeededRandom(5), () => []);
    const terms = { tell: false, observe: false, seek: false };
    let probes = 0;
    const now = { ms: 1_000, wallMs: 1_000 };
    const count = (): void => {
      for (let it = paths.pollTransmit(); it; it = paths.pollTransmit())
        probes += Number(it.bytes[0] === 13);
    };
    for (let of = 0; of < 200; of += 1) {
      paths.link(now, of, { ...direct, port: 1 + of }, terms);
      for (let i = 0; i < 70; i += 1) paths.handleHeard(now, of, { ...copier, port: 1 + i });
      count();
    }
    expect(probes).toBeGreaterThan(2_000);
    expect(probes).toBeLessThanOrEqual(nodeProbesBurst - 500);
    probes = 0;
    for (let of = 0; of < 200; of += 1) paths.handleSilent(now, of);
    count();
    expect(probes).toBeGreaterThan(100);
  });

  test("has no data sent to a stranger, for whose address it says that it got a probe", () => {
    const end = relayed();
    const stranger = { address: "203.0.113.7", port: 53 };
    // It sees what is asked of itself alone, and says the numbers after that too.
    end.guessed = 8;
    for (let i = 0; i < 100; i += 1) {
      end.tell(stranger);
      end.run(1_000);
    }
    expect(probes(end, stranger)).toBeGreaterThan(100);
    expect(end.used).toEqual(relay);
  });

  test("has no more ways than are stated, wherever it says that it is, and whoever relays", () => {
    const [byAddress, byRelay] = [new MemberPaths(), new MemberPaths()];
    for (let i = 0; i < 1_000; i += 1) {
      const told = { ...direct, port: 1_000 + i };
      byAddress.setTold([told]);
      byAddress.use(told, "faster");
      const through = relayEndpoint({ slot: 100 + i, generation: 1, far: 2 });
      byRelay.setRelays([through]);
      byRelay.use(through, "faster");
    }
    for (const { ways } of [byAddress, byRelay]) {
      expect(ways.length).toBeLessThanOrEqual(heardWaysMax + 2);
    }
  });

  test("is not moved to and fro by a near relay that winds when it is used, and only then", () => {
    const end = relayed();
    end.openWay(relay, 5);
    end.openWay(relay2, 40);
    for (let ms = 0; ms < 3_600_000; ms += 100) {
      if (sameEndpoint(end.used, relay)) end.answersBy.set(formatEndpoint(relay), relay2);
      else end.answersBy.clear();
      end.run(100);
    }
    expect(end.uses().length).toBeLessThan(45);
  });
});

test("an answer that was not asked for changes nothing", () => {
  const end = relayed();
  end.run(5_000);
  for (let number = 0; number < 100; number += 1) {
    const bytes = encodePathMessage({ kind: "reply", number, observed: direct });
    end.paths.handleMessage(end.now, slot, bytes, direct);
  }
  end.run(1_000);
  expect(end.used).toEqual(relay);
  expect(end.paths.counters.answersUnexpected).toBe(100);
});

test("probes of a member are answered in kind by the way they came, at a bounded rate", () => {
  const end = relayed();
  end.run(5_000);
  const before = end.sent.length;
  for (let number = 0; number < 1_000; number += 1) {
    const bytes = encodePathMessage({ kind: "probe", number });
    end.paths.handleMessage(end.now, slot, bytes, other);
  }
  end.run(0);
  const answers = end.sent.slice(before).filter(({ type }) => type === 14);
  expect(answers.every(({ by }) => by === formatEndpoint(other))).toBe(true);
  expect(answers.length).toBeGreaterThan(10);
  expect(answers.length).toBeLessThanOrEqual(80);
  expect(end.paths.counters.answersHeld).toBe(1_000 - answers.length);
});
