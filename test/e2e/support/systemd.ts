/**
 * A systemd of its own for a test: the real one as process 1 of its own namespaces, with the units that
 * it is given and stubs of the targets that those name, in a cgroup that goes with it. It has no D-Bus;
 * `systemctl` speaks to its private socket as root.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Ran, type Running, run, until } from "./process.ts";
import type { Host } from "./stage.ts";

const program = "/lib/systemd/systemd";
const stubs = [
  "sysinit",
  "basic",
  "shutdown",
  "network-online",
  "nss-lookup",
  "multi-user",
  "umount",
];

export class Systemd implements AsyncDisposable {
  readonly #cgroup: string;
  #holder: Running | undefined;
  /** Of its process 1, as seen here. */
  #pid = 0;

  private constructor(cgroup: string) {
    this.#cgroup = cgroup;
  }

  /** Why it cannot be run here; undefined where it can. */
  static missing(): string | undefined {
    if (!existsSync(program)) return `there is no ${program}`;
    return cgroupRoot() === undefined ? "there is no cgroup2 hierarchy" : undefined;
  }

  /** `units`: names to texts; `files` are put into /usr/local/bin. */
  static async start(
    host: Host,
    units: Readonly<Record<string, string>>,
    files: Readonly<Record<string, string>>,
  ): Promise<Systemd> {
    const cgroup = join(cgroupRoot() ?? "", host.namespace);
    const systemd = new Systemd(cgroup);
    mkdirSync(cgroup);
    const directory = join(host.stage.directory, "units");
    mkdirSync(directory);
    for (const name of stubs) writeFileSync(join(directory, `${name}.target`), "[Unit]\n");
    writeFileSync(join(directory, "default.target"), "[Unit]\nDefaultDependencies=no\n");
    for (const [name, text] of Object.entries(units)) writeFileSync(join(directory, name), text);
    const copies = Object.entries(files).map(([name, path]) => `cp ${path} /usr/local/bin/${name}`);
    // First into the cgroup, then namespaces, so that its root is ours and nothing else is seen.
    const inside = [
      "mount -t tmpfs tmpfs /run",
      "mount -t tmpfs tmpfs /var/lib",
      "mount -t tmpfs tmpfs /usr/local",
      "mkdir -p /usr/local/bin",
      ...copies,
      "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
      `export SYSTEMD_UNIT_PATH=${directory} SYSTEMD_LOG_TARGET=console container=mv`,
      `exec ${program} --system --unit=default.target`,
    ].join(" && ");
    const namespaces = ["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"];
    const quoted = `exec unshare ${namespaces.join(" ")} --mount-proc sh -c '${inside}'`;
    // In a network namespace /sys is another, without cgroups.
    const seen = join(host.stage.directory, "cgroup");
    mkdirSync(seen);
    const mount = `mount -t cgroup2 cgroup2 ${seen}`;
    const script = `${mount} && echo $$ > ${seen}/${host.namespace}/cgroup.procs && ${quoted}`;
    const holder = host.start(["sh", "-c", script]);
    systemd.#holder = holder;
    const evidence = (): string => holder.log();
    await until("process 1", () => systemd.#find(holder.pid), { evidence });
    const ready = async (): Promise<boolean> =>
      (await systemd.systemctl("is-system-running")).stdout.trim() === "running";
    await until("systemd to be up", ready, { timeoutMs: 20_000, everyMs: 100, evidence });
    return systemd;
  }

  async systemctl(...args: string[]): Promise<Ran> {
    return await this.run("systemctl", ...args);
  }

  async run(...command: string[]): Promise<Ran> {
    const into = ["nsenter", "--target", `${this.#pid}`, "--all"];
    return await run([...into, ...command], { env: { container: "mv" } });
  }

  log(): string {
    return this.#holder?.log() ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#pid > 0) process.kill(this.#pid, "SIGKILL");
    await this.#holder?.stop();
    await until("its cgroups to be empty", () => removeTree(this.#cgroup), { everyMs: 50 });
  }

  /** The child of unshare. */
  #find(parent: number): boolean {
    const children = readdirSync("/proc").filter((pid) => parentOf(pid) === parent);
    this.#pid = Number(children[0] ?? 0);
    return this.#pid > 0;
  }
}

/** undefined for what is no process, or none any more. */
function parentOf(pid: string): number | undefined {
  if (!/^[0-9]+$/.test(pid)) return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

function cgroupRoot(): string | undefined {
  return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find(
    (path) =>
      existsSync(join(path, "cgroup.procs")) && existsSync(join(path, "cgroup.controllers")),
  );
}

/** False while something runs in it. */
function removeTree(path: string): boolean {
  if (!existsSync(path)) return true;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory() && !removeTree(join(path, entry.name))) return false;
  }
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EBUSY") return false;
    throw error;
  }
}
