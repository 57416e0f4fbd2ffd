import { backendsSkip } from '../../support/backends.ts';
import { testPythonSdk } from '../python-sdk.ts';
import { FORMATIONS } from './cluster.ts';

const skip = backendsSkip({ own: true });

for (const { name, start } of FORMATIONS) testPythonSdk({ name, start, skip });
