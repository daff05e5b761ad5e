/** `meshvpn metrics`: what /metrics shows, without HTTP. */
import { defineCommand } from "citty";
import { askDaemon } from "./ask.ts";
import { settingFlags } from "./flags.ts";

export default defineCommand({
  meta: {
    name: "metrics",
    description:
      "Print the daemon's metrics as Prometheus reads them. " +
      "Example: meshvpn metrics > /var/lib/node_exporter/meshvpn.prom",
  },
  args: settingFlags(["control_socket"]),
  async run(called) {
    process.stdout.write(String(await askDaemon(called, { command: "metrics" })));
  },
});
