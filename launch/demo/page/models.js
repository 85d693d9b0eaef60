/** @file The two models, run by LiteRT for the web. */

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

const WASM = "./runtime/@litertjs/core/wasm/";

export class Model {
  constructor(compiled) {
    this.compiled = compiled;
    this.shape = [...compiled.getInputDetails()[0].shape];
  }

  /** Returns the probability of each class. */
  async run(input) {
    const tensor = new Tensor(input, this.shape);
    const [output] = await this.compiled.run([tensor]);
    tensor.delete();
    const logits = await output.data();
    output.delete();
    return softmax(logits);
  }

  /** Milliseconds of a run, the mean over as many as fit into a moment. */
  async time(input, moment = 50) {
    const start = performance.now();
    let runs = 0;
    while (performance.now() < start + moment) {
      await this.run(input);
      runs++;
    }
    return (performance.now() - start) / runs;
  }
}

/** Loads the runtime and then each file. */
export async function load(...files) {
  await loadLiteRt(WASM);
  const models = [];
  for (const file of files) {
    models.push(new Model(await loadAndCompile(file, { accelerator: "wasm" })));
  }
  return models;
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
