/**
 * `meshvpn-wg [-f|--foreground] IFNAME`: the same device under wireguard-go's calling convention,
 * as wg-quick calls it (WG_QUICK_USERSPACE_IMPLEMENTATION=meshvpn-wg).
 */
import { deviceCommand, variables } from "./device.ts";
import { usageError } from "./errors.ts";
import { version } from "./version.ts";

const usage = "usage: meshvpn-wg [-f|--foreground] IFNAME";

/** The exit code. */
export async function wireguardMain(args: readonly string[]): Promise<number> {
  const [first, second, ...rest] = args;
  if (args.length === 1 && first === "--version") {
    console.log(`meshvpn ${version}, a userspace WireGuard for Linux`);
    return 0;
  }
  if (args.length === 1 && (first === "--help" || first === "-h")) {
    console.log(`${usage}\n\n${variables}`);
    return 0;
  }
  const flagged = first === "-f" || first === "--foreground";
  const name = flagged ? second : first;
  const extra = flagged ? rest : args.slice(1);
  if (name === undefined || extra.length > 0 || name.startsWith("-")) {
    const why = name === undefined ? "no interface is named" : "it takes one interface's name";
    throw usageError("cannot read the command line", why, usage);
  }
  return await deviceCommand(name, flagged || process.env.WG_PROCESS_FOREGROUND === "1");
}
