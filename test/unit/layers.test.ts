/**
 * The rules of docs/ARCHITECTURE.md that a reader of the tree relies on, checked on its text: who
 * may import whom, which files touch the clock, the network and the system, how long a file may
 * be. Each rule is a function from files to violations, so that a planted violation proves it.
 * Comments and strings do not count; import paths do.
 */
import { describe, expect, test } from "bun:test";
import { Glob } from "bun";

/** Path from the root of the repository to text. */
type Files = ReadonlyMap<string, string>;

const root = new URL("../../", import.meta.url).pathname;
const linesMax = 700;

const cores = ["noise", "swim", "nat", "trust", "discovery"];
const belowMesh = ["base", "metrics", ...cores];
const mayImport: Readonly<Record<string, readonly string[]>> = {
  base: [],
  metrics: ["base"],
  ...Object.fromEntries(cores.map((core) => [core, ["base", "metrics"]])),
  mesh: belowMesh,
  native: [...belowMesh, "mesh"],
  daemon: [...belowMesh, "mesh", "native"],
  cli: [...belowMesh, "mesh", "native", "daemon"],
};

/** What a core gets as an argument instead. */
const ambient: readonly RegExp[] = [
  /\bDate\b/,
  /\bset(Timeout|Interval|Immediate)\b/,
  /\bMath\.random\b/,
  /\bgetRandomValues\b/,
  /\bperformance\b/,
  /\bprocess\./,
  /\bBun\./,
];
const ambientAllowed = ["native", "daemon", "cli"];

const zigPure = [
  ...["abi", "abi_json", "allowed_ips", "checksum", "coalesce", "constants", "control_message"],
  ...[
    "crypto",
    "gate",
    "index_table",
    "inner_packet",
    "key_text",
    "keypair",
    "mac1",
    "mac_lanes",
    "metrics",
    "offload",
  ],
  ...[
    "cookie",
    "destinations",
    "peer",
    "policy",
    "rate_limiter",
    "replay",
    "routing_loop",
    "segment",
    "staging",
  ],
  ...["steering", "stun_filter", "transport"],
];
const zigSystem = ["netlink", "tun_linux", "udp_group", "udp_linux", "uring_linux"];
const zigMayUseSystem = [
  ...[
    "connected_socket",
    "device",
    "exports",
    "rx",
    "rx_aside",
    "side_sockets",
    "source_address",
    "tx",
  ],
  ...["tx_resend", "uapi"],
  ...["uring_use"],
  ...zigSystem,
];
/** Roots of libraries beside exports.zig itself. */
const zigRoots = ["cipher_free", "hostile_relay"];
const zigMayUseSodium = ["crypto", "primitives"];

describe("the tree keeps its rules:", () => {
  const rules: readonly [string, (files: Files) => string[]][] = [
    ["TypeScript layers import downwards only", layerViolations],
    ["clock, chance, files and network stay in native, daemon and cli", ambientViolations],
    ["pure Zig files make no system call and only the paths use devices", zigViolations],
    ["every Zig file with tests is named in zig/tests.zig", untestedZig],
    [`no file has more than ${linesMax} lines`, longFiles],
    ["no error is swallowed by an empty catch", emptyCatches],
  ];
  for (const [sentence, rule] of rules) {
    test(sentence, async () => {
      expect(rule(await tree())).toEqual([]);
    });
  }

  test("the tree is not empty", async () => {
    const files = [...(await tree()).keys()];
    expect(files.some((path) => path.startsWith("src/"))).toBe(true);
    expect(files.some((path) => path.startsWith("zig/"))).toBe(true);
  });
});

