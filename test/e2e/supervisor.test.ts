/** What a service manager hears of a daemon that it started, at a socket of the real kind. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Node } from "./support/mesh.ts";
import { run, until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";

const unit = new URL("../../packaging/systemd/meshvpn.service", import.meta.url).pathname;
/** Bun has no datagram sockets in the file system, so Python listens. */
const listener = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("listening", flush=True)
while True:
    print(s.recv(4096).decode().replace("\\n", " "), flush=True)
`;

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

test("READY once it takes part, signs of life, and STOPPING at the end", async () => {
  await using stage = Stage.open();
  const [host] = await stage.pair();
  const socket = join(stage.directory, "notify.sock");
  const manager = host.start(["python3", "-c", listener, socket]);
  await until("the listener", () => manager.log().includes("listening"));
  const node = await Node.make(host, "served", {
    env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "200000" },
  });
  expect(manager.log()).toBe("listening\n");
  await node.up();
  await until("two signs of life", () => manager.log().split("WATCHDOG=1").length > 2);
  expect(manager.log()).toMatch(/^listening\nREADY=1 STATUS=served, .*, port 51820, 0 trusted\n/);
  await node.daemon?.stop();
  await until("its last word", () => manager.log().endsWith("STOPPING=1\n"));
}, 30_000);

test("a daemon whose manager is not there does not come up", async () => {
  await using stage = Stage.open();
  const [host] = await stage.pair();
  const node = await Node.make(host, "alone", {
    env: { NOTIFY_SOCKET: join(stage.directory, "absent.sock") },
  });
  const ran = await node.meshvpn("up");
  expect(ran.code).toBe(1);
  expect(ran.stderr).toContain("cannot tell the service manager that the daemon is up");
}, 30_000);

test("the unit is exposed no more than 2.0, and systemd finds nothing wrong in it", async () => {
  if (Bun.which("systemd-analyze") === null) {
    console.info("not checked: there is no systemd-analyze here");
    return;
  }
  const { stdout } = await run(["systemd-analyze", "security", "--offline=true", unit]);
  const exposure = /exposure level for meshvpn.service: ([0-9.]+)/.exec(stdout)?.[1];
  expect(Number(exposure)).toBeLessThanOrEqual(2.0);
  const verified = await run(["systemd-analyze", "verify", "--man=no", unit]);
  const about = verified.stderr.split("\n").filter((line) => line.includes("meshvpn"));
  // Where the package is not installed, the program is not there; nothing else may be said.
  const known = /meshvpn\.service: Command meshvpn is not executable/;
  expect(about.filter((line) => !known.test(line))).toEqual([]);
  expect(readFileSync(unit, "utf8")).toContain("WatchdogSec=");
}, 30_000);
