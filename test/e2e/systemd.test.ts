/** The unit as the package has it, under a real systemd, with the single file where README.md installs it: start, reload, end. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./support/implementations.ts";
import { packages, packingMsMax } from "./support/packages.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";
import { Systemd } from "./support/systemd.ts";

let executable: string;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  ({ executable } = await packages());
}, packingMsMax);

afterAll(closeStages);

test("systemd starts it, reloads it and ends it", async () => {
  const missing = Systemd.missing();
  if (missing !== undefined) {
    console.info(`not run: ${missing}`);
    return;
  }
  await using stage = Stage.open();
  const [host] = await stage.pair();
  const unit = readFileSync(join(root, "packaging/systemd/meshvpn.service"), "utf8");
  await using systemd = await Systemd.start(
    host,
    { "meshvpn.service": unit },
    { meshvpn: executable },
  );
  const meshvpn = async (...args: string[]): Promise<string> => {
    const ran = await systemd.run("/usr/local/bin/meshvpn", ...args);
    if (ran.code !== 0) throw new Error(`${args.join(" ")}: ${ran.stderr}`);
    return ran.stdout;
  };
  const show = async (property: string): Promise<string> =>
    (await systemd.systemctl("show", "--value", "--property", property, "meshvpn")).stdout.trim();

  // Without an identity it fails at once, and says why.
  expect((await systemd.systemctl("start", "meshvpn")).code).toBe(1);
  await meshvpn("keygen");
  await systemd.systemctl("reset-failed", "meshvpn");
  // It returns when the daemon says that it takes part.
  const started = await systemd.systemctl("start", "meshvpn");
  expect([started.code, started.stderr]).toEqual([0, ""]);
  expect([await show("ActiveState"), await show("SubState")]).toEqual(["active", "running"]);
  expect(await show("StatusText")).toContain(", meshvpn0, ");
  const pid = await show("MainPID");

  // ExecReload: whom the disk trusts counts from now on, in the same process.
  const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
  const trusted = async (): Promise<number> =>
    JSON.parse(await meshvpn("status", "--json")).trusted;
  expect(await trusted()).toBe(0);
  // The daemon is not told by the command itself.
  await meshvpn("trust", key, "--control-socket", "/run/nobody.sock");
  expect(await trusted()).toBe(0);
  const reloaded = await systemd.systemctl("reload", "meshvpn");
  expect([reloaded.code, reloaded.stderr]).toEqual([0, ""]);
  expect([await trusted(), await show("MainPID")]).toEqual([1, pid]);

  // A configuration that is wrong is refused, and the daemon goes on.
  await systemd.run("sh", "-c", "echo 'default perhaps' > /var/lib/meshvpn/policy");
  expect((await systemd.systemctl("reload", "meshvpn")).code).toBe(1);
  expect([await show("ActiveState"), await show("MainPID")]).toEqual(["active", pid]);
  await systemd.run("rm", "/var/lib/meshvpn/policy");

  expect((await systemd.systemctl("stop", "meshvpn")).code).toBe(0);
  expect([await show("Result"), await show("ActiveState")]).toEqual(["success", "inactive"]);
  await until("the interface to be gone", async () => {
    return !(await host.interfaces()).includes("meshvpn0");
  });
}, 120_000);
