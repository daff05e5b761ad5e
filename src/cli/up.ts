/** `meshvpn up`: the daemon, in the foreground, or started in the background and waited for. */
import { defineCommand } from "citty";
import { readConfig, settingNames, strayVariables } from "../daemon/config.ts";
import { logLevelWords } from "../daemon/log.ts";
import { usageError } from "./errors.ts";
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
    const config = readConfig(settingSources(settingNames, args, rawArgs));
    checkLogLevel(process.env.LOG_LEVEL);
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
      const { Log, logLevel } = await import("../daemon/log.ts");
      const { runMesh } = await import("../daemon/daemon.ts");
      const { loadLibrary } = await import("../native/library.ts");
      // Who joins and who leaves is what an operator looks for here.
      const log = new Log(
        logLevel(process.env.LOG_LEVEL || "info"),
        config.interface,
        config.log_format,
      );
      return await runMesh(loadLibrary(), config, log, (words, warnings) => {
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

/** Stricter than wireguard-go, which takes an unknown word for `error`. */
function checkLogLevel(said: string | undefined): void {
  if (said === undefined || said === "" || logLevelWords.some((word) => word === said)) return;
  const remedy = `give one of ${logLevelWords.join(", ")}`;
  throw usageError(`cannot use LOG_LEVEL=${said}`, "there is no such level", remedy);
}
