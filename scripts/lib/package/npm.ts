/**
 * The npm packages: `meshvpn` with the program, bundled, and one package a platform with the library
 * alone. The first names the others, and Bun's own, as optional dependencies with an operating
 * system, a processor and a libc each, so that a package manager installs the two that fit and
 * nothing runs at installation.
 */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { platformPackage } from "../../../src/native/find-library.ts";
import { bundledPackages, notices, sbom } from "./notices.ts";
import { type Platform, platforms } from "./platforms.ts";
import { root, tool } from "./tools.ts";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
}

export const manifest: Manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const bunVersion = Bun.version;

export async function packProgram(program: string, work: string, made: string): Promise<void> {
  const directory = join(work, "meshvpn");
  mkdirSync(directory);
  cpSync(program, join(directory, "dist"), { recursive: true });
  cpSync(join(root, "bin"), join(directory, "bin"), { recursive: true });
  for (const name of ["README.md", "CHANGELOG.md", "LICENSE"]) {
    cpSync(join(root, name), join(directory, name));
  }
  for (const name of ["systemd", "grafana"]) {
    cpSync(join(root, "packaging", name), join(directory, name), { recursive: true });
  }
  cpSync(join(root, "schemas"), join(directory, "schemas"), { recursive: true });
  await writeShellFiles(join(program, "main.js"), directory);
  write(directory, "THIRD-PARTY.md", notices(bundledPackages));
  write(directory, "sbom.cdx.json", sbom(manifest, bundledPackages));
  write(directory, "package.json", {
    ...about(manifest.name, manifest.description),
    type: "module",
    os: ["linux"],
    cpu: ["x64", "arm64"],
    bin: { meshvpn: "bin/meshvpn", "meshvpn-wg": "bin/meshvpn-wg" },
    man: ["man/meshvpn.8"],
    optionalDependencies: Object.fromEntries(
      platforms.flatMap(({ arch, libc, bun }) => [
        [platformPackage(arch, libc), manifest.version],
        [bun, bunVersion],
      ]),
    ),
  });
  await pack(directory, made);
}

/** The man page and the completions, as the program itself prints them. */
async function writeShellFiles(main: string, directory: string): Promise<void> {
  const print = async (...args: string[]): Promise<string> =>
    await tool([process.execPath, main, ...args]);
  mkdirSync(join(directory, "man"));
  mkdirSync(join(directory, "completions"));
  write(directory, "man/meshvpn.8", await print("man"));
  for (const [shell, file] of [
    ["bash", "meshvpn.bash"],
    ["zsh", "_meshvpn"],
    ["fish", "meshvpn.fish"],
  ] as const) {
    write(directory, `completions/${file}`, await print("completion", shell));
  }
}

export async function packLibrary(
  platform: Platform,
  library: string,
  work: string,
  made: string,
): Promise<void> {
  const { arch, libc } = platform;
  const directory = join(work, `library-${arch}-${libc}`);
  mkdirSync(directory);
  cpSync(library, join(directory, "libmeshvpn.so"));
  cpSync(join(root, "LICENSE"), join(directory, "LICENSE"));
  const name = platformPackage(arch, libc);
  write(directory, "README.md", `# ${name}\n\nThe data plane of meshvpn for this platform.\n`);
  write(directory, "THIRD-PARTY.md", notices(["libsodium", "zig"]));
  write(directory, "sbom.cdx.json", sbom({ ...manifest, name }, ["libsodium", "zig"]));
  write(directory, "package.json", {
    ...about(name, `The data plane of meshvpn for Linux, ${arch}, ${libc}`),
    os: ["linux"],
    cpu: [arch],
    libc: [libc === "gnu" ? "glibc" : "musl"],
    files: ["libmeshvpn.so", "THIRD-PARTY.md", "sbom.cdx.json"],
  });
  await pack(directory, made);
}

function about(name: string, description: string): Record<string, unknown> {
  return { name, version: manifest.version, description, license: manifest.license };
}

function write(directory: string, name: string, content: string | object): void {
  const text = typeof content === "string" ? content : `${JSON.stringify(content, null, 2)}\n`;
  writeFileSync(join(directory, name), text);
}

/** npm sets times, owners and modes to the same everywhere. */
async function pack(directory: string, made: string): Promise<void> {
  const flags = ["--ignore-scripts", "--pack-destination", made];
  await tool(["npm", "pack", ...flags], { cwd: directory });
}
