/**
 * What the kernel says about processor time and memory: of one process with all its threads, and of
 * the whole machine. Read from /proc; times are seconds since the process or the machine started,
 * so that a measurement is a difference of two readings.
 */
import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";

/** USER_HZ, which is 100 on every architecture that Linux runs on today. */
const ticksPerSecond = 100;
/** Of /proc/PID/stat (proc(5)), counted from the one after the command's closing bracket. */
const userTimeField = 11;
const systemTimeField = 12;

/** User and system time of a process, threads that have ended included, in seconds. */
export function processSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[userTimeField]) + Number(fields[systemTimeField])) / ticksPerSecond;
}

/** Resident memory of a process, in MiB. */
export function residentMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  return Number(kib) / 1024;
}

export interface MachineTime {
  /** Everything but idling, waiting for disks, and what another guest took, in seconds. */
  readonly busy: number;
  /** Of all processors together, in seconds. */
  readonly total: number;
}

export function machineTime(): MachineTime {
  const line = readFileSync("/proc/stat", "utf8").split("\n", 1)[0] ?? "";
  const ticks = line.trim().split(/\s+/).slice(1).map(Number);
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, interrupts = 0, soft = 0] = ticks;
  const busy = user + nice + system + interrupts + soft;
  return { busy: busy / ticksPerSecond, total: (busy + idle + wait) / ticksPerSecond };
}

/** The share of the machine that others use just now, 0 to 1. */
export async function machineLoad(overMs: number): Promise<number> {
  const before = machineTime();
  await Bun.sleep(overMs);
  const after = machineTime();
  return after.total > before.total ? (after.busy - before.busy) / (after.total - before.total) : 0;
}

export interface Machine {
  readonly processor: string;
  readonly processors: number;
  readonly vectors: string;
  readonly memoryGiB: number;
  readonly kernel: string;
}

export function machine(): Machine {
  const [first] = cpus();
  return {
    processor: first?.model.trim() ?? "unknown",
    processors: cpus().length,
    vectors: widestVectors(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
  };
}

/** The widest instructions that the cipher has a path for. */
export function widestVectors(): string {
  const text = readFileSync("/proc/cpuinfo", "utf8");
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1]?.trim().split(" "));
  const known = { avx512ifma: "AVX-512 IFMA", avx512f: "AVX-512", avx2: "AVX2", asimd: "NEON" };
  const found = Object.entries(known).find(([flag]) => flags.has(flag));
  return found?.[1] ?? "SSE2";
}
