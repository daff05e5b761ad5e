/** `meshvpn invite`: a token with which another node comes into the network. */
import { defineCommand } from "citty";
import { readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import { canonicalGroups } from "../trust/certificate.ts";
import { inviteUsesMax } from "../trust/invite-book.ts";
import { parseDuration } from "./duration.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { checkName } from "./trust-context.ts";

const names = ["control_socket"] as const;
const help = "see meshvpn invite --help";

export default defineCommand({
  meta: {
    name: "invite",
    description:
      "Print a token with which another node joins the network; the daemon must be up to redeem it. " +
      "Example: meshvpn invite --ttl 1h",
  },
  args: {
    ttl: { type: "string", valueHint: "TIME", description: "until when it can be used (24h)" },
    uses: { type: "string", valueHint: "N", description: "by how many nodes (1)" },
    qr: { type: "boolean", description: "show it as a QR code too" },
    name: {
      type: "string",
      valueHint: "NAME",
      description: "what the node is called, whatever it says",
    },
    groups: { type: "string", valueHint: "A,B", description: "its groups, for policies" },
    expires: {
      type: "string",
      valueHint: "TIME",
      description: "how long its certificate lasts (1y)",
    },
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(names),
  },
  async run({ args, rawArgs }) {
    const { control_socket: socket } = readSettings(settingSources(names, args, rawArgs), names);
    checkName(args.name);
    const result = (await ask(socket, {
      command: "invite",
      ttl_ms: parseDuration("--ttl", args.ttl ?? "24h"),
      uses: parseUses(args.uses ?? "1", args.name),
      name: args.name ?? "",
      groups: parseGroups(args.groups),
      certificate_ms: parseDuration("--expires", args.expires ?? "1y"),
    })) as { token: string; expires: number; uses: number; network: string };
    if (args.json === true) {
      const { token, uses, network } = result;
      const expires = Math.floor(result.expires / 1000);
      console.log(JSON.stringify({ schema: 1, token, expires, uses, network }));
      return;
    }
    console.log(result.token);
    if (args.qr === true) {
      const { renderUnicodeCompact } = await import("uqr");
      console.log(renderUnicodeCompact(result.token, { ecc: "L" }));
    }
    if (process.stdout.isTTY !== true) return;
    const until = new Date(result.expires).toLocaleString();
    const whom = result.uses === 1 ? "one node" : `${result.uses} nodes`;
    console.error(`for ${whom}, until ${until}; on it: meshvpn join TOKEN`);
  },
});

function parseUses(text: string, name: string | undefined): number {
  const uses = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0;
  if (uses < 1 || uses > inviteUsesMax) {
    throw usageError(
      `cannot use --uses ${text}`,
      `it is a number from 1 to ${inviteUsesMax}`,
      help,
    );
  }
  if (uses > 1 && name !== undefined) {
    throw usageError(`cannot call ${uses} nodes ${name}`, "a name is for one", help);
  }
  return uses;
}

/** @throws MeshError usage. */
export function parseGroups(text: string | undefined): readonly string[] {
  const given = text === undefined || text === "" ? [] : text.split(",");
  const groups = canonicalGroups(given.map((group) => group.trim()));
  if (groups !== undefined) return groups;
  const why = "groups are at most 8 names of a-z, 0-9 and -, at most 32 characters";
  throw usageError(`cannot use --groups ${text}`, why, "separate them by commas");
}
