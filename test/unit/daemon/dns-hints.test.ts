/** What is taken of DNS records, and when they are asked for. */
import { describe, expect, test } from "bun:test";
import { DnsHints, dnsHintsMax, type ServiceRecord } from "../../../src/daemon/dns-hints.ts";
import { placeText } from "../../../src/daemon/host-resolver.ts";

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";

/** A domain whose records, and a clock that, the test holds. */
class Scene {
  texts: readonly (readonly string[])[] | Error = new Error("no such name");
  services: readonly ServiceRecord[] | Error = new Error("no such name");
  readonly told: string[][] = [];
  readonly warnings: string[] = [];
  readonly asked: string[] = [];
  readonly waits: { readonly ms: number; readonly call: () => void }[] = [];
  readonly hints = new DnsHints(["example.org"], {
    resolveTxt: (name) => this.#answer(name, this.texts),
    resolveSrv: (name) => this.#answer(name, this.services),
    later: (ms, call) => {
      const wait = { ms, call };
      this.waits.push(wait);
      return () => void this.waits.splice(this.waits.indexOf(wait), 1);
    },
    changed: (hints) =>
      this.told.push(
        hints.map((hint) => `${hint.identity === undefined ? "" : "key@"}${placeText(hint)}`),
      ),
    warn: (text) => this.warnings.push(text),
  });

  async start(): Promise<this> {
    this.hints.start();
    await this.settle();
    return this;
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 8; turn += 1) await Promise.resolve();
  }

  async pass(): Promise<number> {
    const wait = this.waits.pop();
    wait?.call();
    await this.settle();
    return wait?.ms ?? 0;
  }

  #answer<T>(name: string, records: readonly T[] | Error): Promise<readonly T[]> {
    this.asked.push(name);
    return records instanceof Error ? Promise.reject(records) : Promise.resolve(records);
  }
}

function service(name: string, priority: number, weight = 0): ServiceRecord {
  return { name, port: 51_820, priority, weight };
}

describe("of a domain's records", () => {
  test("those of the form are taken, texts first, services by priority and weight", async () => {
    const scene = new Scene();
    scene.texts = [[`meshvpn1 ${key}`, "@alpha:1"], ["meshvpn1 [2001:db8::1]:2"]];
    scene.services = [service("late", 9), service("light", 1, 1), service("heavy", 1, 5)];
    await scene.start();
    expect(scene.asked).toEqual(["_meshvpn.example.org", "_meshvpn._udp.example.org"]);
    expect(scene.told).toEqual([
      ["key@alpha:1", "[2001:db8::1]:2", "heavy:51820", "light:51820", "late:51820"],
    ]);
    expect(scene.hints.refused).toBe(0);
  });

  test("others are refused and counted", async () => {
    const scene = new Scene();
    const bad = [
      "v=spf1 -all",
      "meshvpn1",
      "meshvpn1 alpha",
      "meshvpn2 alpha:1",
      "meshvpn1 a:1 b:2",
    ];
    scene.texts = [...bad.map((text) => [text]), [`meshvpn1 ${"a.".repeat(300)}b:1`]];
    scene.services = [service(".", 0), service("1.2.3", 0), { ...service("a", 0), port: 0 }];
    await scene.start();
    expect(scene.told).toEqual([]);
    expect(scene.hints.refused).toBe(9);
  });

  test("no more than the bound are", async () => {
    const scene = new Scene();
    scene.texts = Array.from({ length: 5_000 }, (_, at) => [`meshvpn1 host-${at}:1`]);
    await scene.start();
    expect(scene.told[0]).toHaveLength(dnsHintsMax);
    expect(scene.hints.refused).toBe(5_000 - dnsHintsMax);
  });
});

describe("a domain is asked", () => {
  test("again after a failure, ever later, and warned of once", async () => {
    const scene = await new Scene().start();
    const waits: number[] = [];
    for (let at = 0; at < 8; at += 1) waits.push(await scene.pass());
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    expect(scene.warnings).toHaveLength(1);
  });

  test("every five minutes, or sooner when nobody is reached; what it said stays", async () => {
    const scene = new Scene();
    scene.texts = [["meshvpn1 alpha:1"]];
    await scene.start();
    expect(scene.waits.map(({ ms }) => ms)).toEqual([300_000]);
    scene.texts = new Error("gone");
    scene.hints.refresh();
    await scene.settle();
    expect(scene.told).toEqual([["alpha:1"]]);
    expect(scene.waits.map(({ ms }) => ms)).toEqual([1_000]);
    scene.hints.stop();
    expect(scene.waits).toEqual([]);
  });
});
