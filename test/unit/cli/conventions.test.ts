/** What every command keeps to, asked of each that there is. */
import { describe, expect, test } from "bun:test";
import { type Command, commandTree, flatten } from "../../../src/cli/command-tree.ts";
import { commands } from "../../../src/cli/commands.ts";
import { type Ran, run } from "../../e2e/support/process.ts";
import { schemaErrors, schemaNames } from "../../support/json-schema.ts";

const program = new URL("../../../bin/meshvpn", import.meta.url).pathname;
const all = flatten(await commandTree(commands));
const leaves = all.filter(({ children }) => children.length === 0);

async function meshvpn(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  return await run([program, ...args], { env: { MESHVPN_BUN: process.execPath, ...env } });
}

function words({ path }: Command): string {
  return path.join(" ");
}

describe("every command", () => {
  test("has a sentence, and an example that begins with it or shows it", () => {
    for (const command of all) {
      expect([words(command), command.description]).toEqual([
        words(command),
        expect.stringMatching(/^[A-Z].*\.$/),
      ]);
      expect(command.example).toContain("meshvpn ");
    }
  });

  test("says in its help how it is called, with nothing on stderr", async () => {
    const helps = await Promise.all(leaves.map(({ path }) => meshvpn([...path, "--help"])));
    for (const [at, { code, stdout, stderr }] of helps.entries()) {
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout).toContain(`USAGE meshvpn ${words(leaves[at] as Command)}`);
      expect(stdout).toContain("Example: ");
      expect(stdout).not.toContain("\x1b");
    }
  }, 60_000);

  test("that prints JSON has a schema for it, and no schema is without a command", () => {
    const withJson = leaves.filter(({ flags }) => flags.some(({ flag }) => flag === "--json"));
    const names = withJson.map(({ path }) => path.join("-"));
    expect(names.toSorted()).toEqual(schemaNames.toSorted());
  });

  test("refuses a flag that it does not have, with 2", async () => {
    const refused = await Promise.all(
      leaves.map(({ path }) => meshvpn([...path, "--no-such-flag"])),
    );
    for (const { code, stderr } of refused) {
      expect(stderr).toMatch(/^meshvpn: unknown flag --no-such-flag: .*\n$/);
      expect(code).toBe(2);
    }
  }, 60_000);

  test("that asks the daemon ends with 3 where there is none", async () => {
    const env = { MESHVPN_CONTROL_SOCKET: "/tmp/meshvpn-nobody-listens.sock" };
    const asking: readonly (readonly string[])[] = [
      ["status"],
      ["peers"],
      ["top"],
      ["ping", "x"],
      ["netcheck"],
      ["bench", "x"],
      ["logs"],
      ["metrics"],
      ["reload"],
      ["down"],
    ];
    const refused = await Promise.all(asking.map((args) => meshvpn(args, env)));
    for (const { code, stderr } of refused) {
      expect(stderr).toMatch(/^meshvpn: the daemon is not running: [^\n]*; [^\n]*\n$/);
      expect(code).toBe(3);
    }
  }, 60_000);
});

test("version says as JSON what its schema has", async () => {
  expect(schemaErrors("version", (await meshvpn(["version", "--json"])).stdout)).toEqual([]);
  expect(schemaErrors("config-show", (await meshvpn(["config", "show", "--json"])).stdout)).toEqual(
    [],
  );
  expect(schemaErrors("version", '{"schema":2}')).not.toEqual([]);
});

describe("completions", () => {
  test("of bash complete commands, their words, flags and the values of flags", async () => {
    const { stdout: script } = await meshvpn(["completion", "bash"]);
    const complete = async (...line: string[]): Promise<string[]> => {
      const body = `${script}\nCOMP_WORDS=(${line.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${line.length - 1}; _meshvpn; echo "\${COMPREPLY[*]}"`;
      const { stdout } = await run(["bash", "-c", body]);
      return stdout.trim().split(" ");
    };
    expect(await complete("meshvpn", "stat")).toEqual(["status"]);
    expect(await complete("meshvpn", "config", "")).toEqual(["show", "check", "path", "--help"]);
    expect(await complete("meshvpn", "config", "show", "--mt")).toEqual(["--mtu"]);
    expect(await complete("meshvpn", "up", "--aead", "b")).toEqual(["batch"]);
    expect(await complete("meshvpn", "completion", "z")).toEqual(["zsh"]);
  });

  test("of zsh and fish are scripts that these shells read, where they are", async () => {
    for (const shell of ["zsh", "fish"]) {
      const { stdout } = await meshvpn(["completion", shell]);
      for (const { path } of all) expect(stdout).toContain(path.at(-1) as string);
      if (Bun.which(shell) === null) {
        console.info(`not read: there is no ${shell} here`);
        continue;
      }
      const { code, stderr } = await run([shell, "-n", "/dev/stdin"], { input: stdout });
      expect([shell, code, stderr]).toEqual([shell, 0, ""]);
    }
  });

  test("are refused for a shell that is not known", async () => {
    const { code, stderr } = await meshvpn(["completion", "csh"]);
    expect([code, stderr]).toEqual([
      2,
      "meshvpn: no completion for csh: known are bash, zsh, fish; name one of them\n",
    ]);
  });
});

test("the man page names every command and every setting", async () => {
  const { stdout } = await meshvpn(["man"]);
  for (const { path } of leaves) {
    expect(stdout).toContain(`.SS "${path.join(" ").replaceAll("-", "\\-")}`);
  }
  expect(stdout).toContain(".B control_socket\n");
  const requests = stdout.split("\n").filter((line) => line.startsWith("."));
  for (const request of requests) {
    expect(request).toMatch(/^\.(TH|SH|SS|TP|B|BR|I|PP|EX|EE)( |$)/);
  }
});
