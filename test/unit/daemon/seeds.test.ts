import { describe, expect, test } from "bun:test";
import { formatEndpoint } from "../../../src/base/endpoint.ts";
import { parseSeed, SeedResolver } from "../../../src/daemon/seeds.ts";
import { formatIdentity } from "../../../src/trust/identity.ts";

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";

describe("a seed's text", () => {
  const good: readonly [string, string, number][] = [
    ["192.0.2.1:51820", "192.0.2.1", 51820],
    ["[2001:DB8::1]:1", "2001:db8::1", 1],
    ["alpha.example.org:65535", "alpha.example.org", 65535],
    ["alpha:9", "alpha", 9],
    ["a_b.example:9", "a_b.example", 9],
    ["alpha.example.:9", "alpha.example.", 9],
  ];
  for (const [text, host, port] of good) {
    test(`${text} is taken, with and without a key`, () => {
      expect(parseSeed(text)).toEqual({ host, port });
      const keyed = parseSeed(`${key}@${text}`);
      expect(keyed).toMatchObject({ host, port });
      expect(formatIdentity(keyed?.identity as Uint8Array)).toBe(key);
    });
  }

  const bad = [
    ...["", ":", "alpha", "alpha:", ":51820", "alpha:0", "alpha:65536", "alpha:-1", "alpha:1:2"],
    ...["2001:db8::1:51820", "[192.0.2.1]:1", "[alpha]:1", "[::1:1", "1.2.3:4", "1.2.3.256:4"],
    ...["al pha:1", "-alpha:1", "alpha-:1", "a..b:1", "@alpha:1", "short@alpha:1", `${key}@`],
    ...[`${"a".repeat(64)}:1`, `${"a.".repeat(127)}a:1`, `${key}${key}@alpha:1`],
    `${"A".repeat(43)}=@alpha:1`,
  ];
  for (const text of bad) {
    test(`${JSON.stringify(text)} is not`, () => expect(parseSeed(text)).toBeUndefined());
  }
});

/** A resolver whose answers, and whose clock, the test holds. */
class Scene {
  readonly told: string[][] = [];
  readonly warnings: string[] = [];
  readonly waits: { ms: number; call: () => void }[] = [];
  readonly asked: string[] = [];
  answer: () => Promise<readonly string[]> = () => Promise.resolve([]);
  readonly resolver: SeedResolver;

  constructor(...texts: string[]) {
    const seeds = texts.map((text) => parseSeed(text)).filter((seed) => seed !== undefined);
    expect(seeds).toHaveLength(texts.length);
    this.resolver = new SeedResolver(seeds, {
      lookup: (host) => {
        this.asked.push(host);
        return this.answer();
      },
      later: (ms, call) => {
        const wait = { ms, call };
        this.waits.push(wait);
        return () => void this.waits.splice(this.waits.indexOf(wait), 1);
      },
      changed: (found) => this.told.push(found.map(({ endpoint }) => formatEndpoint(endpoint))),
      warn: (text) => this.warnings.push(text),
    });
    this.resolver.start();
  }

  /** Until what was asked is answered. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 8; turn += 1) await Promise.resolve();
  }

  /** The one wait there is comes to its end; how long it was. */
  async pass(): Promise<number> {
    expect(this.waits).toHaveLength(1);
    const wait = this.waits.pop();
    wait?.call();
    await this.settle();
    return wait?.ms ?? 0;
  }
}

describe("seeds are found:", () => {
  test("an address needs no resolver", () => {
    const scene = new Scene("192.0.2.1:1", "[2001:db8::1]:2");
    expect(scene.told).toEqual([["192.0.2.1:1", "[2001:db8::1]:2"]]);
    expect(scene.asked).toEqual([]);
  });

  test("a name has all its addresses, and those that were there already are told first", async () => {
    const scene = new Scene("192.0.2.1:1", "alpha:2");
    scene.answer = () => Promise.resolve([]);
    expect(scene.told).toEqual([["192.0.2.1:1"]]);
    await scene.settle();
    scene.answer = () => Promise.resolve(["2001:DB8::1", "192.0.2.9"]);
    await scene.pass();
    expect(scene.told.at(-1)).toEqual(["192.0.2.1:1", "192.0.2.9:2", "[2001:db8::1]:2"]);
  });

  test("a failure is said once, and the next attempt comes ever later, up to a minute", async () => {
    const scene = new Scene("alpha:1");
    scene.answer = () => Promise.reject(new Error("no such name"));
    await scene.settle();
    const waits: number[] = [];
    for (let i = 0; i < 9; i += 1) waits.push(await scene.pass());
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
    expect(scene.warnings).toHaveLength(1);
    expect(scene.told).toEqual([[]]);
  });

  test("a success starts the waits anew, and is looked at again after five minutes", async () => {
    const scene = new Scene("alpha:1");
    await scene.settle();
    scene.answer = () => Promise.resolve(["192.0.2.1"]);
    expect(await scene.pass()).toBe(1000);
    scene.answer = () => Promise.reject(new Error("gone"));
    expect(await scene.pass()).toBe(300_000);
    expect(await scene.pass()).toBe(1000);
    expect(scene.warnings).toHaveLength(2);
    // What was known stays known.
    expect(scene.told.at(-1)).toEqual(["192.0.2.1:1"]);
  });

  test("an answer in another order is no change", async () => {
    const scene = new Scene("alpha:1");
    scene.answer = () => Promise.resolve(["192.0.2.1", "192.0.2.2"]);
    await scene.settle();
    await scene.pass();
    scene.answer = () => Promise.resolve(["192.0.2.2", "192.0.2.1"]);
    await scene.pass();
    expect(scene.told).toEqual([[], ["192.0.2.1:1", "192.0.2.2:1"]]);
  });

  test("a name with a thousand addresses gives eight, and what is no address none", async () => {
    const scene = new Scene("alpha:1");
    const many = Array.from({ length: 1000 }, (_, at) => `10.0.${at >> 8}.${at & 255}`);
    scene.answer = () => Promise.resolve(["nonsense", ...many]);
    await scene.settle();
    await scene.pass();
    expect(scene.told.at(-1)).toHaveLength(8);
  });

  test("after stop nobody is told and nothing waits", async () => {
    const scene = new Scene("alpha:1");
    await scene.settle();
    scene.answer = () => Promise.resolve(["192.0.2.1"]);
    const wait = scene.waits[0];
    scene.resolver.stop();
    expect(scene.waits).toHaveLength(0);
    wait?.call();
    await scene.settle();
    expect(scene.told).toEqual([[]]);
  });
});
