/** `meshvpn up`: the daemon, in the foreground, or started in the background and waited for. */
import { defineCommand } from "citty";
import { readConfig, settingNames } from "../daemon/config.ts";
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
    const { Readiness, startDetached } = await import("./detach.ts");
    if (args.detach === true) {
      await startDetached(["up", ...rawArgs.filter((argument) => argument !== "--detach")]);
      return 0;
    }
    const readiness = new Readiness();
    try {
      const { Log, logLevel } = await import("../daemon/log.ts");
      const { runMesh } = await import("../daemon/daemon.ts");
      const { loadLibrary } = await import("../native/library.ts");
      // Who joins and who leaves is what an operator looks for here.
      const log = new Log(logLevel(process.env.LOG_LEVEL || "info"), config.interface);
      return await runMesh(loadLibrary(), config, log, (words) => {
        console.error(`meshvpn: up: ${words}`);
        readiness.ok();
      });
    } catch (error) {
      if (readiness.failed(error)) return 1;
      throw error;
    }
  },
});
