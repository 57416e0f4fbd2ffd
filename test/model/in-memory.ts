/** SQLite in the memory of the test: the data outlives the "processes" that work on it. */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { sqliteStoreOn } from '../../src/adapters/sqlite/store.ts';
import { beginAnew, processOn, type Recorded, registerAll, type System, setClock } from './system.ts';

interface Death {
  readonly when: 'before' | 'after';
  /** Commits that are still to come before it. */
  left: number;
  readonly died: () => void;
}

/** The connection of one process, which ends with it: then it writes nothing any more. */
interface Handle {
  readonly connection: DatabaseSync;
  /** @returns when the process has died at one of its commits. */
  dieAt(commit: number, when: Death['when']): Promise<void>;
  /** Ends it without a commit. */
  end(): void;
}

/**
 * @param statements those that earlier handles have prepared: to prepare them anew for each process takes longer than
 *   most histories.
 */
function open(data: DatabaseSync, statements: Map<string, StatementSync>): Handle {
  let death: Death | null = null;
  let isDead = false;
  const end = () => {
    isDead = true;
    if (data.isTransaction) data.exec('ROLLBACK');
  };
  const commit = () => {
    if (death === null || death.left > 0) {
      if (death !== null) death.left -= 1;
      return data.exec('COMMIT');
    }
    data.exec(death.when === 'after' ? 'COMMIT' : 'ROLLBACK');
    end();
    death.died();
    throw new Error('the process died');
  };
  const exec = (sql: string) => {
    if (isDead) throw new Error('the process is dead');
    return sql === 'COMMIT' ? commit() : data.exec(sql);
  };
  const prepare = (sql: string) => {
    const statement = statements.get(sql) ?? data.prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
  const own = new Map<PropertyKey, unknown>(Object.entries({ exec, prepare, close: end }));
  const connection = new Proxy(data, {
    get: (target, name) => own.get(name) ?? Reflect.get(target, name, target),
  });
  return {
    connection,
    dieAt: (left, when) =>
      new Promise((died) => {
        death = { left, when, died };
      }),
    end,
  };
}

/** Opens the embedded store with all nodes registered. */
export async function openInMemory(): Promise<System> {
  const data = new DatabaseSync(':memory:');
  const statements = new Map<string, StatementSync>();
  const clock = setClock();
  const start = () => {
    const handle = open(data, statements);
    return {
      handle,
      world: processOn(
        sqliteStoreOn(handle.connection, () => {}),
        clock,
      ),
    };
  };
  let running = start();
  await registerAll(running.world);
  const tables = data.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
  const kept = ['node', 'node_key', 'namespace'];
  const emptied = tables.map(({ name }) => String(name)).filter((name) => !kept.includes(name));
  const clearing = emptied.map((name) => data.prepare(`DELETE FROM ${name}`));
  const changes = data.prepare('SELECT state, from_status AS "from", to_status AS "to" FROM change ORDER BY cursor');
  const restart = async () => {
    running.handle.end();
    running = start();
  };
  return {
    get world() {
      return running.world;
    },
    clock,
    isAtomic: true,
    settleMs: 0,
    dieAt: (at, when) => running.handle.dieAt(at, when),
    restart,
    // The columns are what the schema of `change` says.
    recorded: async () => changes.all() as unknown as Recorded[],
    clear: async () => {
      // The keys of graphs begin anew, and a process remembers graphs by them.
      await restart();
      beginAnew(clock);
      for (const statement of clearing) statement.run();
    },
    close: async () => {
      running.handle.end();
      data.close();
    },
  };
}
