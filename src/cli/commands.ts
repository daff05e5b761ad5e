/** Every command, by name, in the order of the help. Each is a file of its own, loaded when it is called. */
import type { CommandDef } from "citty";

/** A command's file exports a citty command, each with arguments of its own type. */
export type Load = () => Promise<{ readonly default: object }>;

/** A command's `run` may return an exit code. */
export const commands: Readonly<Record<string, Load>> = {
  init: () => import("./init.ts"),
  invite: () => import("./invite.ts"),
  join: () => import("./join.ts"),
  keygen: () => import("./keygen.ts"),
  export: () => import("./export.ts"),
  trust: () => import("./trust.ts"),
  revoke: () => import("./revoke.ts"),
  org: () => import("./org.ts"),
  up: () => import("./up.ts"),
  down: () => import("./down.ts"),
  reload: () => import("./reload.ts"),
  status: () => import("./status.ts"),
  peers: () => import("./peers.ts"),
  top: () => import("./top.ts"),
  ping: () => import("./ping.ts"),
  netcheck: () => import("./netcheck.ts"),
  bench: () => import("./bench.ts"),
  logs: () => import("./logs.ts"),
  page: () => import("./page.ts"),
  metrics: () => import("./metrics.ts"),
  policy: () => import("./policy.ts"),
  config: () => import("./config.ts"),
  doctor: () => import("./doctor.ts"),
  debug: () => import("./debug.ts"),
  device: () => import("./device.ts"),
  completion: () => import("./completion.ts"),
  man: () => import("./man.ts"),
  version: () => import("./version.ts"),
};

export async function commandOf(load: Load): Promise<CommandDef> {
  return (await load()).default as CommandDef;
}
