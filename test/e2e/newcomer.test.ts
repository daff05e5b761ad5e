/**
 * README.md as somebody follows it who has two machines and the artefacts: its commands are read out
 * of it and typed, word for word, on machines that have nothing of ours. One installs by npm, the
 * other takes the single file.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { platformHere } from "../../scripts/lib/package/platforms.ts";
import { root } from "./support/implementations.ts";
import { Machine } from "./support/machine.ts";
import { packingMsMax, published } from "./support/packages.ts";
import type { Registry } from "./support/registry.ts";
import { closeStages, Stage } from "./support/stage.ts";

/** From the end of the installation until the two reach each other. */
const joinedMsMax = 60_000;

let out: string;
let registry: Registry;
let stage: Stage;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  ({ out, registry } = await published());
  // Ours is in no registry; Bun is.
  registry.hide(/meshvpn/);
  stage = Stage.open();
}, packingMsMax);

afterAll(async () => {
  await closeStages();
  registry?.[Symbol.dispose]();
});

/** The lines of the code blocks of a section, without their comments. */
function commands(section: string): string[] {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const [, text = ""] = readme.split(`\n## ${section}\n`);
  const body = text.split("\n## ", 1)[0] as string;
  const blocks = [...body.matchAll(/^```\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
  return blocks.flatMap((block) =>
    block
      .split("\n")
      .map((line) => line.replace(/\s+#.*/, ""))
      .filter((line) => line !== ""),
  );
}

test("two clean machines are a mesh in two commands each, as README.md has them", async () => {
  const [left, right] = await stage.pair();
  const { arch, libc } = platformHere();
  const [byNpm = "", byFile = ""] = commands("Installing").map((line) =>
    line.replaceAll("linux-x64-gnu", `linux-${arch}-${libc}`),
  );
  const shell = ["sh", "env", "dirname", "readlink", "uname"];
  const one = await Machine.make(left, "one", [...shell, "node", "npm"], {
    npm_config_registry: registry.url,
  });
  const two = await Machine.make(right, "two", ["sh", "install", "ping"]);
  for (const machine of [one, two]) {
    symlinkSync(out, join(machine.directory, "dist"));
  }
  await one.ok(byNpm, { timeoutMs: 120_000, outside: true });
  await two.ok(byFile);

  const start = performance.now();
  const [first = "", invite = "", join_ = "", status = ""] = commands(
    "A first mesh on two machines",
  );
  expect((await one.type(first)).code).toBe(0);
  const token = (await one.ok(invite)).trim();
  expect(await two.ok(join_.replace("TOKEN", token))).toContain("joined ");
  const shown = await two.ok(status);
  const ms = performance.now() - start;
  console.info(`from the end of the installation to a mesh of two: ${Math.round(ms)} ms`);
  expect(shown).toMatch(/^member\tone\t.*\talive\tdirect /m);
  expect(ms).toBeLessThan(joinedMsMax);
  expect(await two.ok("meshvpn ping one --count 1")).toContain("one");
  expect((await two.type("meshvpn doctor")).code).toBe(0);
  expect((await one.type("meshvpn doctor two")).code).toBe(0);
  for (const machine of [one, two]) await machine.ok("meshvpn down");
}, 180_000);
