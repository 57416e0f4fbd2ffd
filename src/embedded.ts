// The service in one process, with everything in a folder of its own. Loaded only when it is to run that way.

import { inProcessJobs } from './adapters/in-process/jobs.ts';
import { inProcessSignal } from './adapters/in-process/signal.ts';
import { openSqliteStore } from './adapters/sqlite/store.ts';
import { systemClock } from './adapters/system/clock.ts';
import { type Backend, KEY_IN_SHELL, type Releaser } from './backend.ts';
import type { EmbeddedConfig } from './config.ts';
import { type Keys, keysFor, openDataFolder } from './first-start.ts';
import type { Log } from './ports/log.ts';

function inSingleQuotes(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The line that gives a shell the key: in full only when it was made just now, so that no log collects it. */
function keyLine({ created, apiKeys, file }: Keys, config: EmbeddedConfig): string {
  if (created.includes('STATE_MANAGER_SECRET')) return `export EXOSPHERE_API_KEY=${apiKeys[0]}`;
  if (config.apiKeys !== undefined) return `export EXOSPHERE_API_KEY=${KEY_IN_SHELL}`;
  // All forms that keys.env may have: exported, with spaces, in quotes, a list; the last line of several wins.
  const firstItem = `"s/^ *(export +)?STATE_MANAGER_SECRET *= *[\\"']?[ ,]*([^ ,\\"']*).*/\\2/p"`;
  return `export EXOSPHERE_API_KEY=$(sed -n -E ${firstItem} ${inSingleQuotes(file)} | tail -n 1)`;
}

/**
 * Opens the data folder; the first start makes it and the keys.
 *
 * @param releasers gets what is to be undone, also when this rejects.
 * @throws StartFault when the folder or its keys cannot be used, or another process uses them.
 */
export async function openEmbedded(config: EmbeddedConfig, log: Log, releasers: Releaser[]): Promise<Backend> {
  // What is written, data and keys, is for this user only, also in a folder that others may enter.
  process.umask(0o077);
  const folder = await openDataFolder(config.dataDir);
  const store = openSqliteStore(folder);
  releasers.push(() => store.close());
  const keys = await keysFor(config, folder);
  return {
    store,
    clock: systemClock,
    jobs: inProcessJobs(systemClock, (error) => log.error(error, 'a job failed')),
    signal: inProcessSignal((error) => log.error(error, 'a signal was not heard')),
    apiKeys: keys.apiKeys,
    encryptionKeys: keys.encryptionKeys,
    greeting: (address) => [
      'Give these two lines to the shell of your runtimes:',
      '',
      `  export EXOSPHERE_STATE_MANAGER_URI=${address}`,
      `  ${keyLine(keys, config)}`,
    ],
  };
}
