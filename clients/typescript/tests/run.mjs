// Builds the client, checks its types, and runs every test; says how many passed.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const compiler = createRequire(import.meta.url).resolve("typescript/bin/tsc");
let passed = 0;
let failed = 0;

for (const project of ["../tsconfig.json", "tsconfig.json"]) {
  const made = spawnSync(process.execPath, [compiler, "--project", here(project)], { stdio: "inherit" });
  if (made.status === 0) passed += 1;
  else failed += 1;
}
if (failed === 0) {
  const files = ["unit.test.mjs", "worker.test.mjs"].map(here);
  const tests = run({ files, concurrency: 1, timeout: 1_800_000 });
  tests.on("test:pass", ({ details, skip }) => {
    if (details.type !== "suite" && skip === undefined) passed += 1;
  });
  tests.on("test:fail", () => (failed += 1));
  const done = new Promise((end) => tests.on("end", end));
  tests.compose(spec).pipe(process.stderr);
  await done;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
