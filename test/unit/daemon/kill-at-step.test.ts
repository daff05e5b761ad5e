import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeBase64 } from "../../../src/base/base64.ts";
import { removeLeftovers } from "../../../src/daemon/files.ts";
import { readMembers, readMemory } from "../../../src/daemon/state.ts";
import {
  readCertificate,
  readInvites,
  readKeys,
  readNetwork,
  readSigned,
  readStatements,
  readToken,
  writeToken,
} from "../../../src/daemon/trust-files.ts";
import { signCertificate } from "../../../src/trust/certificate.ts";
import { identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import { signRevocation } from "../../../src/trust/revocation.ts";
import { type KillAtStepState, writeAll } from "../../support/kill-at-step.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");
const organisation = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(7)));
const child = new URL("../../support/kill-at-step.ts", import.meta.url).pathname;
let scene: string;

beforeAll(() => {
  scene = mkdtempSync(join(tmpdir(), "meshvpn-kill-"));
});

afterAll(() => rmSync(scene, { recursive: true }));

function stateOf(version: number): KillAtStepState {
  const identity = new Uint8Array(32).fill(9);
  const certificate = signCertificate(crypto, networkId, organisation, {
    identity,
    issuedWallMs: version,
    expiresWallMs: 5,
    isVouch: false,
    name: "",
    groups: [],
  });
  const revocation = signRevocation(crypto, networkId, organisation, identity, version);
  return {
    version,
    record: encodeBase64(new Uint8Array(200).fill(version)),
    certificate: encodeBase64(certificate),
    statement: encodeBase64(Uint8Array.of(1, ...revocation)),
    key: encodeBase64(identity),
  };
}

/** Of each file the version, in the order in which they are written; anything damaged throws. */
function versions(directory: string): number[] {
  const warn = (text: string): void => {
    throw new Error(text);
  };
  const [members] = readMembers(directory, warn);
  const [statement] = readStatements(directory, warn);
  const [signed] = readSigned(directory, warn);
  const [invite] = readInvites(directory, warn);
  const [revoked] = readKeys(directory, "revoked", warn);
  const certificate = readCertificate(directory, warn);
  const issued = (bytes: Uint8Array | undefined, at: number): number => bytes?.[at] ?? -1;
  return [
    readMemory(directory, warn).sequence,
    members?.[0] ?? -1,
    issued(statement, 65),
    invite?.hash[0] ?? -1,
    readNetwork(directory, warn)?.id[0] ?? -1,
    Number(revoked?.name.slice(1) ?? -1),
    issued(signed, 65),
    issued(certificate, 64),
    readToken(directory, warn) === undefined ? 2 : 1,
  ];
}

test("kill -9 after any system call of the writer leaves every file whole, and what came first first", async () => {
  const before = join(scene, "before");
  writeAll(before, stateOf(1));
  writeToken(before, "token");
  expect(versions(before)).toEqual(new Array<number>(9).fill(1));
  const file = join(scene, "state.json");
  writeFileSync(file, JSON.stringify(stateOf(2)));

  const kill = async (step: number): Promise<{ directory: string; calls: number }> => {
    const directory = join(scene, `${step}`);
    cpSync(before, directory, { recursive: true });
    const ran = Bun.spawn([process.execPath, child, directory, `${step}`, file], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const [said] = await Promise.all([new Response(ran.stdout).text(), ran.exited]);
    expect(ran.signalCode).toBe(step === 0 ? null : "SIGKILL");
    return { directory, calls: Number(said) };
  };

  const whole = await kill(0);
  expect(versions(whole.directory)).toEqual(new Array<number>(9).fill(2));
  expect(whole.calls).toBeGreaterThan(60);
  const seen = new Set<string>();
  const tryStep = async (step: number): Promise<void> => {
    const { directory } = await kill(step);
    const found = versions(directory);
    // What was written first is as new as what came after it, or newer.
    expect(found).toEqual(found.toSorted((a, b) => b - a));
    seen.add(found.join(""));
    removeLeftovers(directory);
    expect(
      readdirSync(directory, { recursive: true }).filter((name) => `${name}`.endsWith(".new")),
    ).toEqual([]);
    writeAll(directory, stateOf(2));
    expect(versions(directory)).toEqual(new Array<number>(9).fill(2));
    rmSync(directory, { recursive: true });
  };
  for (let step = 1; step <= whole.calls; step += 4) {
    const some = [step, step + 1, step + 2, step + 3].filter((each) => each <= whole.calls);
    await Promise.all(some.map(tryStep));
  }
  // From nothing written to all of it: every stage was met.
  expect(seen.size).toBe(10);
}, 120_000);
