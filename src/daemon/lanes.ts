/**
 * How many lanes (pairs of packet threads) a device gets. `auto` is one on a machine with few
 * processors, where two threads that run to completion are the fastest that was measured; with
 * more, a quarter of the processors: many peers then have a lane of their own, and the system and
 * the programs at both ends of a stream keep theirs.
 */
import { lanesMax } from "../native/dataplane.ts";

export const laneChoices = ["auto", "1", "2", "4", "8"] as const;
export type LaneChoice = (typeof laneChoices)[number];

export function lanesFor(choice: LaneChoice, processors: number): number {
  if (choice !== "auto") return Number(choice);
  let lanes = 1;
  while (lanes * 2 <= lanesMax && lanes * 8 <= processors) lanes *= 2;
  return lanes;
}
