/** Whether anything can be written in a directory at all, where a refusal does not say why. */
import { accessSync, constants, statfsSync } from "node:fs";

/** False also where that cannot be seen. */
export function isFullOrReadOnly(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return statfsSync(directory).bavail === 0;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EROFS";
  }
}
