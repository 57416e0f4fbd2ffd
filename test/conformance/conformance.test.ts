import { startServer } from '../support/server-process.ts';
import { testExchanges } from './exchanges.ts';

testExchanges({ name: 'embedded', start: (scope) => startServer(scope) });
