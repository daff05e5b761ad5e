/** `meshvpn down`: stops the daemon, and returns when its process has ended. */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { converse } from "../daemon/control.ts";
import { undoForwarding } from "../daemon/forwarding.ts";
import type { MeshConfig } from "../daemon/setting.ts";
import { routingPlace } from "../mesh/route-plan.ts";
import { clientSettings } from "./ask.ts";
import { settingFlags } from "./flags.ts";
import { warn } from "./trust-context.ts";

const endMsMax = 20_000;
const names = ["control_socket", "state_dir", "interface"] as const;

export default defineCommand({
  meta: {
    name: "down",
    description:
      "Stop the daemon and take its interface away. Example: meshvpn down && ip link show",
  },
  args: settingFlags(names),
  async run(called) {
    const settings = clientSettings(called, names);
    const conversation = await reach(settings);
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

/** Where none runs, what a killed one left in the kernel goes. */
async function reach(
  settings: Pick<MeshConfig, (typeof names)[number]>,
): ReturnType<typeof converse> {
  try {
    return await converse(settings.control_socket, { command: "stop" });
  } catch (error) {
    if (!(error instanceof MeshError) || error.code !== "daemon_not_running") throw error;
    const { loadLibrary } = await import("../native/library.ts");
    const { first, count, mark } = routingPlace(settings.interface);
    const rules = loadLibrary().symbols.meshvpn_rules_flush(first, count, mark);
    const forwarding = undoForwarding(settings.state_dir, warn);
    if (rules > 0 || forwarding) warn("took back what a daemon left that was killed");
    throw error;
  }
}
