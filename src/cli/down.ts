/** `meshvpn down`: stops the daemon, and returns when its process has ended. */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import { converse } from "../daemon/control.ts";
import { settingFlags, settingSources } from "./flags.ts";

const endMsMax = 20_000;

export default defineCommand({
  meta: {
    name: "down",
    description:
      "Stop the daemon and take its interface away. Example: meshvpn down && ip link show",
  },
  args: settingFlags(["control_socket"]),
  async run({ args, rawArgs }) {
    const { control_socket: socket } = readSettings(
      settingSources(["control_socket"], args, rawArgs),
      ["control_socket"],
    );
    const conversation = await converse(socket, { command: "stop" });
    const patience = Promise.withResolvers<"late">();
    const timer = setTimeout(() => patience.resolve("late"), endMsMax);
    const outcome = await Promise.race([conversation.ended, patience.promise]);
    clearTimeout(timer);
    if (outcome !== "late") return;
    conversation.close();
    throw new MeshError(
      "daemon_stuck",
      "the daemon has not ended",
      `it was told to ${endMsMax / 1000} s ago`,
      "see its log, or end its process",
    );
  },
});
