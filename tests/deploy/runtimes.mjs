// Runs an ONNX file in onnxruntime-web: node runtimes.mjs FILE INPUTS.json -> outputs as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const ort = createRequire(process.env.MODULES + "/")("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const [file, inputs] = process.argv.slice(2);
const session = await ort.InferenceSession.create(readFileSync(file), { logSeverityLevel: 4 });
const results = [];
for (const feeds of JSON.parse(readFileSync(inputs))) {
  const tensors = {};
  for (const [name, { kind, data, dims }] of Object.entries(feeds)) {
    const values = kind === "int64" ? BigInt64Array.from(data.map(BigInt)) : Float32Array.from(data);
    tensors[name] = new ort.Tensor(kind, values, dims);
  }
  const outputs = await session.run(tensors);
  results.push(Object.fromEntries(Object.entries(outputs).map(([name, one]) => [name, { data: Array.from(one.data, Number), dims: one.dims }])));
}
console.log(JSON.stringify(results));
