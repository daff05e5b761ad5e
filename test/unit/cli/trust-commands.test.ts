/** The commands by which a node comes in or is put out, as far as they need no daemon. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { identityOf } from "../../../src/trust/identity.ts";
import { formatInvite, type Invite } from "../../../src/trust/invite.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";

const program = new URL("../../../bin/meshvpn", import.meta.url).pathname;
const crypto = new NobleCrypto();
let scene: string;

beforeEach(() => {
  scene = mkdtempSync(join(tmpdir(), "meshvpn-trust-"));
});

afterEach(() => rmSync(scene, { recursive: true }));

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

/** On a machine of that name: state directory and socket of its own. */
async function on(machine: string, args: readonly string[], input = ""): Promise<Ran> {
  const child = Bun.spawn([program, ...args], {
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
    env: {
      ...process.env,
      MESHVPN_BUN: process.execPath,
      MESHVPN_STATE_DIR: join(scene, machine),
      MESHVPN_CONTROL_SOCKET: join(scene, `${machine}.sock`),
    },
  });
  const [out, error, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out: out.trim(), error };
}

async function ok(machine: string, ...args: string[]): Promise<string> {
  const ran = await on(machine, args);
  expect([
    ran.code,
    ran.error.replace(/^meshvpn: (give that line|that holds on)[^\n]*\n/, ""),
  ]).toEqual([0, ""]);
  return ran.out;
}

function expectRefusal(ran: Ran, code: number, words: string): void {
  expect(ran.error).toMatch(/^meshvpn: [^\n]+: [^\n]+; [^\n]+\n$/);
  expect(ran.error).toContain(words);
  expect([ran.code, ran.out]).toEqual([code, ""]);
}

function token(changes: Partial<Invite> = {}): string {
  const issuer = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(1)));
  return formatInvite(crypto, issuer, {
    networkId: new Uint8Array(32).fill(3),
    name: "office",
    organisation: new Uint8Array(32).fill(4),
    issuer: issuer.publicKey,
    secret: new Uint8Array(16).fill(5),
    expiresWallMs: Date.now() + 60_000,
    ipv4Prefix: { address: "10.98.0.0", bits: 16 },
    seeds: [{ identity: issuer.publicKey, endpoint: { address: "192.0.2.1", port: 7 } }],
    ...changes,
  });
}

describe("init", () => {
  test("makes identity, organisation and network once, and can be done again until then", async () => {
    await on("a", ["keygen"]);
    const identity = await ok("a", "export");
    expect(await ok("a", "init", "--name", "office")).toContain(`identity: ${identity}`);
    expect(readdirSync(join(scene, "a")).toSorted()).toEqual([
      "certificate",
      "identity.key",
      "network.json",
      "organisation.key",
      "organisations",
      "wireguard.key",
    ]);
    expectRefusal(await on("a", ["init"]), 1, "this node is in one already");
  });

  test("is refused where others are trusted by key, who are elsewhere", async () => {
    await on("a", ["keygen"]);
    await ok("a", "trust", "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=", "--name", "bee");
    expectRefusal(await on("a", ["init"]), 1, "trusts others by key");
    await ok("a", "trust", "--remove", "bee");
    await ok("a", "init");
  });

  test("needs a daemon before it invites", async () => {
    await ok("a", "init");
    expectRefusal(await on("a", ["invite"]), 3, "not running");
    expectRefusal(await on("a", ["invite", "--ttl", "soon"]), 2, "30m, 12h or 90d");
    expectRefusal(await on("a", ["invite", "--uses", "0"]), 2, "a number from 1 to");
    expectRefusal(await on("a", ["invite", "--uses", "2", "--name", "b"]), 2, "a name is for one");
    expectRefusal(await on("a", ["invite", "--groups", "A"]), 2, "groups are at most 8");
  });
});

describe("join", () => {
  test("prepares a node that has nothing, and again with another token of that network", async () => {
    expect(await ok("b", "join", token(), "--no-up")).toContain("meshvpn up comes into office");
    const network = JSON.parse(readFileSync(join(scene, "b", "network.json"), "utf8"));
    expect(network).toMatchObject({ name: "office", prefix: "10.98.0.0/16" });
    const other = token({ secret: new Uint8Array(16).fill(6) });
    expect((await on("b", ["join", "-", "--no-up"], `${other}\n`)).code).toBe(0);
    expect(readFileSync(join(scene, "b", "join.token"), "utf8")).toBe(`${other}\n`);
  });

  test("refuses what is no token, changed, or expired, and keeps nothing", async () => {
    const good = token();
    const changed = `${good.slice(0, 60)}${good[60] === "A" ? "B" : "A"}${good.slice(61)}`;
    expectRefusal(await on("b", ["join", "hello"]), 2, "copy the whole line");
    expectRefusal(await on("b", ["join", changed]), 2, "copy the whole line");
    expectRefusal(await on("b", ["join", good.slice(0, -3)]), 2, "copy the whole line");
    expectRefusal(await on("b", ["join"]), 2, "no token is given");
    expectRefusal(await on("b", ["join", token({ expiresWallMs: 5 })]), 1, "ask for another");
    expect(existsSync(join(scene, "b"))).toBe(false);
  });

  test("refuses a node that is elsewhere already", async () => {
    await ok("a", "init", "--name", "home");
    expectRefusal(await on("a", ["join", token()]), 1, "in the network home already");
    await on("c", ["keygen"]);
    await ok("c", "trust", "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=");
    expectRefusal(await on("c", ["join", token()]), 1, "trusts others by key");
  });
});

