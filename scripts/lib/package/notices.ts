/**
 * What is inside a package that others wrote: its licence texts, and a bill of materials in
 * CycloneDX 1.6. Both say the same of the same sources, without a date or a place.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./tools.ts";

export type Bundled = (typeof bundledPackages)[number] | "libsodium" | "zig" | "bun";

/** The npm packages that are in the program, with those that they need. */
export const bundledPackages = [
  "@leichtgewicht/ip-codec",
  "citty",
  "consola",
  "dns-packet",
  "smol-toml",
  "uqr",
] as const;

interface Component {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly purl: string;
  /** undefined: `notice` stands for it. */
  readonly licenceFile?: string;
  readonly notice?: string;
}

export function notices(names: readonly Bundled[]): string {
  const parts = names.map(component).map(({ name, version, licence, licenceFile, notice }) => {
    const text = licenceFile === undefined ? notice : readFileSync(licenceFile, "utf8").trim();
    return `## ${name} ${version} (${licence})\n\n${text}\n`;
  });
  return `# What others wrote and this package holds\n\n${parts.join("\n")}`;
}

export function sbom(
  about: { readonly name: string; readonly version: string; readonly license: string },
  names: readonly Bundled[],
): object {
  const encoded = about.name.replace("@", "%40");
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": `pkg:npm/${encoded}@${about.version}`,
        name: about.name,
        version: about.version,
        licenses: [{ license: { id: about.license } }],
        purl: `pkg:npm/${encoded}@${about.version}`,
      },
    },
    components: names.map(component).map(({ name, version, licence, purl }) => ({
      type: "library",
      "bom-ref": purl,
      name,
      version,
      licenses: [licence.includes(" ") ? { expression: licence } : { license: { id: licence } }],
      purl,
    })),
  };
}

function component(name: Bundled): Component {
  switch (name) {
    case "libsodium": {
      const source = process.env.LIBSODIUM ?? "";
      const version = /libsodium-([0-9.]+)/.exec(source)?.[1] ?? "unknown";
      const purl = `pkg:generic/libsodium@${version}`;
      return { name, version, licence: "ISC", purl, licenceFile: join(source, "LICENSE") };
    }
    case "zig": {
      const version = zigVersion();
      const notice =
        "The library holds code of Zig's standard library and compiler_rt, under the MIT licence:\n" +
        "Copyright (c) Zig contributors. https://ziglang.org";
      return { name, version, licence: "MIT", purl: `pkg:generic/zig@${version}`, notice };
    }
    case "bun": {
      const notice =
        "The executable holds the Bun run time, which is under the MIT licence and links JavaScriptCore\n" +
        "(LGPL-2.1) and others statically; what they are, and how to link it anew, is on\n" +
        "https://bun.com/docs/project/licensing";
      const licence = "MIT AND LGPL-2.1-only";
      return { name, version: Bun.version, licence, purl: `pkg:npm/bun@${Bun.version}`, notice };
    }
    default: {
      const directory = join(root, "node_modules", name);
      const { version, license } = JSON.parse(
        readFileSync(join(directory, "package.json"), "utf8"),
      );
      const licenceFile = join(directory, "LICENSE");
      const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
      return { name, version, licence: license, purl, licenceFile };
    }
  }
}

function zigVersion(): string {
  const build = readFileSync(join(root, "build.zig"), "utf8");
  const version = /^const zig_version = "([0-9.]+)";$/m.exec(build)?.[1];
  if (version === undefined) throw new Error("build.zig names no version of Zig");
  return version;
}
