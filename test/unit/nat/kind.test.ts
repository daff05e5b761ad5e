import { expect, test } from "bun:test";
import { Observations, observationLifetimeMs, observationsMax } from "../../../src/nat/kind.ts";

const at = (address: string, port = 51_820) => ({ address, port });

type Row = readonly [observer: string, address: string, port: number];

function seen(...rows: readonly Row[]): Observations {
  const observations = new Observations();
  for (const [observer, address, port] of rows) {
    observations.add({ observer: at(observer), seen: at(address, port), atMs: 0 });
  }
  return observations;
}

test("the kind of NAT follows from what distinct observers see", () => {
  const own = ["192.168.1.2"];
  expect(seen().judge(0, own, 51_820).kind).toBe("unknown");
  expect(seen(["192.0.2.1", "192.168.1.2", 51_820]).judge(0, own, 51_820).kind).toBe("none");
  // Of one observer it is a guess: by whether the port was kept.
  expect(seen(["192.0.2.1", "192.0.2.9", 4000]).judge(0, own, 51_820).kind).toBe("hard");
  expect(seen(["192.0.2.1", "192.0.2.9", 51_820]).judge(0, own, 51_820).kind).toBe("easy");
  const same = seen(["192.0.2.1", "192.0.2.9", 4000], ["192.0.2.2", "192.0.2.9", 4000]);
  expect(same.judge(0, own, 51_820).kind).toBe("easy");
  const other = seen(["192.0.2.1", "192.0.2.9", 4000], ["192.0.2.2", "192.0.2.9", 4001]);
  expect(other.judge(0, own, 51_820).kind).toBe("hard");
  // One observer that sees another port now is one observer.
  const again = seen(["192.0.2.1", "192.0.2.9", 1], ["192.0.2.1", "192.0.2.9", 51_820]);
  expect(again.judge(0, own, 51_820).kind).toBe("easy");
  expect(seen(["2001:db8::1", "2001:db8::9", 4000]).judge(0, own, 51_820).kind).toBe("unknown");
});

test("a neighbour's word tells of the NAT to the outside only where there is no other", () => {
  const own = ["192.168.1.2", "100.64.0.2"];
  const neighbour = ["192.168.1.3", "192.168.1.2", 51_820] as const;
  const carrier = ["100.64.0.3", "100.64.0.2", 51_820] as const;
  const first = ["192.0.2.1", "192.0.2.9", 4000] as const;
  const judged = (...rows: readonly Row[]) => seen(...rows).judge(0, own, 51_820);
  expect(judged(neighbour)).toEqual({ kind: "none", isGuess: true });
  const hard = judged(neighbour, carrier, first, ["192.0.2.2", "192.0.2.9", 4001]);
  expect(hard).toEqual({ kind: "hard", isGuess: false });
  const easy = judged(neighbour, first, ["192.0.2.2", "192.0.2.9", 4000]);
  expect(easy).toEqual({ kind: "easy", isGuess: false });
  // What STUN says goes before one member's word, with or without neighbours.
  expect(judged(neighbour, first)).toEqual({ kind: "hard", isGuess: true });
  // A private network beyond the NAT sees its mapping.
  expect(judged(["10.0.0.1", "10.0.0.9", 51_820])).toEqual({ kind: "easy", isGuess: true });
});

test("from outside an own address means that there is no NAT, a private one while nobody differs", () => {
  const inside = ["192.0.2.1", "192.168.1.2", 51_820] as const;
  const judged = (own: string, ...rows: readonly Row[]) => seen(...rows).judge(0, [own], 51_820);
  expect(judged("192.168.1.2", inside)).toEqual({ kind: "none", isGuess: false });
  const mixed = judged("192.168.1.2", inside, ["192.0.2.2", "192.0.2.9", 4000]);
  expect(mixed).toEqual({ kind: "hard", isGuess: true });
  const none = { kind: "none", isGuess: false } as const;
  expect(judged("203.0.113.2", ["192.168.1.3", "203.0.113.2", 51_820])).toEqual(none);
  const differs = ["192.0.2.2", "192.0.2.9", 4000] as const;
  expect(judged("203.0.113.2", ["192.0.2.1", "203.0.113.2", 1], differs)).toEqual(none);
});

test("candidates are what is seen, the most often seen first, while it is fresh", () => {
  const observations = seen(
    ["192.0.2.1", "192.0.2.9", 4001],
    ["192.0.2.2", "192.0.2.9", 4000],
    ["192.0.2.3", "192.0.2.9", 4000],
  );
  expect(observations.candidates(0)).toEqual([at("192.0.2.9", 4000), at("192.0.2.9", 4001)]);
  expect(observations.candidates(observationLifetimeMs)).toEqual([]);
});

test("observers beyond the limit take the place of the oldest", () => {
  const observations = new Observations();
  for (let i = 0; i < 1_000; i += 1) {
    observations.add({
      observer: at(`10.0.${i >> 8}.${i & 255}`),
      seen: at("192.0.2.9", i + 1),
      atMs: 0,
    });
  }
  expect(observations.candidates(0)).toHaveLength(observationsMax);
  expect(observations.candidates(0)).toContainEqual(at("192.0.2.9", 1_000));
});