describe("a planted violation is found:", () => {
  const planted: readonly [string, (files: Files) => string[], Record<string, string>][] = [
    ["a core imports another", layerViolations, { "src/noise/a.ts": 'import "../swim/b.ts";' }],
    [
      "base imports metrics",
      layerViolations,
      { "src/base/a.ts": 'export * from "../metrics/b.ts";' },
    ],
    [
      "mesh imports the daemon",
      layerViolations,
      { "src/mesh/a.ts": 'const x = await import("../daemon/b.ts");' },
    ],
    [
      "an import runs over several lines",
      layerViolations,
      { "src/trust/a.ts": 'import {\n  type A,\n} from "../nat/b.ts";' },
    ],
    [
      "native imports the daemon",
      layerViolations,
      { "src/native/a.ts": 'import "../daemon/b.ts";' },
    ],
    ["a file has no layer", layerViolations, { "src/extra/a.ts": "" }],
    [
      "bun:ffi outside library.ts",
      layerViolations,
      { "src/native/crypto.ts": 'import { ptr } from "bun:ffi";' },
    ],
    ["a core reads the clock", ambientViolations, { "src/swim/a.ts": "const now = Date.now();" }],
    ["a core sets a timer", ambientViolations, { "src/mesh/a.ts": "setTimeout(f, 1);" }],
    ["a core opens a file", ambientViolations, { "src/trust/a.ts": 'import fs from "node:fs";' }],
    ["a core draws at random", ambientViolations, { "src/nat/a.ts": `\${Math.random()}` }],
    [
      "a pure Zig file makes a system call",
      zigViolations,
      { "zig/replay.zig": "const l = std.os.linux;" },
    ],
    [
      "a pure Zig file uses a device",
      zigViolations,
      { "zig/peer.zig": '_ = @import("udp_linux.zig");' },
    ],
    [
      "any other Zig file uses a device",
      zigViolations,
      { "zig/new.zig": '_ = @import("netlink.zig");' },
    ],
    [
      "something imports exports",
      zigViolations,
      { "zig/device.zig": '_ = @import("exports.zig");' },
    ],
    [
      "libsodium beside crypto.zig",
      zigViolations,
      { "zig/gate.zig": '_ = @import("sodium.zig");' },
    ],
    ["a Zig file is not tested", untestedZig, { "zig/tests.zig": "", "zig/a.zig": 'test "x" {}' }],
    ["a file is too long", longFiles, { "src/base/a.ts": "\n".repeat(linesMax + 1) }],
    [
      "an empty catch",
      emptyCatches,
      { "src/cli/a.ts": "try { f(); } catch (e) { /* so what */ }" },
    ],
    ["an empty catch of a promise", emptyCatches, { "src/cli/a.ts": "f().catch(() => {});" }],
    ["an empty catch in Zig", emptyCatches, { "zig/a.zig": "f() catch {};" }],
  ];
  for (const [sentence, rule, files] of planted) {
    test(sentence, () => {
      expect(rule(new Map(Object.entries(files)))).toHaveLength(1);
    });
  }

  test("but what stands in a comment or a string is not", () => {
    const files = new Map([
      ["src/swim/a.ts", '// Date.now()\n/* import "../nat/b.ts"; */\nconst s = "setTimeout";\n'],
      ["zig/replay.zig", '//! no std.os here\nconst s = "std.posix // catch {}";\n'],
    ]);
    const found = [layerViolations, ambientViolations, zigViolations, emptyCatches].map((rule) =>
      rule(files),
    );
    expect(found.flat()).toEqual([]);
  });
});

async function tree(): Promise<Files> {
  const files = new Map<string, string>();
  for (const pattern of ["src/**/*.ts", "zig/**/*.zig"]) {
    for await (const path of new Glob(pattern).scan(root)) {
      files.set(path, await Bun.file(root + path).text());
    }
  }
  return files;
}

/** The files below `directory`, tests and their scenes left out: those reach across layers. */
function* sources(files: Files, directory: "src" | "zig"): Generator<[string, string]> {
  for (const [path, text] of files) {
    if (path.startsWith(`${directory}/`) && !/(\.test\.ts|([/_]tests?|_scene)\.zig)$/.test(path))
      yield [path, text];
  }
}

function layerViolations(files: Files): string[] {
  const found: string[] = [];
  for (const [path, text] of sources(files, "src")) {
    const layer = path.split("/")[1] ?? "";
    const allowed = mayImport[layer];
    if (allowed === undefined) {
      found.push(`${path}: ${layer} is no layer`);
      continue;
    }
    for (const target of importsOf(text)) {
      if (target === "bun:ffi" && path !== "src/native/library.ts") found.push(`${path}: bun:ffi`);
      if (!target.startsWith(".")) continue;
      const [top, other = ""] = new URL(target, `file:///${path}`).pathname.slice(1).split("/");
      const inside = top === "src" && (other === layer || allowed.includes(other));
      if (!inside && !target.endsWith("/package.json"))
        found.push(`${path}: ${layer} imports ${target}`);
    }
  }
  return found;
}

