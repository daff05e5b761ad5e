/** `meshvpn device IFNAME`: a plain WireGuard device, configured by `wg` and wg-quick. */
import { defineCommand } from "citty";
import { laneChoices, workerChoices } from "../daemon/threads.ts";
import { busyPollMax, cipherChoices, ioUringChoices } from "../native/dataplane.ts";
import { usageError } from "./errors.ts";

/** What has no flag, for the help. */
export const variables = [
  "Environment:",
  "  MESHVPN_STATE_DIR  where replay protection is remembered (/var/lib/meshvpn)",
  `  MESHVPN_AEAD       what seals packets: ${cipherChoices.join(", ")} (auto)`,
  `  MESHVPN_LANES      pairs of packet threads: ${laneChoices.join(", ")} (auto)`,
  `  MESHVPN_ENCRYPT_WORKERS  threads beside each of them: auto, 0 to ${workerChoices.at(-1)} (auto)`,
  `  MESHVPN_IO_URING   move packets by io_uring: ${ioUringChoices.join(", ")} (auto)`,
  "  MESHVPN_CONNECTED_SOCKETS  a connected socket for each busy peer: on, off (off)",
  "  MESHVPN_BUSY_POLL  microseconds that a receive asks the network card (0)",
  "  LOG_LEVEL          silent, error, verbose or info, debug (error)",
  "  MESHVPN_LOG_FILE   where a device in the background logs",
].join("\n");

export default defineCommand({
  meta: {
    name: "device",
    description:
      "Run a plain WireGuard device, for wg and wg-quick to configure; what has no flag is set by variables, which --help lists. " +
      "Example: meshvpn device wg0 && wg setconf wg0 wg0.conf",
  },
  args: {
    ifname: { type: "positional", required: true, description: "The interface, such as wg0" },
    foreground: {
      type: "boolean",
      alias: "f",
      description: "Stay in the foreground and log to stderr",
    },
  },
  async run({ args }) {
    return await deviceCommand(args.ifname, args.foreground === true);
  },
});

/** The exit code. Without `foreground` it returns when a background process answers UAPI. */
export async function deviceCommand(interfaceName: string, foreground: boolean): Promise<number> {
  checkInterfaceName(interfaceName);
  const { Readiness, startDetached } = await import("./detach.ts");
  if (!foreground) {
    await startDetached(["device", "--foreground", interfaceName]);
    return 0;
  }
  const readiness = new Readiness();
  try {
    const { Log, logLevel } = await import("../daemon/log.ts");
    const { runDevice } = await import("../daemon/device.ts");
    const { loadLibrary } = await import("../native/library.ts");
    const stateDirectory = process.env.MESHVPN_STATE_DIR || "/var/lib/meshvpn";
    const log = new Log(logLevel(process.env.LOG_LEVEL), interfaceName);
    const cipher = chosen("MESHVPN_AEAD", cipherChoices);
    const lanes = chosen("MESHVPN_LANES", laneChoices);
    const workers = chosen("MESHVPN_ENCRYPT_WORKERS", workerChoices);
    const ioUring = chosen("MESHVPN_IO_URING", ioUringChoices);
    const connectedSockets = chosen("MESHVPN_CONNECTED_SOCKETS", ["off", "on"]) === "on";
    const ways = { cipher, lanes, workers, ioUring, connectedSockets, busyPollUs: busyPoll() };
    const options = { interfaceName, stateDirectory, ...ways, log };
    return await runDevice(loadLibrary(), options, () => readiness.ok());
  } catch (error) {
    if (readiness.failed(error)) return 1;
    throw error;
  }
}

/** wireguard-go's calling convention has no flags: what flags of `up` say comes by variables. */
function chosen<Choice extends string>(variable: string, choices: readonly Choice[]): Choice {
  const said = process.env[variable] || choices[0];
  const choice = choices.find((each) => each === said);
  if (choice !== undefined) return choice;
  throw usageError(
    `${variable}=${said} is not acceptable`,
    "there is no such choice",
    `give one of ${choices.join(", ")}`,
  );
}

function busyPoll(): number {
  const said = process.env.MESHVPN_BUSY_POLL || "0";
  if (/^\d{1,5}$/.test(said) && Number(said) <= busyPollMax) return Number(said);
  throw usageError(
    `MESHVPN_BUSY_POLL=${said} is not acceptable`,
    "it is a number of microseconds",
    `give 0 to ${busyPollMax}`,
  );
}

/** The kernel's rule (dev_valid_name), and no name pattern such as tun%d. */
function checkInterfaceName(name: string): void {
  const bytes = new TextEncoder().encode(name).length;
  const why =
    bytes < 1 || bytes > 15
      ? `it has ${bytes} bytes`
      : name === "." || name === ".." || name.startsWith("-")
        ? "such a name is not allowed"
        : /[^!-~]|[/:%]/.test(name)
          ? "it holds a character that is not allowed"
          : undefined;
  if (why === undefined) return;
  throw usageError(
    `${JSON.stringify(name)} is no interface name`,
    why,
    "give 1 to 15 printable characters without space, /, : or %, such as wg0",
  );
}
