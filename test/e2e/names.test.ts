/** NAME.mesh as programs on a machine ask for it, and what systemd-resolved would be told. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Node, untilConnected } from "./support/mesh.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

/** Asks as a program does, by UDP; the addresses, or the error. */
async function ask(host: Host, server: string, name: string, family: 4 | 6): Promise<string> {
  const script = `
    const { Resolver } = require("node:dns").promises;
    const resolver = new Resolver();
    resolver.setServers([${JSON.stringify(`[${server}]:53`)}]);
    try { console.log((await resolver.resolve${family}(${JSON.stringify(name)})).join(" ")); }
    catch (error) { console.log(error.code); }`;
  return (await host.runOk([process.execPath, "-e", script])).trim();
}

test("members are found by name, at this node's address in the mesh alone", async () => {
  await using stage = Stage.open();
  const [left, right] = await stage.pair();
  const bin = join(stage.directory, "bin");
  const told = join(stage.directory, "resolvectl.log");
  mkdirSync(bin);
  writeFileSync(join(bin, "resolvectl"), `#!/bin/sh\necho "$@" >> ${told}\n`);
  chmodSync(join(bin, "resolvectl"), 0o755);
  const alpha = await Node.make(left, "alpha", { env: { PATH: `${bin}:${process.env.PATH}` } });
  const beta = await Node.make(right, "beta");
  await alpha.ok("trust", beta.identity, "--name", "laptop");
  await beta.trust(alpha);
  await alpha.up("--names", "53");
  await beta.up("--seed", alpha.seed);
  await untilConnected([alpha, beta], 10_000);

  const server = await alpha.address(6);
  expect(await ask(left, server, "laptop.mesh", 6)).toBe(await beta.address(6));
  expect(await ask(left, server, "laptop.mesh", 4)).toBe(await beta.address(4));
  expect(await ask(left, server, "beta.mesh", 4)).toBe(await beta.address(4));
  expect(await ask(left, server, "alpha.mesh", 6)).toBe(server);
  expect(await ask(left, server, "nobody.mesh", 6)).toBe("ENOTFOUND");
  expect(await ask(right, server, "laptop.mesh", 6)).toBe(await beta.address(6));
  const sockets = await left.runOk(["ss", "-Hlun", "sport", "=", "53"]);
  expect(sockets.trim().split("\n")).toHaveLength(1);
  expect(sockets).toContain(`[${server}]:53`);
  expect(readFileSync(told, "utf8").split("\n")).toEqual([
    `dns ${alpha.interfaceName} [${server}]:53`,
    `domain ${alpha.interfaceName} ~mesh`,
    `default-route ${alpha.interfaceName} no`,
    "",
  ]);
}, 60_000);
