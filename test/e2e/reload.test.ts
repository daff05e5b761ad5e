/** A running daemon takes over what has changed, and says what it cannot. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

test("seeds, HTTP places and the log change while it runs; a port does not, and it says so", async () => {
  await using stage = Stage.open();
  const [left, right] = await stage.pair();
  const alpha = await Node.make(left, "alpha");
  const beta = await Node.make(right, "beta");
  await alpha.trust(beta);
  await beta.trust(alpha);
  await alpha.up();
  const file = join(stage.directory, "beta.toml");
  writeFileSync(file, "http = 9586\n");
  await beta.up("--config", file);
  expect((await beta.member(alpha))?.state).toBe("not met");

  writeFileSync(
    file,
    `seed = ["${alpha.seed}"]\nhttp = 9587\nport = 51999\nlog_format = "json"\nlog_level = "debug"\n`,
  );
  const report = JSON.parse(await beta.ok("reload", "--json"));
  expect(report).toEqual({
    schema: 1,
    trusted: 1,
    changed: ["seed", "http", "log_format", "log_level"],
    restart: ["port"],
  });
  await untilConnected([alpha, beta], 10_000);
  expect(await right.runOk(["curl", "-s", "http://127.0.0.1:9587/healthz"])).toBe("ok\n");
  expect((await right.run(["curl", "-s", "http://127.0.0.1:9586/healthz"])).code).toBe(7);
  const last = beta.daemon?.log().trim().split("\n").at(-1) ?? "";
  expect(Object.keys(JSON.parse(last))).toEqual(["time", "level", "scope", "message"]);

  // What is wrong changes nothing; SIGHUP is told in the log.
  writeFileSync(file, "http = 9587\nprot = 1\n");
  const refused = await beta.meshvpn("reload");
  expect([refused.code, refused.stderr.includes("did you mean port?")]).toEqual([2, true]);
  beta.daemon?.kill("SIGHUP");
  await until("its word in the log", () => beta.daemon?.log().includes("did you mean port?"));
  expect(await right.runOk(["curl", "-s", "http://127.0.0.1:9587/healthz"])).toBe("ok\n");
}, 60_000);
