/** The counters of a plain device, which it tells when it is asked by signal. */
import { until } from "./process.ts";
import type { WireGuardDevice } from "./wireguard.ts";

export type Counters = Readonly<Record<string, number>>;

export async function countersOf({ daemon }: WireGuardDevice): Promise<Counters> {
  const said = daemon.log().length;
  daemon.kill("SIGUSR2");
  return await until(
    "the counters",
    () => {
      if (!daemon.running)
        throw new Error(`${daemon.command} ended:\n${daemon.log().slice(-2000)}`);
      const line = /counters: (\{.*\})\n/.exec(daemon.log().slice(said))?.[1];
      return line === undefined ? undefined : (JSON.parse(line) as Counters);
    },
    { timeoutMs: 20_000, evidence: () => daemon.log().slice(-2000) },
  );
}

export function difference(before: Counters, after: Counters): Counters {
  const grown = Object.entries(after).map(
    ([name, count]) => [name, count - (before[name] ?? 0)] as const,
  );
  return Object.fromEntries(grown.filter(([, count]) => count !== 0));
}
