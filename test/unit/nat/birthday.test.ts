import { expect, test } from "bun:test";
import { birthdayRole, Guesses, guessesMax, outsideOf, Sprays } from "../../../src/nat/birthday.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

test("chance is helped along only where one NAT is easy and the other hard", () => {
  const kinds = ["unknown", "none", "easy", "hard", "blocked"] as const;
  const roles = kinds.flatMap((own) =>
    kinds.flatMap((other) => {
      const role = birthdayRole(own, other);
      return role === undefined ? [] : [`${own} ${other} ${role}`];
    }),
  );
  expect(roles).toEqual(["easy hard guess", "hard easy spray"]);
});

test("what is outside is the first public IPv4 address", () => {
  const at = (address: string) => ({ address, port: 9 });
  const inside = [
    "10.1.2.3",
    "192.168.1.2",
    "172.31.0.1",
    "100.64.0.1",
    "169.254.1.1",
    "2001:db8::1",
  ];
  expect(outsideOf(inside.map(at))).toBeUndefined();
  for (const address of ["172.32.0.1", "100.128.0.1", "192.0.2.1"]) {
    expect(outsideOf([...inside, address].map(at))).toEqual(at(address));
  }
});

test("guesses are 1,024 distinct ports, then there is a rest", () => {
  const guesses = new Guesses(new SeededRandom(3));
  expect(guesses.atMs).toBeUndefined();
  expect(guesses.start(1_000, "192.0.2.1")).toBe(true);
  expect(guesses.start(1_000, "192.0.2.1")).toBe(false);
  const ports = new Set<number>();
  let batches = 0;
  let nowMs = 1_000;
  for (; guesses.atMs !== undefined; nowMs = guesses.atMs ?? nowMs) {
    for (const { address, port } of guesses.take(nowMs, guessesMax)) {
      expect(address).toBe("192.0.2.1");
      ports.add(port);
    }
    batches += 1;
    expect(guesses.take(nowMs, guessesMax)).toEqual([]);
  }
  expect(ports.size).toBe(guessesMax);
  expect(Math.min(...ports)).toBeGreaterThanOrEqual(1_024);
  expect(Math.max(...ports)).toBeLessThanOrEqual(65_535);
  expect(batches).toBeGreaterThan(8);
  expect(guesses.start(nowMs, "192.0.2.1")).toBe(false);
  // So long after the last, whenever that was: in no minute there are more.
  expect(guesses.start(nowMs + 59_999, "192.0.2.1")).toBe(false);
  expect(guesses.start(nowMs + 60_000, "192.0.2.1")).toBe(true);
});

test("guesses beyond what the node may send wait for their turn, and none is lost", () => {
  const guesses = new Guesses(new SeededRandom(3));
  guesses.start(0, "192.0.2.1");
  const ports = new Set<number>();
  for (let turn = 0; guesses.atMs !== undefined; turn += 1) {
    const most = [0, 5, 1_000][turn % 3] as number;
    const taken = guesses.take(guesses.atMs, most);
    expect(taken.length).toBeLessThanOrEqual(most);
    for (const { port } of taken) ports.add(port);
  }
  expect(ports.size).toBe(guessesMax);
});

test("an answer to a guess names the port and ends the guessing", () => {
  const guesses = new Guesses(new SeededRandom(3));
  guesses.start(0, "192.0.2.1");
  const [guess] = guesses.take(0, 1);
  if (guess === undefined) throw new Error("no guess");
  guesses.sent(77, guess);
  expect(guesses.answered(78)).toBeUndefined();
  expect(guesses.answered(77)).toEqual(guess);
  expect(guesses.atMs).toBeUndefined();
});

test("mappings are made at most once in 30 s", () => {
  const sprays = new Sprays();
  expect([0, 1_000, 29_999, 30_000].map((ms) => sprays.start(ms))).toEqual([
    true,
    false,
    false,
    true,
  ]);
});
