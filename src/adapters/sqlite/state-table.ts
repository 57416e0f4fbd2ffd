// The table of states, shared by what creates and ends them: runs, schedules, and the ends of other states.

import type { StateId } from '../../domain/ids.ts';
import type { JoinKey, NewState, Place } from '../../domain/state.ts';
import type { Cause, StateStatus } from '../../domain/status.ts';
import type { Database } from './database.ts';
import { NodeKeys } from './node-keys.ts';
import { keysText, placeText } from './state-rows.ts';
import { type NoteChange, statusChanges } from './status-changes.ts';

/** Where, when and why a state comes into being. */
export interface Birth {
  readonly runKey: number;
  readonly cause: Cause;
  readonly atMs: number;
}

/** How a state ends. */
export interface End {
  readonly status: StateStatus;
  /** As they stand in the column. */
  readonly outputs: string | null;
  readonly error: string | null;
  readonly place: Place;
  readonly atMs: number;
}

/** Whether a key is among those that a state holds on to. */
export function isHeld(key: JoinKey, held: readonly JoinKey[]): boolean {
  return held.some(({ owner, join }) => owner === key.owner && join === key.join);
}

/** The rows of states and what is kept beside them. Whatever changes rows is for use inside a write. */
export class StateTable {
  readonly database: Database;
  readonly nodeKeys: NodeKeys;
  readonly noteChange: NoteChange;

  constructor(database: Database) {
    this.database = database;
    this.nodeKeys = new NodeKeys(database);
    this.noteChange = statusChanges(database);
  }

  /** Stores a new state with the keys that it holds. */
  insert(state: NewState, { runKey, cause, atMs }: Birth): void {
    const { database, nodeKeys } = this;
    database.run(
      `INSERT INTO state (id, run, node, identifier, status, inputs, outputs, error, parent, place, retry_count,
         join_keys, due_at, created_at, updated_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      state.id,
      runKey,
      nodeKeys.give({ namespace: state.nodeNamespace, name: state.nodeName }),
      state.identifier,
      state.status,
      state.inputs === null ? null : JSON.stringify(state.inputs),
      state.outputs === null ? null : JSON.stringify(state.outputs),
      state.error,
      state.parentId,
      placeText(state.place),
      state.retryCount,
      keysText(state.keys),
      state.dueAtMs,
      atMs,
      atMs,
    );
    for (const key of state.keys) {
      const sql = 'INSERT INTO hold (owner, vertex, state, held) VALUES (?, ?, ?, ?)';
      database.run(sql, key.owner, key.join, state.id, isHeld(key, state.held) ? 1 : 0);
    }
    this.noteChange({ runKey, stateId: state.id, from: null, to: state.status, cause, atMs });
  }

  /** Writes how a state ended. @param key of its row. */
  end(key: number, { status, outputs, error, place, atMs }: End): void {
    this.database.run(
      `UPDATE state SET status = ?, outputs = ?, error = ?, place = ?, claim = NULL, lease_until = NULL, updated_at = ?
       WHERE key = ?`,
      status,
      outputs,
      error,
      placeText(place),
      atMs,
      key,
    );
  }

  /** Lets go of a state's keys, those left out that it keeps. */
  letGo(id: StateId, keys: readonly JoinKey[], held: readonly JoinKey[]): void {
    for (const key of keys) {
      if (isHeld(key, held)) continue;
      const sql = 'UPDATE hold SET held = 0 WHERE owner = ? AND vertex = ? AND state = ?';
      this.database.run(sql, key.owner, key.join, id);
    }
  }
}
