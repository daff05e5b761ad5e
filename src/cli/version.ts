/** `meshvpn version`: of the program, and of the border with its library. */
import { defineCommand } from "citty";
import manifest from "../../package.json" with { type: "json" };

export const version: string = manifest.version;

export default defineCommand({
  meta: {
    name: "version",
    description: "Print the version. Example: meshvpn version --json",
  },
  args: { json: { type: "boolean", description: "print JSON" } },
  async run({ args }) {
    const { abi } = await import("../native/abi.ts");
    if (args.json === true) {
      const about = { schema: 1, version, library_abi: abi.version, bun: Bun.version };
      console.log(JSON.stringify(about));
    } else console.log(`meshvpn ${version} (library ABI ${abi.version}, Bun ${Bun.version})`);
  },
});
