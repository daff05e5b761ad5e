import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import { readConfig } from "../../../src/daemon/config.ts";
import { writeToken } from "../../../src/daemon/trust-files.ts";
import { TrustStore, tokenIsNewMs, trustWords } from "../../../src/daemon/trust-store.ts";
import type { MeshNode } from "../../../src/mesh/node.ts";
import { identityOf } from "../../../src/trust/identity.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";

const directory = mkdtempSync(join(tmpdir(), "meshvpn-trust-store-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("what a node says of its trust when it starts", () => {
  test("counts organisations where it goes by one", () => {
    expect(trustWords({ trusted: 2, organisations: 0 })).toBe("2 trusted");
    expect(trustWords({ trusted: 0, organisations: 1 })).toBe("0 trusted, 1 organisation");
    expect(trustWords({ trusted: 0, organisations: 2 })).toBe("0 trusted, 2 organisations");
  });

  test("is no warning of an invitation that was given a moment ago", () => {
    const none = (): never => {
      throw new MeshError("no_such_file", "", "", "");
    };
    const crypto = Object.assign(new NobleCrypto(), {
      load: none,
      store: none,
      bytes: none,
      below: none,
    });
    const seed = crypto.importSecret(new Uint8Array(32).fill(1));
    const flags = { state_dir: directory };
    const store = new TrustStore({
      crypto,
      config: readConfig({ flags, environment: {}, file: "/dev/null", hostname: "a" }),
      identity: identityOf(crypto, seed),
      now: { ms: 0, wallMs: Date.now() },
      warn: () => undefined,
    });
    writeToken(directory, "given now");
    const node = { status: () => ({ joining: true, certificate: undefined }) };
    const at = (wallMs: number): readonly string[] =>
      store.warnings({ ms: 0, wallMs }, node as unknown as MeshNode);
    expect(at(Date.now())).toEqual([]);
    expect(at(Date.now() + tokenIsNewMs + 1_000)).toEqual([
      expect.stringContaining("not redeemed yet"),
    ]);
  });
});
