/** Output that is drawn again and again: in place on a terminal, one after the other in a pipe. */
import { setTimeout as sleep } from "node:timers/promises";

export interface Frames {
  /** Seconds between two. */
  readonly every: number;
  /** How many; undefined: until Ctrl-C. */
  readonly count?: number | undefined;
}

/** Calls `frame` and shows what it gives. The cursor comes back however it ends. */
export async function showFrames(
  { every, count }: Frames,
  frame: () => Promise<string>,
): Promise<void> {
  const terminal = process.stdout.isTTY === true;
  const end = new AbortController();
  const stop = (): void => end.abort();
  process.once("SIGINT", stop).once("SIGTERM", stop);
  if (terminal) process.stdout.write("\x1b[?25l");
  try {
    for (let shown = 0; shown !== count && !end.signal.aborted; shown += 1) {
      if (shown > 0) await pause(every * 1000, end.signal);
      if (end.signal.aborted) break;
      const text = await frame();
      process.stdout.write(terminal ? `\x1b[H${text.replaceAll("\n", "\x1b[K\n")}\x1b[J` : text);
    }
  } finally {
    if (terminal) process.stdout.write("\x1b[?25h");
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** One bar for each value, the highest of them full. */
export function sparkline(values: readonly number[]): string {
  const bars = "▁▂▃▄▅▆▇█";
  const most = Math.max(...values, 1);
  return values
    .map((value) => bars[Math.min(bars.length - 1, Math.floor((value / most) * bars.length))])
    .join("");
}
