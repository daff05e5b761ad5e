/** The library's cryptography does what `base/crypto.ts` says, as the tests' own one does. */
import { NativeCrypto } from "../../src/native/crypto.ts";
import { loadLibrary } from "../../src/native/library.ts";
import { cryptoContract } from "./crypto.ts";

cryptoContract("native", () => {
  const crypto = new NativeCrypto(loadLibrary());
  return {
    crypto,
    importSecret: (bytes) => crypto.import(bytes),
    live: () => crypto.secretCount(),
  };
});
