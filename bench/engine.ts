// The engine on the SQLite store in this process, without HTTP and without what runs in the background.

import { cronCalendar } from '../src/adapters/cron-parser/calendar.ts';
import { inProcessJobs } from '../src/adapters/in-process/jobs.ts';
import { inProcessSignal } from '../src/adapters/in-process/signal.ts';
import { aesGcmCipher } from '../src/adapters/node-crypto/cipher.ts';
import { cryptoIds } from '../src/adapters/node-crypto/ids.ts';
import { openSqliteStore } from '../src/adapters/sqlite/store.ts';
import { systemClock } from '../src/adapters/system/clock.ts';
import { loadConfig } from '../src/config.ts';
import { createWorld, type World } from '../src/engine/world.ts';

const KEY_BYTES = 32;

function raise(error: unknown): never {
  throw error;
}

/** Opens the engine on the data in a folder, with the default settings; its store is to be closed. */
export function openEngine(folder: string): World {
  const config = loadConfig(folder, {});
  return createWorld({
    store: openSqliteStore(folder),
    clock: systemClock,
    jobs: inProcessJobs(systemClock, raise),
    signal: inProcessSignal(raise),
    ids: cryptoIds(),
    // Nothing that is stored here has secrets.
    cipher: aesGcmCipher(Buffer.alloc(KEY_BYTES)),
    calendar: cronCalendar,
    log: { error: raise },
    limits: config,
    settings: config,
  });
}
