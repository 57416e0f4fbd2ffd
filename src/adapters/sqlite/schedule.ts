// Keeps invariant 8: a trigger's slot is moved by one compare-and-set on the slot it stands at, and the record of a
// firing, which outlives the trigger, lets no slot have a second run.

import type { GraphName } from '../../domain/graph.ts';
import type { DueSlot, NewRun, ScheduleStore } from '../../ports/store.ts';
import type { Database } from './database.ts';
import { graphKeyOf } from './graphs.ts';
import { insertRun, isRunStored } from './runs.ts';
import type { StateTable } from './state-table.ts';

interface SlotRow extends GraphName {
  readonly expression: string;
  readonly timezone: string;
  readonly next_slot: number;
}

function moveSlot(database: Database, graph: number, slot: DueSlot, nextSlotMs: number | null): boolean {
  const { expression, timezone, nextSlotMs: standing } = slot;
  const where = 'WHERE graph = ? AND expression = ? AND timezone = ? AND next_slot = ?';
  const changed =
    nextSlotMs === null
      ? database.run(`DELETE FROM schedule ${where}`, graph, expression, timezone, standing)
      : database.run(`UPDATE schedule SET next_slot = ? ${where}`, nextSlotMs, graph, expression, timezone, standing);
  return changed === 1;
}

function keepFiring(database: Database, graph: number, slot: DueSlot, run: NewRun, slotMs: number): boolean {
  const sql =
    'INSERT INTO firing (graph, expression, timezone, slot, run) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING';
  return database.run(sql, graph, slot.expression, slot.timezone, slotMs, run.id) === 1;
}

/** Schedules in SQLite. */
export function sqliteSchedule(table: StateTable): ScheduleStore {
  const { database } = table;
  return {
    due: async (atMs, limit) =>
      database
        .all<SlotRow>(
          `SELECT graph.namespace, graph.name, expression, timezone, next_slot
           FROM schedule JOIN graph ON graph.key = schedule.graph
           WHERE next_slot <= ? ORDER BY next_slot LIMIT ?`,
          atMs,
          limit,
        )
        .map(({ namespace, name, expression, timezone, next_slot }) => ({
          graph: { namespace, name },
          expression,
          timezone,
          nextSlotMs: next_slot,
        })),

    nextSlotMs: async () => {
      const sql = 'SELECT next_slot FROM schedule ORDER BY next_slot LIMIT 1';
      return database.one<{ next_slot: number }>(sql)?.next_slot ?? null;
    },

    fire: (slot, nextSlotMs, start) =>
      database.write(() => {
        const graph = graphKeyOf(database, slot.graph);
        if (graph === undefined || !moveSlot(database, graph, slot, nextSlotMs)) return 'conflict';
        if (start === null || !keepFiring(database, graph, slot, start.run, start.slotMs)) return 'done';
        // The run of a slot whose record was forgotten has the same id, since that derives from the slot.
        if (!isRunStored(database, start.run.id)) insertRun(table, start.run, start.root, 'schedule');
        return 'done';
      }),

    forgetFirings: (beforeMs) =>
      database.write(() => {
        database.run('DELETE FROM firing WHERE slot < ?', beforeMs);
      }),
  };
}
