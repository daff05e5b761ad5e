/**
 * What looking for paths has sent, heard and refused.
 */
export interface PathCounters {
  probesSent: number;
  probesAnswered: number;
  probesHeld: number;
  answersSent: number;
  answersHeld: number;
  answersUnexpected: number;
  malformed: number;
  switches: number;
  guesses: number;
  sprays: number;
  lost: number;
  sizeProbes: number;
  dropped: number;
}

export function pathCounters(): PathCounters {
  return {
    probesSent: 0,
    probesAnswered: 0,
    probesHeld: 0,
    answersSent: 0,
    answersHeld: 0,
    answersUnexpected: 0,
    malformed: 0,
    switches: 0,
    guesses: 0,
    sprays: 0,
    lost: 0,
    sizeProbes: 0,
    dropped: 0,
  };
}
