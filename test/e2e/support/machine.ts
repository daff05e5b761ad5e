/**
 * A machine that has nothing of ours: a host of the stage with a name, a home and empty directories of
 * its own where a system keeps state, and these programs on its PATH and no others. What is typed there
 * is run by its shell, as root.
 */
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type Ran, type Running, run, until } from "./process.ts";
import type { Host } from "./stage.ts";

/** Hidden behind empty ones, in a mount namespace that goes with the machine. */
const emptied = ["/run", "/var/lib", "/root", "/usr/local", "/etc/default"];

export class Machine {
  readonly host: Host;
  /** Seen from outside too; the working directory of what is typed. */
  readonly directory: string;
  readonly #holder: Running;
  readonly #env: Readonly<Record<string, string>>;

  private constructor(host: Host, directory: string, holder: Running, env: Record<string, string>) {
    this.host = host;
    this.directory = directory;
    this.#holder = holder;
    this.#env = env;
  }

  /** `more`: of its environment. */
  static async make(
    host: Host,
    name: string,
    programs: readonly string[],
    more: Readonly<Record<string, string>> = {},
  ): Promise<Machine> {
    const directory = join(host.stage.directory, name);
    const bin = join(directory, "bin");
    mkdirSync(bin, { recursive: true });
    for (const program of programs) {
      const path = Bun.which(program);
      if (path === null) throw new Error(`there is no ${program} here`);
      symlinkSync(path, join(bin, program));
    }
    const hide = emptied.map((path) => `mount -t tmpfs tmpfs ${path}`).join(" && ");
    const script = `${hide} && mkdir -p /usr/local/bin && echo ${name} > /proc/sys/kernel/hostname && echo ready && exec sleep infinity`;
    const holder = host.start(["unshare", "--mount", "--uts", "sh", "-c", script]);
    await until("the machine's directories", () => holder.log().includes("ready"), {
      evidence: () => holder.log(),
    });
    const path = `${bin}:/usr/local/bin`;
    // Debian's npm has that prefix of itself.
    const env = { HOME: "/root", PATH: path, npm_config_prefix: "/usr/local" };
    return new Machine(host, directory, holder, { ...env, ...more });
  }

  /** Nothing of this process's environment is seen there. `outside`: in this process's network. */
  async type(line: string, { timeoutMs = 60_000, outside = false } = {}): Promise<Ran> {
    const env = Object.entries(this.#env).map(([key, value]) => `${key}=${value}`);
    const network = outside ? [] : ["--net"];
    const inside = ["nsenter", "--target", `${this.#holder.pid}`, "--mount", "--uts", ...network];
    const shell = Bun.which("sh") ?? "/bin/sh";
    const command = [...inside, `--wdns=${this.directory}`, "env", "-i", ...env, shell, "-c", line];
    return await run(command, { timeoutMs });
  }

  async ok(...typed: Parameters<Machine["type"]>): Promise<string> {
    const [line] = typed;
    const ran = await this.type(...typed);
    if (ran.code === 0) return ran.stdout;
    throw new Error(`${line}: exit code ${ran.code}\n${ran.stderr}${ran.stdout}`);
  }
}
