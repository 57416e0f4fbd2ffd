/**
 * `node bench/yardsticks/restate-service.ts PORT FOLDER`: a service of Restate with a handler of ten durable steps, by the
 * SDK that is installed in a folder.
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';

const STEPS = 10;

/** What is used of the SDK, which is no dependency of the project. */
interface Sdk {
  service(definition: {
    readonly name: string;
    readonly handlers: Readonly<Record<string, (context: Context) => Promise<number>>>;
  }): unknown;
  endpoint(): { bind(service: unknown): { listen(port: number): Promise<unknown> } };
}

interface Context {
  run<T>(name: string, act: () => T): Promise<T>;
}

const [port, folder = ''] = process.argv.slice(2);
const sdk: Sdk = createRequire(join(folder, 'package.json'))('@restatedev/restate-sdk');

const chain = sdk.service({
  name: 'chain',
  handlers: {
    run: async (context) => {
      let sum = 0;
      for (let step = 0; step < STEPS; step += 1) sum += await context.run(`step ${step}`, () => 1);
      return sum;
    },
  },
});
await sdk.endpoint().bind(chain).listen(Number(port));