test("a new identity takes another token of the network that the former one was in", async () => {
  await ok("b", "join", token(), "--no-up");
  const certificate = join(scene, "b", "certificate");
  await certifiedAs(await ok("b", "export"));
  expectRefusal(await on("b", ["join", token()]), 1, "a member of office already");
  const forced = await on("b", ["keygen", "--force"]);
  expect([forced.code, forced.error]).toEqual([0, expect.stringContaining("certificate.old")]);
  expect([existsSync(certificate), existsSync(`${certificate}.old`)]).toEqual([false, true]);
  expect(await ok("b", "join", token(), "--no-up")).toContain("meshvpn up comes into office");
  // Nor does one that stayed behind from an older version keep it out.
  copyFileSync(`${certificate}.old`, certificate);
  expect(await ok("b", "join", token(), "--no-up")).toContain("meshvpn up comes into office");

  async function certifiedAs(key: string): Promise<void> {
    await ok("admin", "org", "keygen");
    writeFileSync(certificate, `${await ok("admin", "org", "sign", key)}\n`);
  }
});

describe("an organisation", () => {
  async function organisation(): Promise<string> {
    return await ok("admin", "org", "keygen");
  }

  test("certifies a node, which takes its own certificate and no other's", async () => {
    const key = await organisation();
    expectRefusal(await on("admin", ["org", "keygen"]), 1, "there is one already");
    const [b, c] = [await ok("b", "keygen"), await ok("c", "keygen")];
    const words = ["--name", "bee", "--groups", "web,office", "--expires", "90d"];
    const certificate = await ok("admin", "org", "sign", b, ...words);
    expect(certificate).toMatch(/^mvtrust1_[A-Za-z0-9_-]+$/);
    expect(await ok("b", "trust", certificate)).toContain(`certified by ${key} until `);
    expectRefusal(await on("c", ["trust", certificate]), 1, `it is the certificate of ${b}`);
    expectRefusal(
      await on("b", ["trust", certificate, "--network", "other"]),
      1,
      "for this network",
    );
    expectRefusal(await on("b", ["trust", certificate.slice(0, -2)]), 2, "copy the whole line");
    expectRefusal(await on("c", ["org", "sign", c]), 1, "no organisation's key");
    expectRefusal(await on("admin", ["org", "sign", "short"]), 2, "is no public key");
    expectRefusal(await on("b", ["trust", token()]), 2, "meshvpn join TOKEN");
  });

  test("is trusted, listed and let go of by key or name", async () => {
    const key = await organisation();
    expect(await ok("b", "trust", "--org", key, "--name", "office")).toBe(
      `trusted: ${key} (office)`,
    );
    expect(await ok("b", "trust", "--list")).toBe(`${key}\toffice\torganisation`);
    expect(await ok("b", "trust", "--remove", "office")).toBe(`trusted no longer: ${key}`);
    expect(await ok("b", "trust", "--list")).toBe("");
  });

  test("revokes and vouches where it is trusted, and nowhere else", async () => {
    const key = await organisation();
    const b = await ok("b", "keygen");
    const revocation = await ok("admin", "org", "revoke", b);
    const vouch = await ok("admin", "org", "vouch", b);
    expectRefusal(await on("c", ["trust", revocation]), 1, "is not trusted here");
    await ok("c", "trust", "--org", key);
    expect(await ok("c", "trust", revocation)).toBe(`revoked: ${b}`);
    expect(await ok("c", "revoke", revocation)).toBe(`revoked: ${b}`);
    expect(await ok("c", "trust", vouch)).toBe(`vouched for: ${b}`);
    expectRefusal(await on("c", ["revoke", vouch]), 2, "it is a certificate or a vouch");
    expect(readdirSync(join(scene, "c", "signed")).length).toBe(2);
  });
});

test("revoke takes the operator's own word, and says how to find a key", async () => {
  const b = await ok("b", "keygen");
  await ok("a", "trust", b, "--name", "bee");
  expectRefusal(await on("a", ["revoke", "wasp"]), 2, "meshvpn trust --list or meshvpn peers");
  expectRefusal(await on("a", ["trust", "--remove", "wasp"]), 2, "cannot remove");
  expect(await ok("a", "revoke", "bee")).toBe(`revoked here: ${b} (bee)`);
});

test("revoke puts a key out here for good", async () => {
  const b = await ok("b", "keygen");
  await ok("a", "trust", b, "--name", "bee");
  expect(await ok("a", "revoke", b)).toBe(`revoked here: ${b}`);
  expect(await ok("a", "trust", "--list")).toBe(`${b}\t\trevoked`);
  expectRefusal(await on("a", ["revoke"]), 2, "no key is given");
  expectRefusal(await on("a", ["trust", b]), 1, "it was revoked here for good");
  const said = await on("a", ["revoke", b]);
  expect(said.error).toStartWith("meshvpn: that holds on this node alone: run it on the others");
  expect(said.error).toContain(`remove its file from ${join(scene, "a", "revoked")}`);
  rmSync(join(scene, "a", "revoked"), { recursive: true });
  expect(await ok("a", "trust", b)).toBe(`trusted: ${b}`);
  expectRefusal(await on("b", ["revoke", b]), 2, "this node's own identity");
  const own = await ok("own", "org", "keygen");
  expect(own).toHaveLength(44);
  expect((await on("own", ["revoke", b])).error).toContain("alone: meshvpn org revoke KEY puts");
});
