// Runs a module that wasm.c and a network make: node wasm.mjs FILE OUTPUTS
import { readFileSync } from "node:fs";

const [file, count] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(file), {});
const { run, outputs, memory } = instance.exports;
let least = Infinity;
for (let round = 0; round < 50; ++round) {
  const first = process.hrtime.bigint();
  run(100);
  least = Math.min(least, Number(process.hrtime.bigint() - first));
}
const steps = Number(process.env.STEPS ?? 8);
const bits = new Uint32Array(memory.buffer, outputs(), Number(count));
console.log(`count ${Math.round(least / (100 * steps))}`);
console.log("output " + Array.from(bits, (one) => one.toString(16)).join(" "));
