/** A trial: what an attack must not do, in figures that are measured, each beside its limit. */
import type { Attack } from "../support/attacker.ts";
import type { Field, Measured } from "./field.ts";

export interface Form {
  readonly quick: boolean;
  /** Alternating rounds, at most where it is quick. */
  readonly rounds: number;
  /** Of one measurement. */
  readonly seconds: number;
}

/** Gates what must never happen, and half of the throughput: the best of as many rounds as it takes,
 * since on a machine that has other work one round says little. */
export const quickForm: Form = { quick: true, rounds: 3, seconds: 1 };
export const fullForm: Form = { quick: false, rounds: 5, seconds: 4 };
/** Of the control, whatever the attack: the quick form's share of the tunnel. */
const quickShareMin = 0.5;

/** What strangers may cost, whatever they send. */
export const diffieHellmanPerSecondMax = 500;

export interface Figure {
  readonly what: string;
  readonly value: number | string | boolean;
  /** In words; none where the figure is only told. */
  readonly limit?: string;
  readonly holds: boolean;
}

export interface Trial {
  readonly name: string;
  readonly title: string;
  run(form: Form): Promise<Figure[]>;
}

export function atMost(what: string, value: number, limit: number): Figure {
  return { what, value: rounded(value), limit: `at most ${limit}`, holds: value <= limit };
}

export function atLeast(what: string, value: number, limit: number): Figure {
  return { what, value: rounded(value), limit: `at least ${limit}`, holds: value >= limit };
}

export function equal<Value extends number | string | boolean>(
  what: string,
  value: Value,
  wanted: Value,
): Figure {
  return { what, value, limit: `${wanted}`, holds: value === wanted };
}

export function told(what: string, value: number | string): Figure {
  return { what, value: typeof value === "number" ? rounded(value) : value, holds: true };
}

export interface Rounds {
  readonly attacks: readonly Measured[];
  /** Of the control's throughput. */
  readonly share: Figure;
  readonly about: readonly Figure[];
}

/** Control and attack in turn, as often as the form says. */
export async function againstControl(
  field: Field,
  form: Form,
  attack: Omit<Attack, "seconds">,
  shareMin: number,
): Promise<Rounds> {
  const shares: number[] = [];
  const controls: Measured[] = [];
  const attacks: Measured[] = [];
  for (let round = 0; round < form.rounds; round += 1) {
    // Whatever grows or wanes with time favours neither.
    const control = round % 2 === 0 ? await field.control(form.seconds, attack) : undefined;
    const attacked = await field.measure(form.seconds, attack);
    const beside = control ?? (await field.control(form.seconds, attack));
    controls.push(beside);
    attacks.push(attacked);
    shares.push(attacked.gbitPerSecond / beside.gbitPerSecond);
    if (form.quick && Math.max(...shares) >= quickShareMin) break;
  }
  const share = form.quick
    ? atLeast("share of the control, in the best round", Math.max(...shares), quickShareMin)
    : atLeast("share of the control", median(shares), shareMin);
  const of = (all: readonly Measured[], what: (each: Measured) => number): number =>
    median(all.map(what));
  return {
    attacks,
    share,
    about: [
      told(
        "Gbit/s beside the control",
        of(controls, (each) => each.gbitPerSecond),
      ),
      told(
        "Gbit/s under attack",
        of(attacks, (each) => each.gbitPerSecond),
      ),
      told(
        "attack, datagrams/s",
        of(attacks, (each) => each.attack.perSecond),
      ),
      told(
        "control, datagrams/s",
        of(controls, (each) => each.attack.perSecond),
      ),
    ],
  };
}

/** What a counter grew by, in all rounds. */
export function total(measured: readonly Measured[], counter: string): number {
  return measured.reduce((sum, { counted }) => sum + (counted[counter] ?? 0), 0);
}

/** The worst round's growth a second. */
export function perSecond(measured: readonly Measured[], counter: string): number {
  return Math.max(...measured.map(({ counted, seconds }) => (counted[counter] ?? 0) / seconds));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const [upper = 0, lower = 0] = [sorted[middle], sorted[middle - 1]];
  return sorted.length % 2 === 1 ? upper : (upper + lower) / 2;
}

function rounded(value: number): number {
  return Math.abs(value) < 100 ? Math.round(value * 1000) / 1000 : Math.round(value);
}
