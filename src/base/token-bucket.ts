/** A rate with a burst, over time that is an argument. */

export interface TokenBucket {
  tokens: number;
  atMs: number;
}

/** True where there is one to take. */
export function hasToken(
  bucket: TokenBucket,
  nowMs: number,
  perSecond: number,
  burst: number,
): boolean {
  bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1000);
  bucket.atMs = nowMs;
  return bucket.tokens >= 1;
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
