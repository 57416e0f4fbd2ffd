/** `npm run test:fuzz -- --requests 100000 --seed 7 --backend mongo`, or `--only 4711` for one request alone. */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { withScope } from '../support/server-process.ts';
import { type CampaignOptions, runCampaign } from './campaign.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    backend: { type: 'string', default: 'sqlite' },
    only: { type: 'string' },
  },
});

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} must be a whole number, not ${text}`);
  return number;
}

function optionsGiven(): CampaignOptions {
  const { backend, only } = values;
  if (backend !== 'sqlite' && backend !== 'mongo') throw new Error(`--backend must be sqlite or mongo, not ${backend}`);
  return {
    backend,
    requests: wholeNumber('requests', values.requests),
    seed: wholeNumber('seed', values.seed),
    ...(only === undefined ? {} : { only: wholeNumber('only', only) }),
  };
}

const options = optionsGiven();
console.log(`seed ${options.seed}`);
const { faults, summary } = await withScope((scope) => runCampaign(scope, options));
console.log(summary);
for (const fault of faults) console.error(`\n${fault}`);
console.log(faults.length === 0 ? 'nothing found' : `${faults.length} faults`);
process.exitCode = faults.length === 0 ? 0 : 1;
