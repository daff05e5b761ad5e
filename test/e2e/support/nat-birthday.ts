/**
 * Birthday probing is a matter of chance, so it is judged over many runs: a restricted NAT against a
 * symmetric one with random ports, fresh nodes and NATs each time.
 */
import { readdirSync } from "node:fs";
import type { Node } from "./mesh.ts";
import { birthdayMsMax, type Matrix, type Outcome } from "./nat-matrix.ts";

/** Of 20. */
const directOf20Min = 17;

export interface Birthdays {
  readonly runs: number;
  readonly direct: number;
  readonly directMin: number;
  /** Until both ends were direct; null: not in time. */
  readonly ms: readonly (number | null)[];
  readonly holds: boolean;
}

/** Files and sockets that a node's processes hold. */
export async function descriptorsOf({ host }: Node): Promise<number> {
  const pids = await host.processes();
  return pids.reduce((total, pid) => total + readdirSync(`/proc/${pid}/fd`).length, 0);
}

export async function birthdays(
  matrix: Matrix,
  runs: number,
  atOnce: number,
  tell: (outcome: Outcome) => void,
): Promise<Birthdays> {
  const ms: (number | null)[] = [];
  let begun = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (begun < runs) {
        begun += 1;
        const outcome = await matrix.run(["restricted", "symmetric-random"]);
        tell(outcome);
        const { directMs } = outcome;
        const isDirect = directMs !== undefined && directMs <= birthdayMsMax;
        ms.push(isDirect ? Math.round(directMs) : null);
      }
    }),
  );
  const direct = ms.filter((each) => each !== null).length;
  const directMin = Math.ceil((runs * directOf20Min) / 20);
  return { runs, direct, directMin, ms, holds: direct >= directMin };
}
