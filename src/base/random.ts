/** Randomness as the cores see it: always an argument. The daemon's comes from the kernel. */
export interface Random {
  /** `length` unpredictable bytes. */
  bytes(length: number): Uint8Array;
  /** Uniform integer in [0, bound), bound at most 2^32. */
  below(bound: number): number;
}
