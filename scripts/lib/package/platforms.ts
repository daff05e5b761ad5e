/** The platforms that are published for: what Zig, npm and Bun each call them. */
import { readFileSync } from "node:fs";

export interface Platform {
  readonly arch: "x64" | "arm64";
  readonly libc: "gnu" | "musl";
  /** Zig's target; build.zig names the oldest glibc. */
  readonly zig: string;
  /** The package that holds Bun for it, without an install script. */
  readonly bun: string;
}

export const platforms: readonly Platform[] = [
  { arch: "x64", libc: "gnu", zig: "x86_64-linux-gnu.2.28", bun: "@oven/bun-linux-x64" },
  { arch: "x64", libc: "musl", zig: "x86_64-linux-musl", bun: "@oven/bun-linux-x64-musl" },
  { arch: "arm64", libc: "gnu", zig: "aarch64-linux-gnu.2.28", bun: "@oven/bun-linux-aarch64" },
  { arch: "arm64", libc: "musl", zig: "aarch64-linux-musl", bun: "@oven/bun-linux-aarch64-musl" },
];

/** The one that this process runs on. */
export function platformHere(): Platform {
  const libc = readFileSync("/proc/self/maps", "utf8").includes("/ld-musl-") ? "musl" : "gnu";
  const here = platforms.find((each) => each.arch === process.arch && each.libc === libc);
  if (here === undefined) throw new Error(`nothing is published for ${process.arch} and ${libc}`);
  return here;
}
