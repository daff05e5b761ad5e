/**
 * A package registry on loopback that holds what scripts/package made and Bun itself, so that an
 * installation from packages is tested as users do it, by name and without the network. Of the
 * platforms that are not this one it knows the names alone, as package managers ask for them.
 */
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { runOk } from "./process.ts";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly [key: string]: unknown;
}

interface Stored {
  readonly manifest: Manifest;
  /** undefined: a platform that is not this one. */
  readonly archive?: string;
}

export class Registry implements Disposable {
  readonly #packages = new Map<string, Stored>();
  readonly #server: Bun.Server<undefined>;
  /** Paths that were asked for. */
  readonly asked: string[] = [];
  #hidden: RegExp | undefined;

  private constructor() {
    const port = 0;
    const hostname = "127.0.0.1";
    this.#server = Bun.serve({ port, hostname, fetch: (request) => this.#answer(request) });
  }

  /** Of the archives in `directory`; `work` is for what it makes of Bun. */
  static async open(directory: string, work: string): Promise<Registry> {
    const registry = new Registry();
    for (const name of readdirSync(directory).filter((each) => each.endsWith(".tgz"))) {
      const archive = join(directory, name);
      const text = await runOk(["tar", "-xzOf", archive, "package/package.json"]);
      registry.#add({ manifest: JSON.parse(text), archive });
    }
    const bun = await packBun(work);
    registry.#add(bun);
    const program = registry.#packages.get("meshvpn")?.manifest;
    const wanted = program?.optionalDependencies as Record<string, string>;
    for (const [name, version] of Object.entries(wanted)) {
      if (registry.#packages.has(name)) continue;
      registry.#add({ manifest: { name, version, os: ["linux"], ...platformOf(name) } });
    }
    return registry;
  }

  /** As if packages of these names had never been published. */
  hide(names: RegExp): void {
    this.#hidden = names;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/`;
  }

  [Symbol.dispose](): void {
    this.#server.stop(true);
  }

  #add(stored: Stored): void {
    this.#packages.set(stored.manifest.name, stored);
  }

  #answer(request: Request): Response {
    const path = decodeURIComponent(new URL(request.url).pathname).slice(1);
    this.asked.push(path);
    if (this.#hidden?.test(path) === true) return new Response("{}", { status: 404 });
    if (path.startsWith("-/")) {
      const stored = [...this.#packages.values()].find(
        ({ archive }) => archive !== undefined && basename(archive) === path.slice(2),
      );
      if (stored?.archive !== undefined) return new Response(Bun.file(stored.archive));
    }
    const stored = this.#packages.get(path);
    if (stored === undefined) return new Response("{}", { status: 404 });
    const { name, version } = stored.manifest;
    const tarball = `${this.url}-/${stored.archive === undefined ? "none" : basename(stored.archive)}`;
    const integrity = stored.archive === undefined ? {} : { integrity: digest(stored.archive) };
    return Response.json({
      name,
      "dist-tags": { latest: version },
      versions: { [version]: { ...stored.manifest, dist: { tarball, ...integrity } } },
    });
  }
}

/** What is published under the name of Bun's package for this platform. */
async function packBun(work: string): Promise<Stored> {
  const name = `@oven/bun-linux-${process.arch === "arm64" ? "aarch64" : "x64"}`;
  const directory = join(work, "bun/package");
  mkdirSync(join(directory, "bin"), { recursive: true });
  cpSync(process.execPath, join(directory, "bin/bun"));
  const manifest = { name, version: Bun.version, os: ["linux"], ...platformOf(name) };
  writeFileSync(join(directory, "package.json"), JSON.stringify(manifest));
  const archive = join(work, "bun.tgz");
  await runOk(["tar", "-C", join(work, "bun"), "-I", "gzip -1", "-cf", archive, "package"]);
  return { manifest, archive };
}

function platformOf(name: string): { cpu: string[]; libc: string[] } {
  const cpu = name.includes("arm64") || name.includes("aarch64") ? "arm64" : "x64";
  return { cpu: [cpu], libc: [name.endsWith("musl") ? "musl" : "glibc"] };
}

function digest(path: string): string {
  return `sha512-${createHash("sha512").update(readFileSync(path)).digest("base64")}`;
}
