import { NobleCrypto } from "../support/noble-crypto.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { cryptoContract } from "./crypto.ts";

cryptoContract("noble", () => {
  const crypto = new NobleCrypto({ random: new SeededRandom(2) });
  return {
    crypto,
    importSecret: (bytes) => crypto.importSecret(bytes),
    live: () => crypto.live(),
  };
});
