/** What a running daemon takes over from a configuration that has changed, and what it cannot. */
import type { MeshConfig, SettingName } from "./setting.ts";

/** The rest is built into sockets, the interface and the node's own record when it starts. */
const takenOver: readonly SettingName[] = [
  ...(["seed", "announce", "http", "log_format", "log_level"] as const),
  ...(["offer", "offer_exit", "forward", "accept", "exit_node"] as const),
];
/** Those of them that say where packets are led. */
const ofRoutes: readonly SettingName[] = takenOver.slice(5);

/** What `meshvpn reload` answers. */
export interface ReloadReport {
  readonly schema: 1;
  /** How many identities are trusted now. */
  readonly trusted: number;
  /** Settings that have changed and hold now. */
  readonly changed: readonly SettingName[];
  /** Settings that have changed and hold after a restart. */
  readonly restart: readonly SettingName[];
}

export function changedSettings(
  before: MeshConfig,
  after: MeshConfig,
): Pick<ReloadReport, "changed" | "restart"> {
  const names = Object.keys(after) as SettingName[];
  const different = names.filter((name) => !Bun.deepEquals(before[name], after[name]));
  return {
    changed: different.filter((name) => takenOver.includes(name)),
    restart: different.filter((name) => !takenOver.includes(name)),
  };
}

export function concernsRoutes(names: readonly SettingName[]): boolean {
  return names.some((name) => ofRoutes.includes(name));
}

/** The running configuration with what can be taken over of the other. */
export function takeOver(before: MeshConfig, after: MeshConfig): MeshConfig {
  const taken = Object.fromEntries(takenOver.map((name) => [name, after[name]]));
  return { ...before, ...taken };
}
