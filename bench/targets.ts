/**
 * What meshvpn is to reach, each a ratio inside one run or a bound, and whether this run shows it. A
 * target whose peer or metric is not in the run is not mentioned. "No worse" is 0.85 of the other,
 * since gaps below that are the spread of a shared machine.
 */
import { avx2, best, plain, reference, withoutCipher } from "./peers.ts";
import { median, type Results, sceneSummary } from "./results.ts";

export interface Verdict {
  readonly title: string;
  readonly target: string;
  readonly reached: string;
  readonly met: boolean;
}

const noWorse = 0.85;
/** What a garbage collector may leave either way. */
const flat = 1.05;
const directions = ["up", "down"] as const;

export function verdicts(results: Results): Verdict[] {
  return [
    ...throughput(results),
    ...directions.map((way) =>
      atMost(`retransmits ${way}, in 5 s`, 50, median(results, plain, `retransmits-${way}`), "", 0),
    ),
    against(results, "CPU of both daemons for a GB", "cpu-daemons", reference, "at most", 0.35),
    against(results, "256-byte UDP received", "udp-256", reference, "at least", 4),
    against(results, "ping idle, average", "ping-idle", best, "at most", 1.25),
    against(results, "ping idle, p99", "ping-idle-p99", best, "at most", 1.25),
    against(results, "ping loaded, average", "ping-loaded", reference, "at most", 1),
    against(results, "ping loaded, p99", "ping-loaded-p99", reference, "at most", 1),
    memory(results),
    ...directions.map((way) => {
      const four = median(results, plain, `four-${way}`);
      const one = median(results, plain, `tcp-${way}`);
      return judge(`four streams ${way} against one`, "at least", noWorse, quotient(four, one));
    }),
    ...directions.map((way) => {
      const all = sceneSummary(results, "eight", `eight-${way}`)?.median;
      const one = sceneSummary(results, "eight", `one-${way}`)?.median;
      return judge(`eight peers ${way} against one`, "at least", noWorse, quotient(all, one));
    }),
    ...blockedLoop(results),
    soak(results),
  ].filter((verdict) => verdict !== undefined);
}

function throughput(results: Results): (Verdict | undefined)[] {
  const wide = results.machine.vectors === "AVX-512 IFMA";
  return directions.flatMap((way) => {
    const id = `tcp-${way}`;
    const share = (name: string): number | undefined =>
      quotient(median(results, name, id), median(results, withoutCipher, id));
    const title = (name: string): string => `TCP ${way}, ${name} against the path without a cipher`;
    return [
      // What is asked of a processor without AVX-512 IFMA is half the path without a cipher.
      ...(wide ? [against(results, `TCP ${way}`, id, reference, "at least", 2.5)] : []),
      judge(title(plain), "at least", wide ? 0.65 : 0.5, share(plain)),
      judge(title(avx2), "at least", 0.5, share(avx2)),
    ];
  });
}

function memory(results: Results): Verdict | undefined {
  const loaded = median(results, plain, "memory");
  const beyond = loaded === undefined ? undefined : loaded - results.idleBunMiB;
  return atMost("resident memory beyond an idle Bun's", 64, beyond, " MiB", 1);
}

/** Within the spread of the control rounds, or better; processor time within 5 %. */
function blockedLoop(results: Results): (Verdict | undefined)[] {
  const of = (id: string): ReturnType<typeof sceneSummary> => sceneSummary(results, "blocked", id);
  const inside = (title: string, id: string, more: boolean): Verdict | undefined => {
    const [control, blocked] = [of(`control-${id}`), of(`blocked-${id}`)];
    if (control === undefined || blocked === undefined) return undefined;
    const bound = more ? control.least : control.most;
    return {
      title: `${title} with the loop blocked`,
      target: `at ${more ? "least" : "most"} ${bound.toFixed(3)}, as in control rounds`,
      reached: blocked.median.toFixed(3),
      met: more ? blocked.median >= bound : blocked.median <= bound,
    };
  };
  const cpu = quotient(of("blocked-cpu")?.median, of("control-cpu")?.median);
  return [
    inside("TCP, Gbit/s,", "tcp", true),
    inside("ping loaded, ms,", "ping", false),
    inside("ping loaded p99, ms,", "ping-p99", false),
    judge("CPU for a GB with the loop blocked", "at most", 1.05, cpu),
  ];
}

/** Memory under a long load: the last part against the first. */
function soak(results: Results): Verdict | undefined {
  const first = sceneSummary(results, "soak", "first")?.median;
  const last = sceneSummary(results, "soak", "last")?.median;
  const minutes = sceneSummary(results, "soak", "minutes")?.median;
  const title = `resident memory over ${minutes} minutes, the last part against the first`;
  return judge(title, "at most", flat, quotient(last, first));
}

function against(
  results: Results,
  title: string,
  id: string,
  other: string,
  bound: "at least" | "at most",
  target: number,
): Verdict | undefined {
  const reached = quotient(median(results, plain, id), median(results, other, id));
  return judge(`${title} against ${other}`, bound, target, reached);
}

function judge(
  title: string,
  bound: "at least" | "at most",
  target: number,
  reached: number | undefined,
): Verdict | undefined {
  if (reached === undefined) return undefined;
  const met = bound === "at least" ? reached >= target : reached <= target;
  return { title, target: `${bound} ${target} x`, reached: `${reached.toFixed(2)} x`, met };
}

function atMost(
  title: string,
  target: number,
  reached: number | undefined,
  unit: string,
  digits: number,
): Verdict | undefined {
  if (reached === undefined) return undefined;
  return {
    title,
    target: `at most ${target}${unit}`,
    reached: `${reached.toFixed(digits)}${unit}`,
    met: reached <= target,
  };
}

function quotient(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || !other ? undefined : one / other;
}
