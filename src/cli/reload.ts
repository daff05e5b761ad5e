/** `meshvpn reload`: the daemon reads its configuration and its trust again. */
import { defineCommand } from "citty";
import { readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import type { ReloadReport } from "../daemon/reload.ts";
import type { MeshStatus } from "../daemon/status.ts";
import { trustWords } from "../daemon/trust-store.ts";
import { settingFlags, settingSources } from "./flags.ts";

export default defineCommand({
  meta: {
    name: "reload",
    description:
      "Have the daemon read its configuration and whom it trusts again, as SIGHUP does. " +
      "Example: meshvpn config check && meshvpn reload",
  },
  args: {
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(["control_socket"]),
  },
  async run({ args, rawArgs }) {
    const { control_socket: socket } = readSettings(
      settingSources(["control_socket"], args, rawArgs),
      ["control_socket"],
    );
    const report = (await ask(socket, { command: "reload" })) as ReloadReport;
    if (args.json === true) console.log(JSON.stringify(report));
    else {
      const { organisations } = (await ask(socket, { command: "status" })) as MeshStatus;
      process.stdout.write(reloadText(report, organisations));
    }
  },
});

export function reloadText(
  { trusted, changed, restart }: ReloadReport,
  organisations: number,
): string {
  const lines = [
    changed.length === 0 ? "no setting has changed" : `changed: ${changed.join(", ")}`,
    ...(restart.length === 0 ? [] : [`changed, after a restart: ${restart.join(", ")}`]),
    trustWords({ trusted, organisations }),
  ];
  return lines.map((line) => `${line}\n`).join("");
}