function ambientViolations(files: Files): string[] {
  const found: string[] = [];
  for (const [path, text] of sources(files, "src")) {
    if (ambientAllowed.includes(path.split("/")[1] ?? "")) continue;
    const code = withoutComments(text, "blank strings");
    for (const pattern of ambient) if (pattern.test(code)) found.push(`${path}: ${pattern.source}`);
    for (const target of importsOf(text)) {
      if (/^(node:|bun(:|$))/.test(target)) found.push(`${path}: imports ${target}`);
    }
  }
  return found;
}

function zigViolations(files: Files): string[] {
  const found: string[] = [];
  for (const [path, text] of sources(files, "zig")) {
    const name = path.slice("zig/".length, -".zig".length);
    const code = withoutComments(text, "blank strings");
    // Of std.posix the pure files may name the layout of a vectored write, and nothing that acts.
    if (zigPure.includes(name) && /\bstd\.(os|posix(?!\.iovec)|Io|fs|net|process)\b/.test(code)) {
      found.push(`${path}: is pure and uses the system`);
    }
    for (const target of zigImportsOf(text)) {
      const refused =
        (zigSystem.includes(target) && !zigMayUseSystem.includes(name)) ||
        (target === "sodium" && !zigMayUseSodium.includes(name)) ||
        (target === "exports" && !zigRoots.includes(name));
      if (refused) found.push(`${path}: imports ${target}.zig`);
    }
  }
  return found;
}

function untestedZig(files: Files): string[] {
  const named = new Set(zigImportsOf(files.get("zig/tests.zig") ?? ""));
  const found: string[] = [];
  for (const [path, text] of files) {
    const name = path.slice("zig/".length, -".zig".length);
    if (/^zig\/[^/]+\.zig$/.test(path) && /^test[ {]/m.test(text) && !named.has(name))
      found.push(path);
  }
  return found;
}

function longFiles(files: Files): string[] {
  const found: string[] = [];
  for (const [path, text] of files) {
    // What is generated is not read from top to bottom.
    const lines = text.split("\n").length - 1;
    if (lines > linesMax && path !== "src/native/abi.ts") found.push(`${path}: ${lines} lines`);
  }
  return found;
}

function emptyCatches(files: Files): string[] {
  const found: string[] = [];
  for (const [path, text] of files) {
    const code = withoutComments(text, "blank strings");
    if (/\bcatch\s*(\([^)]*\)|\|[^|]*\|)?\s*\{\s*\}/.test(code)) found.push(`${path}: empty catch`);
    if (/\.catch\(\s*\(\w*\)\s*=>\s*\{\s*\}\s*\)/.test(code)) found.push(`${path}: empty .catch()`);
  }
  return found;
}

/** What a TypeScript file imports: static, re-exported, dynamic, and types as much as values. */
function importsOf(text: string): string[] {
  const pattern = /\b(?:from|import)\s*\(?\s*["']([^"']+)["']/g;
  return [...withoutComments(text, "keep strings").matchAll(pattern)].map(
    (match) => match[1] ?? "",
  );
}

function zigImportsOf(text: string): string[] {
  const pattern = /@import\("([a-z0-9_]+)\.zig"\)/g;
  return [...withoutComments(text, "keep strings").matchAll(pattern)].map(
    (match) => match[1] ?? "",
  );
}

/**
 * The text without comments, of both languages. Strings of one line are left empty where asked;
 * template literals stay, for there may be code in them.
 */
function withoutComments(text: string, strings: "keep strings" | "blank strings"): string {
  const token =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|^\s*\\\\[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/gm;
  return text.replace(token, (found) => {
    if (found.startsWith("`")) return found;
    if (found.startsWith('"') || found.startsWith("'")) {
      return strings === "keep strings" ? found : '""';
    }
    return " ";
  });
}
