import { describe, expect, test } from "bun:test";
import { type Environment, Supervisor, watchdogMs } from "../../../src/daemon/supervisor.ts";

function listening(
  environment: Environment,
  result = 0,
): { said: string[]; supervisor: Supervisor } {
  const said: string[] = [];
  const supervisor = new Supervisor(environment, (path, _length, text) => {
    said.push(`${path}: ${text}`);
    return result;
  });
  return { said, supervisor };
}

describe("a supervised daemon", () => {
  test("says that it is up, then that it ends", () => {
    const { said, supervisor } = listening({ NOTIFY_SOCKET: "/run/notify" });
    supervisor.ready("alpha,\nport 51820");
    supervisor.stopping();
    expect(said).toEqual([
      "/run/notify: READY=1\nSTATUS=alpha, port 51820",
      "/run/notify: STOPPING=1",
    ]);
  });

  test("gives signs of life until it ends, where they are asked for", async () => {
    const { said, supervisor } = listening({ NOTIFY_SOCKET: "@n", WATCHDOG_USEC: "4000" });
    supervisor.ready("up");
    while (said.filter((line) => line === "@n: WATCHDOG=1").length < 2) await Bun.sleep(1);
    supervisor.stopping();
    expect(said.at(-1)).toBe("@n: STOPPING=1");
  });

  test("does not go on where its word does not arrive", () => {
    const { supervisor } = listening({ NOTIFY_SOCKET: "/run/notify" }, -16);
    expect(() => supervisor.ready("up")).toThrow("cannot tell the service manager");
  });

  test("says nothing where nobody listens", () => {
    const { said, supervisor } = listening({ WATCHDOG_USEC: "4000" });
    supervisor.ready("up");
    supervisor.stopping();
    expect(said).toEqual([]);
  });
});

test("signs of life are half as far apart as allowed, and only from the process that is meant", () => {
  expect(watchdogMs({ WATCHDOG_USEC: "30000000" }, 7)).toBe(15_000);
  expect(watchdogMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "7" }, 7)).toBe(15_000);
  expect(watchdogMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "8" }, 7)).toBe(0);
  expect(watchdogMs({ WATCHDOG_USEC: "soon" }, 7)).toBe(0);
  expect(watchdogMs({}, 7)).toBe(0);
});
