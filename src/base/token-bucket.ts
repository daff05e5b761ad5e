/** A rate with a burst, over time that is an argument. */

export interface TokenBucket {
  tokens: number;
  atMs: number;
}

/** What came since it was last looked at; how many there are now, of which some may be parts of one. */
export function refill(
  bucket: TokenBucket,
  nowMs: number,
  perSecond: number,
  burst: number,
): number {
  const elapsedMs = Math.max(0, nowMs - bucket.atMs);
  bucket.tokens = Math.min(burst, bucket.tokens + (elapsedMs * perSecond) / 1000);
  bucket.atMs = nowMs;
  return bucket.tokens;
}

/** True where there is one to take. */
export function hasToken(
  bucket: TokenBucket,
  nowMs: number,
  perSecond: number,
  burst: number,
): boolean {
  return refill(bucket, nowMs, perSecond, burst) >= 1;
}

/** True where there was one to take. */
export function takeToken(
  bucket: TokenBucket,
  nowMs: number,
  perSecond: number,
  burst: number,
): boolean {
  if (!hasToken(bucket, nowMs, perSecond, burst)) return false;
  bucket.tokens -= 1;
  return true;
}
