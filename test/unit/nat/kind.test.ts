import { expect, test } from "bun:test";
import { Observations, observationLifetimeMs, observationsMax } from "../../../src/nat/kind.ts";

const at = (address: string, port = 51_820) => ({ address, port });

function seen(...rows: readonly [observer: string, address: string, port: number][]): Observations {
  const observations = new Observations();
  for (const [observer, address, port] of rows) {
    observations.add({ observer: at(observer), seen: at(address, port), atMs: 0 });
  }
  return observations;
}

test("the kind of NAT follows from what distinct observers see", () => {
  const own = ["192.168.1.2"];
  expect(seen().kind(0, own, 51_820)).toBe("unknown");
  expect(seen(["192.0.2.1", "192.168.1.2", 51_820]).kind(0, own, 51_820)).toBe("none");
  // Of one observer it is a guess: by whether the port was kept.
  expect(seen(["192.0.2.1", "192.0.2.9", 4000]).kind(0, own, 51_820)).toBe("hard");
  expect(seen(["192.0.2.1", "192.0.2.9", 51_820]).kind(0, own, 51_820)).toBe("easy");
  const same = seen(["192.0.2.1", "192.0.2.9", 4000], ["192.0.2.2", "192.0.2.9", 4000]);
  expect(same.kind(0, own, 51_820)).toBe("easy");
  const other = seen(["192.0.2.1", "192.0.2.9", 4000], ["192.0.2.2", "192.0.2.9", 4001]);
  expect(other.kind(0, own, 51_820)).toBe("hard");
  // One observer that sees another port now is one observer.
  const again = seen(["192.0.2.1", "192.0.2.9", 1], ["192.0.2.1", "192.0.2.9", 51_820]);
  expect(again.kind(0, own, 51_820)).toBe("easy");
  expect(seen(["2001:db8::1", "2001:db8::9", 4000]).kind(0, own, 51_820)).toBe("unknown");
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
