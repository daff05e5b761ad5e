/** iperf3 between two hosts: many streams, or datagrams as fast as they can be made. */
import { until } from "./process.ts";
import type { Host } from "./stage.ts";

export interface Load {
  readonly bytes: number;
  readonly streams?: number;
  /** Datagrams, at no limit of rate. */
  readonly udp?: boolean;
}

interface Summary {
  readonly bytes: number;
  readonly lost_percent?: number;
}

interface Report {
  readonly end?: { readonly sum?: Summary; readonly sum_sent?: Summary };
  readonly error?: string;
}

let ports = 5300;

/** An error where iperf3 says so, where not all of a stream was sent, which is more than the buffers
 * hold, or where of datagrams none arrived. */
export async function iperf(from: Host, to: Host, address: string, load: Load): Promise<void> {
  ports += 1;
  const port = `${ports}`;
  const server = to.start(["iperf3", "-s", "-1", "--forceflush", "-B", address, "-p", port]);
  const evidence = (): string => server.log();
  await until("iperf3 to listen", () => server.log().includes("listening"), { evidence });
  const words = ["-J", "-c", address, "-p", port, "-n", `${load.bytes}`];
  if (load.streams !== undefined) words.push("-P", `${load.streams}`, "-w", "128K");
  if (load.udp) words.push("-u", "-b", "0");
  const ran = await from.run(["iperf3", ...words], { timeoutMs: 60_000 });
  await server.stop();
  const { end, error }: Report = JSON.parse(ran.stdout === "" ? "{}" : ran.stdout);
  const sum = load.udp ? end?.sum : end?.sum_sent;
  const title = `iperf3 ${words.join(" ")}`;
  if (ran.code !== 0 || error !== undefined || sum === undefined) {
    throw new Error(`${title}: ${error ?? ran.stderr}\n${server.log()}`);
  }
  if (sum.bytes < load.bytes) throw new Error(`${title}: ${sum.bytes} bytes were sent`);
  if (sum.lost_percent === 100) throw new Error(`${title}: nothing arrived`);
}
