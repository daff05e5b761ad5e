/** `meshvpn peers`: the members alone, one a line. */
import { defineCommand } from "citty";
import { askStatus } from "./ask.ts";
import { settingFlags } from "./flags.ts";
import { memberRows } from "./status.ts";

export const peersSchema = 1;

export default defineCommand({
  meta: {
    name: "peers",
    description:
      "List the members: name, identity, addresses, state, path, round trip, last handshake, bytes. " +
      "Example: meshvpn peers | cut -f1",
  },
  args: {
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const { members } = await askStatus(called, { paths: called.args.json === true });
    if (called.args.json === true) console.log(JSON.stringify({ schema: peersSchema, members }));
    else process.stdout.write(memberRows(members, process.stdout.isTTY === true));
  },
});
