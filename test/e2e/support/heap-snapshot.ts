/** Loaded before the program of a test: at SIGUSR2 everything that JavaScript holds goes to a file. */
import { renameSync } from "node:fs";
import { writeHeapSnapshot } from "node:v8";

process.on("SIGUSR2", () => {
  const path = process.env.HEAP_SNAPSHOT_PATH;
  if (path === undefined) return;
  renameSync(writeHeapSnapshot(`${path}.part`), path);
});
