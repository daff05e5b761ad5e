/** `meshvpn ping PEER`: through the tunnel, with the path that the answer took named. */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import type { MemberStatus } from "../daemon/status.ts";
import { askStatus, type Called } from "./ask.ts";
import { usageError } from "./errors.ts";
import { settingFlags } from "./flags.ts";
import { addressOf, findMember, nameOf } from "./member.ts";
import { wholeNumber } from "./numbers.ts";
import { pathStory } from "./paths.ts";

export const pingSchema = 1;
const pauseMs = 1_000;
const waitSeconds = 2;

export default defineCommand({
  meta: {
    name: "ping",
    description:
      "Ping a member through the tunnel and name the path that it is reached on. " +
      "Example: meshvpn ping laptop --until-direct",
  },
  args: {
    peer: {
      type: "positional",
      required: true,
      valueHint: "PEER",
      description: "its name, identity or address",
    },
    count: { type: "string", valueHint: "N", description: "how many (4; with --until-direct 30)" },
    "until-direct": { type: "boolean", description: "end when no relay is in between" },
    json: { type: "boolean", description: "print JSON at the end" },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const { args } = called;
    const untilDirect = args["until-direct"] === true;
    const count = wholeNumber("--count", args.count, 1, 100_000) ?? (untilDirect ? 30 : 4);
    if (Bun.which("ping") === null) {
      const remedy = "on Debian: apt-get install iputils-ping";
      throw new MeshError("ping_missing", "cannot ping", "there is no ping(8) here", remedy);
    }
    const report = await pingMember(called, String(args.peer), count, untilDirect, (line) => {
      if (args.json !== true) console.log(line);
    });
    const { candidates, nat, path_why, paths } = report.found;
    const ways = { nat, candidates, path_why, paths };
    if (args.json === true) console.log(JSON.stringify({ ...report, found: undefined, ...ways }));
    else process.stdout.write(pathStory(report.found));
    const failed = report.received === 0 || (untilDirect && !report.path.startsWith("direct"));
    if (!failed) return 0;
    const why = report.received === 0 ? "no answer came" : `the path is ${report.path}`;
    const what = untilDirect
      ? `${report.member} is not reached directly`
      : `${report.member} is silent`;
    throw new MeshError("unhealthy", what, why, `see meshvpn doctor ${report.member}`);
  },
});

interface PingReport {
  readonly schema: typeof pingSchema;
  readonly member: string;
  readonly address: string;
  readonly sent: number;
  readonly received: number;
  /** At the end. */
  readonly path: string;
  readonly replies: readonly { readonly rtt_ms: number | null; readonly path: string }[];
  /** The member at the end, with its paths. */
  readonly found: MemberStatus;
}

async function pingMember(
  called: Called,
  said: string,
  count: number,
  untilDirect: boolean,
  tell: (line: string) => void,
): Promise<PingReport> {
  if (said.startsWith("-")) throw usageError("no member is named", `got ${said}`, "see --help");
  const identity = findMember(await askStatus(called), said).identity;
  const look = async () => findMember(await askStatus(called), identity);
  const member = nameOf(await look());
  const address = addressOf(await look());
  const replies: { rtt_ms: number | null; path: string }[] = [];
  for (let sent = 0; sent < count; sent += 1) {
    if (sent > 0) await Bun.sleep(pauseMs);
    const rtt = await pingOnce(address);
    const { path } = await look();
    replies.push({ rtt_ms: rtt, path });
    tell(
      rtt === null ? `no answer from ${member}` : `${rtt} ms from ${member} (${address}), ${path}`,
    );
    if (untilDirect && rtt !== null && path.startsWith("direct")) break;
  }
  const received = replies.filter(({ rtt_ms: rtt }) => rtt !== null).length;
  const path = replies.at(-1)?.path ?? "-";
  const found = findMember(await askStatus(called, { paths: true }), identity);
  const sent = replies.length;
  return { schema: pingSchema, member, address, sent, received, path, replies, found };
}

/** Milliseconds; null without an answer. */
async function pingOnce(address: string): Promise<number | null> {
  const child = Bun.spawn(["ping", "-n", "-c", "1", "-W", `${waitSeconds}`, address], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    env: { ...process.env, LC_ALL: "C" },
  });
  const text = await new Response(child.stdout).text();
  const rtt = /\btime=([0-9.]+) ms/.exec(text)?.[1];
  return rtt === undefined ? null : Number(rtt);
}
