import { describe, expect, test } from "bun:test";
import { reach, serveBench } from "../../../src/cli/bench-traffic.ts";

describe("the other side of a measurement", () => {
  test("is reached where it serves", async () => {
    const server = serveBench("127.0.0.1", 0, async () => true);
    await reach("127.0.0.1", server.port);
    server.stop(true);
  });

  test("is waited for no longer than said, and the port is named", async () => {
    const never = (): Promise<void> => new Promise(() => undefined);
    const begunMs = performance.now();
    await expect(reach("127.0.0.1", 7, 50, never)).rejects.toThrow(
      "nothing answered on TCP 7 within 0.05 s",
    );
    expect(performance.now() - begunMs).toBeLessThan(2_000);
  });
});
