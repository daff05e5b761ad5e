/** `meshvpn up`: the daemon, in the foreground, or started in the background and waited for. */
import { defineCommand } from "citty";
import { readConfig, settingNames, strayVariables } from "../daemon/config.ts";
import type { MeshConfig } from "../daemon/setting.ts";
import { settingFlags, settingSources } from "./flags.ts";

export default defineCommand({
  meta: {
    name: "up",
    description:
      "Join the mesh and stay in it until meshvpn down, SIGTERM or Ctrl-C. " +
      "Example: meshvpn up --seed 192.0.2.1:51820 --detach",
  },
  args: {
    ...settingFlags(settingNames),
    detach: { type: "boolean", description: "return when the daemon is up, and leave it running" },
  },
  async run({ args, rawArgs }) {
    const sources = settingSources(settingNames, args, rawArgs);
    const config = readConfig(sources);
    const { logsToStarter, Readiness, startDetached } = await import("./detach.ts");
    const readiness = new Readiness();
    // Whoever waits for this process has said so already.
    if (!readiness.awaited) {
      for (const text of strayVariables(process.env)) console.error(`meshvpn: warning: ${text}`);
    }
    if (args.detach === true) {
      const rest = rawArgs.filter((argument) => argument !== "--detach");
      process.stderr.write(await startDetached(["up", ...rest]));
      return 0;
    }
    try {
      const { Log } = await import("../daemon/log.ts");
      const { runMesh } = await import("../daemon/daemon.ts");
      const { loadLibrary } = await import("../native/library.ts");
      const log = new Log(config.log_level, config.interface, config.log_format);
      const reread = (): MeshConfig => readConfig(sources);
      return await runMesh(loadLibrary(), { config, reread }, log, (words, warnings) => {
        const up = `meshvpn: up: ${words}\n`;
        if (!readiness.awaited || process.env.MESHVPN_LOG_FILE) process.stderr.write(up);
        // The log has the warnings, but there may be none.
        const told = warnings.map((text) => `meshvpn: warning: ${text}\n`);
        readiness.ok([up, ...(logsToStarter() ? [] : told)].join(""));
      });
    } catch (error) {
      if (readiness.failed(error)) return 1;
      throw error;
    }
  },
});
