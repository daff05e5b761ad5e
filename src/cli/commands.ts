/** Every command, by name, in the order of the help. Each is a file of its own, loaded when it is called. */
import type { Commands } from "./command-tree.ts";

/** A command's `run` may return an exit code. */
export const commands: Commands = {
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
  completion: async () => ({ default: (await import("./completion.ts")).completion(commands) }),
  man: async () => ({ default: (await import("./man.ts")).man(commands) }),
  version: () => import("./version.ts"),
};
