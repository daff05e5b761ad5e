/** `meshvpn version`: of the program, and of the border with its library. */
import { defineCommand } from "citty";
import manifest from "../../package.json" with { type: "json" };

export const version: string = manifest.version;

export default defineCommand({
  meta: { name: "version", description: "Print the version" },
  async run() {
    const { abi } = await import("../native/abi.ts");
    console.log(`meshvpn ${version} (library ABI ${abi.version}, Bun ${Bun.version})`);
  },
});
