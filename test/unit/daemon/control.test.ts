import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import {
  ask,
  type ControlAnswer,
  type ControlRequest,
  ControlServer,
  converse,
} from "../../../src/daemon/control.ts";

let directory: string;
let path: string;
let server: ControlServer | undefined;
const sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "meshvpn-control-"));
  path = join(directory, "run", "meshvpn.sock");
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true });
});

function echo(request: ControlRequest): ControlAnswer {
  return { result: { echoed: request.text } };
}

async function listen(answer = echo): Promise<void> {
  server = await ControlServer.listen(path, answer);
}

/** Sends bytes as they are; what came back when the daemon closed, or a whole line came. */
function raw(bytes: string): Promise<{ text: string; closed: boolean }> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    sockets.push(socket);
    let text = "";
    socket.on("error", reject);
    socket.on("connect", () => socket.write(bytes));
    socket.on("data", (chunk) => {
      text += String(chunk);
      if (text.endsWith("\n")) resolve({ text, closed: false });
    });
    socket.on("close", () => resolve({ text, closed: true }));
  });
}

async function refusal(attempt: Promise<unknown>): Promise<MeshError> {
  const error = await attempt.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof MeshError) return error;
  throw new Error(`not refused: ${String(error)}`);
}

describe("the control socket", () => {
  test("answers, and only its owner may open it", async () => {
    await listen();
    expect(await ask(path, { command: "echo", text: "hello" })).toEqual({ echoed: "hello" });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, "run")).mode & 0o777).toBe(0o755);
  });

  test("is gone after close, and nobody answers", async () => {
    await listen();
    await server?.close();
    expect(existsSync(path)).toBe(false);
    expect((await refusal(ask(path, { command: "echo" }))).code).toBe("daemon_not_running");
  });

  test("passes on the daemon's own refusal", async () => {
    await listen(() => {
      throw new MeshError("some_code", "what", "why", "remedy");
    });
    const error = await refusal(ask(path, { command: "x" }));
    expect([error.code, error.sentence()]).toEqual(["some_code", "what: why; remedy"]);
  });

  test("carries an answer of many megabytes", async () => {
    await listen(() => ({ result: "x".repeat(8_000_000) }));
    expect(await ask(path, { command: "x" })).toHaveLength(8_000_000);
  });

  test("carries an answer with a newline inside its text", async () => {
    await listen(() => ({ result: "a\nb\n" }));
    expect(await ask(path, { command: "x" })).toBe("a\nb\n");
  });

  test("takes several requests in one breath, and one in several", async () => {
    await listen();
    const two = '{"command":"echo","text":"1"}\n{"command":"echo","text":"2"}\n';
    const socket = connect(path);
    sockets.push(socket);
    let text = "";
    socket.on("data", (chunk) => {
      text += String(chunk);
    });
    await new Promise((resolve) => socket.once("connect", resolve));
    for (const letter of two) socket.write(letter);
    while (text.split("\n").length < 3)
      await new Promise((resolve) => socket.once("data", resolve));
    expect(text).toBe('{"ok":true,"result":{"echoed":"1"}}\n{"ok":true,"result":{"echoed":"2"}}\n');
  });

  test("refuses what is no request, and serves on", async () => {
    await listen();
    for (const bad of ["nonsense\n", "[]\n", "null\n", '{"command":1}\n', "\n"]) {
      expect((await raw(bad)).text).toContain('"code":"request_invalid"');
    }
    expect(await ask(path, { command: "echo", text: "still" })).toEqual({ echoed: "still" });
  });

  test("refuses an argument that cannot be taken as text, and serves on", async () => {
    await listen((request) => ({ result: String(request.about) }));
    for (const about of ['{"toString":1,"valueOf":1}', "[[]]", "[{}]"]) {
      const { text } = await raw(`{"command":"doctor","about":${about}}\n`);
      expect(JSON.parse(text)).toMatchObject({ ok: false, error: { code: "request_invalid" } });
    }
    expect(await ask(path, { command: "doctor", about: ["a", "b"] })).toBe("a,b");
  });

  test("cuts off whoever says too much", async () => {
    await listen();
    const { text } = await raw("x".repeat(70_000));
    expect(text).toContain("longer than 65536 bytes");
    const long = `{"command":"echo","text":"${"x".repeat(70_000)}"}\n`;
    expect((await raw(long)).text).toContain("longer than 65536 bytes");
  });

  test("tells the seventeenth client that it is busy, until one has gone", async () => {
    await listen();
    const silent = Array.from({ length: 16 }, () => connect(path));
    sockets.push(...silent);
    await Promise.all(silent.map((one) => new Promise((resolve) => one.once("connect", resolve))));
    expect((await refusal(ask(path, { command: "echo" }))).code).toBe("busy");
    silent[0]?.destroy();
    for (;;) {
      const outcome = await ask(path, { command: "echo", text: "in" }).catch((error) => error);
      if (!(outcome instanceof MeshError)) break;
    }
  });

  test("cuts off whoever is silent for five seconds", async () => {
    await listen();
    expect(await raw('{"command":')).toEqual({ text: "", closed: true });
  }, 10_000);

  test("keeps whom it holds until the process ends, and closes the others", async () => {
    await listen(({ command }) => ({ result: null, hold: command === "stop" }));
    const held = await converse(path, { command: "stop" });
    const other = await converse(path, { command: "else" });
    await server?.close();
    await other.ended;
    const still = Symbol();
    const turn = new Promise((resolve) => setImmediate(() => resolve(still)));
    expect(await Promise.race([held.ended, turn])).toBe(still);
    held.close();
    await held.ended;
  });
});

describe("where the socket cannot be made:", () => {
  test("another daemon answers there", async () => {
    await listen();
    const error = await refusal(ControlServer.listen(path, echo));
    expect(error.code).toBe("daemon_running");
    expect(await ask(path, { command: "echo", text: "I live" })).toEqual({ echoed: "I live" });
  });

  test("what a killed daemon left is taken away", async () => {
    const dead = join(directory, "dead.sock");
    // Renamed while it is bound: closing then leaves it where it is.
    const former = createServer();
    await new Promise<void>((resolve) => former.listen(join(directory, "f.sock"), resolve));
    const { renameSync } = await import("node:fs");
    renameSync(join(directory, "f.sock"), dead);
    await new Promise((resolve) => former.close(resolve));
    expect(existsSync(dead)).toBe(true);
    path = dead;
    await listen();
    expect(await ask(dead, { command: "echo", text: "new" })).toEqual({ echoed: "new" });
  });

  test("a file that is no socket is left alone", async () => {
    path = join(directory, "file");
    writeFileSync(path, "precious");
    expect((await refusal(ControlServer.listen(path, echo))).code).toBe("control_socket_invalid");
    expect(await Bun.file(path).text()).toBe("precious");
  });
});
