/** All trials of a form, or some of them, and whether every figure held. */
import { endurance } from "./endurance.ts";
import { meshTrials } from "./mesh-trials.ts";
import type { Figure, Form, Trial } from "./trial.ts";
import { trials } from "./trials.ts";

export const allTrials: readonly Trial[] = [...trials, ...meshTrials, ...endurance];

export interface Tried {
  readonly name: string;
  readonly title: string;
  readonly seconds: number;
  readonly figures: readonly Figure[];
  readonly holds: boolean;
  /** Why it could not be brought to its end. */
  readonly error?: string;
}

/** Never rejects: a trial that fails to run holds nothing. */
export async function tryOne(trial: Trial, form: Form): Promise<Tried> {
  const { name, title } = trial;
  const start = performance.now();
  const seconds = (): number => (performance.now() - start) / 1000;
  try {
    const figures = await trial.run(form);
    const holds = figures.length > 0 && figures.every((figure) => figure.holds);
    return { name, title, seconds: seconds(), figures, holds };
  } catch (error) {
    const words = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { name, title, seconds: seconds(), figures: [], holds: false, error: words };
  }
}
