/** The local page in a real browser, on a real mesh; what it looks like is left in a picture. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Node, untilConnected } from "./support/mesh.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

const pictures = new URL("../../bench-results/pictures", import.meta.url).pathname;
const loopback = "127.0.0.1:9586";
const chromium = Bun.which("chromium") ?? Bun.which("chromium-browser");

let stage: Stage;
let alpha: Node;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  stage = Stage.open();
  const hosts = await stage.switched(4);
  const nodes = await Promise.all(
    ["alpha", "beta", "gamma", "delta"].map((name, at) => Node.make(hosts[at] as Host, name)),
  );
  for (const node of nodes) await node.trust(...nodes.filter((other) => other !== node));
  [alpha] = nodes as [Node];
  await alpha.up("--http", loopback, "--http", "mesh:9586");
  // The last one stays away: a member without a path belongs into the picture.
  for (const node of nodes.slice(1, 3)) await node.up("--seed", alpha.seed);
  await untilConnected(nodes.slice(0, 3), 10_000);
}, 60_000);

afterAll(closeStages);

/** The page's text and shapes after some seconds of its own time. */
async function browse(url: string, ...more: string[]): Promise<string> {
  const profile = join(stage.directory, "profile");
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"];
  const command = [...flags, `--user-data-dir=${profile}`, "--virtual-time-budget=4000", ...more];
  const options = { timeoutMs: 60_000, env: { HOME: stage.directory } };
  return await alpha.host.runOk([chromium as string, ...command, url], options);
}

test("the status takes the token of this start; at mesh places there is no page", async () => {
  const address = (await alpha.ok("page")).trim();
  expect(address).toMatch(/^http:\/\/127\.0\.0\.1:9586\/#[\w-]{32}$/);
  const token = address.split("#")[1] as string;
  const get = async (...words: string[]): Promise<string> =>
    await alpha.host.runOk(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", ...words]);
  const status = `http://${loopback}/api/status`;
  expect(await get(status)).toBe("401");
  expect(await get("-H", `Authorization: Bearer ${token}x`, status)).toBe("401");
  expect(await get("-H", `Authorization: Bearer ${token}`, status)).toBe("200");
  expect(await get(`http://[${await alpha.address(6)}]:9586/`)).toBe("404");
});

test("a browser shows every member with its path, and no script of another's making runs", async () => {
  if (chromium === null) {
    console.info("not looked at: there is no chromium here");
    return;
  }
  const address = (await alpha.ok("page")).trim();
  const dom = await browse(address, "--dump-dom");
  expect(dom).toContain("2 of 3 members are connected");
  for (const name of ["beta", "gamma", "delta"]) expect(dom).toContain(`<td>${name}</td>`);
  expect(dom.match(/<line [^>]*class="direct"/g)).toHaveLength(2);
  expect(dom.match(/<line [^>]*class="none"/g)).toHaveLength(1);
  expect(dom).toMatch(/direct (192\.0\.2\.2|\[2001:db8::2\]):51820/);

  mkdirSync(pictures, { recursive: true });
  const picture = join(pictures, "page.png");
  rmSync(picture, { force: true });
  await browse(address, `--screenshot=${picture}`, "--window-size=1000,900");
  expect(existsSync(picture)).toBe(true);
  expect(readFileSync(picture).subarray(1, 4).toString()).toBe("PNG");
}, 120_000);

test("without the token a browser says so", async () => {
  if (chromium === null) {
    console.info("not looked at: there is no chromium here");
    return;
  }
  const dom = await browse(`http://${loopback}/`, "--dump-dom");
  expect(dom).toContain("the token is wrong: open what meshvpn page prints");
  expect(dom).not.toContain("<td>");
}, 120_000);
