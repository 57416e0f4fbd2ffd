import { startServer } from '../support/server-process.ts';
import { testPythonSdk } from './python-sdk.ts';

testPythonSdk({
  name: 'embedded',
  async start(scope, settings) {
    const server = await startServer(scope, { settings });
    return { url: server.url, key: server.key, replicas: [server] };
  },
});
