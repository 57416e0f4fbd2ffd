/** MongoDB on a real server: each process reaches it through a proxy of its own, which cuts it off when it dies. */
import { openMongo } from '../../src/adapters/mongo/store.ts';
import type { Store } from '../../src/ports/store.ts';
import { startMongo } from '../support/backends.ts';
import { type CuttingProxy, startCuttingProxy } from '../support/cutting-proxy.ts';
import { openTestDatabase } from '../support/mongo-store.ts';
import type { Scope } from '../support/server-process.ts';
import { beginAnew, processOn, type Recorded, registerAll, type System, setClock } from './system.ts';

/** Within a lease, and after the time in which a follow-up is left to the process that began it. */
const SETTLE_MS = 5000;

interface Process {
  readonly proxy: CuttingProxy;
  readonly store: Store;
}

/** A state as it is stored, as far as its record goes; these histories are too short for archived changes. */
interface StateRecord {
  readonly _id: Recorded['state'];
  readonly changes: readonly Pick<Recorded, 'from' | 'to'>[];
}

/** Opens the cluster's store with all nodes registered; it ends with its scope. */
export async function openOnMongo(scope: Scope): Promise<System> {
  const { uri, port } = await startMongo(scope, { own: true });
  const database = await openTestDatabase(uri);
  const clock = setClock();
  const closing: Promise<void>[] = [];
  const start = async (): Promise<Process> => {
    const proxy = await startCuttingProxy(scope, port);
    const way = `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`;
    const { store } = await openMongo({ uri: way, databaseName: database.name, clock, log: { error: () => {} } });
    return { proxy, store };
  };
  let running = await start();
  let world = processOn(running.store, clock);
  await registerAll(world);
  const collection = (name: string) => database.connection.collection<StateRecord>(`state_manager_${name}`);
  return {
    get world() {
      return world;
    },
    clock,
    isAtomic: false,
    settleMs: SETTLE_MS,
    // No process here dies before its first write: that is the death between two calls.
    dieAt: (at, when) => running.proxy.cutAfter(Math.max(1, at + (when === 'after' ? 1 : 0))),
    restart: async () => {
      await running.proxy.cut();
      closing.push(running.store.close());
      running = await start();
      world = processOn(running.store, clock);
    },
    recorded: async () => {
      const states = await collection('states').find().toArray();
      return states.flatMap(({ _id, changes }) => changes.map(({ from, to }) => ({ state: _id, from, to })));
    },
    clear: async () => {
      const all = (await database.connection.db?.collections()) ?? [];
      const kept = ['state_manager_schema', 'state_manager_nodes'];
      const emptied = all.filter(({ collectionName }) => !kept.includes(collectionName));
      await Promise.all(emptied.map((one) => one.deleteMany({})));
      beginAnew(clock);
    },
    close: async () => {
      closing.push(running.store.close());
      await Promise.all(closing);
      await database.close();
    },
  };
}
