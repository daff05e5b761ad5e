/** `meshvpn logs`: the last lines of the daemon's log, wherever else it goes. */
import { defineCommand } from "citty";
import { type LogLine, lineText } from "../daemon/log.ts";
import { askDaemon } from "./ask.ts";
import { settingFlags } from "./flags.ts";
import { wholeNumber } from "./numbers.ts";

const followMs = 500;

export default defineCommand({
  meta: {
    name: "logs",
    description:
      "Print the last lines of the daemon's log; it keeps some hundred, also where it was started without one. " +
      "Example: meshvpn logs --follow",
  },
  args: {
    lines: { type: "string", valueHint: "N", description: "at most so many of the last (100)" },
    follow: { type: "boolean", description: "go on as more come" },
    json: { type: "boolean", description: "print each line as JSON" },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const { args } = called;
    const lines = wholeNumber("--lines", args.lines, 1, 1_000_000) ?? 100;
    let after = 0;
    for (let first = true; first || args.follow === true; first = false) {
      if (!first) await Bun.sleep(followMs);
      const all = (await askDaemon(called, { command: "logs", after })) as readonly LogLine[];
      for (const line of first ? all.slice(-lines) : all) {
        console.log(lineText(line, args.json === true ? "json" : "text"));
      }
      after = all.at(-1)?.number ?? after;
    }
  },
});
