/**
 * How many threads a device gets: lanes (pairs of packet threads), and workers beside each packet
 * thread that seal and open with it. On a machine with few processors it is one lane and no worker:
 * two threads that run to completion are the fastest that was measured there. With more processors
 * many peers have a lane of their own, and a single stream has its cipher work shared, while the
 * system and the programs at both ends of a stream keep half of the machine.
 */
import { lanesMax } from "../native/dataplane.ts";

export const laneChoices = ["auto", "1", "2", "4", "8"] as const;
export type LaneChoice = (typeof laneChoices)[number];

export const workerChoices = ["auto", "0", "1", "2", "3", "4", "5", "6", "7", "8"] as const;
export type WorkerChoice = (typeof workerChoices)[number];

const processorsForWorkers = 4;

export function lanesFor(choice: LaneChoice, processors: number): number {
  if (choice !== "auto") return Number(choice);
  let lanes = 1;
  while (lanes * 2 <= lanesMax && lanes * 8 <= processors) lanes *= 2;
  return lanes;
}

/** Beside each packet thread. */
export function workersFor(choice: WorkerChoice, processors: number): number {
  if (choice !== "auto") return Number(choice);
  return processors >= processorsForWorkers ? 1 : 0;
}
