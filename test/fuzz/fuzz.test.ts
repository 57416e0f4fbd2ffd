import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { backendsSkip } from '../support/backends.ts';
import { type CampaignOptions, runCampaign } from './campaign.ts';

/** Another one finds other things: `npm run test:fuzz` takes a new one each time. */
const SEED = 20_261_121;

async function findsNothing(t: TestContext, options: CampaignOptions): Promise<void> {
  const { faults, summary } = await runCampaign(t, options);
  t.diagnostic(`\n${summary}`);
  assert.equal(faults.join('\n\n'), '');
}

test(`whatever is sent, the embedded service stands (seed ${SEED})`, async (t) => {
  await findsNothing(t, { requests: 5000, seed: SEED, backend: 'sqlite' });
});

test(`whatever is sent, a replica on MongoDB stands (seed ${SEED})`, {
  skip: backendsSkip({ own: true }),
}, async (t) => {
  await findsNothing(t, { requests: 500, seed: SEED, backend: 'mongo' });
});
