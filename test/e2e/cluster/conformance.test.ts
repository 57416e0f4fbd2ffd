import { testExchanges } from '../../conformance/exchanges.ts';
import { backendsSkip } from '../../support/backends.ts';
import { FORMATIONS } from './cluster.ts';

const skip = backendsSkip({ own: true });

for (const { name, start } of FORMATIONS) testExchanges({ name, start, skip });
