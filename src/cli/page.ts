/** `meshvpn page`: where a browser on this machine sees the mesh live. */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { askDaemon } from "./ask.ts";
import { settingFlags } from "./flags.ts";

export default defineCommand({
  meta: {
    name: "page",
    description:
      "Print the address of the local page, which shows members, paths and rates live; it holds a token, so keep it. " +
      "Example: xdg-open $(meshvpn page)",
  },
  args: settingFlags(["control_socket"]),
  async run(called) {
    const address = await askDaemon(called, { command: "page" });
    if (typeof address === "string") {
      console.log(address);
      return;
    }
    throw new MeshError(
      "no_page",
      "there is no page",
      "the daemon answers HTTP nowhere on loopback",
      'set http = "9586" in the configuration, and meshvpn reload',
    );
  },
});
