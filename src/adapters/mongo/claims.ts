// Keeps invariant 3 for the cluster's store: a state is claimed by a compare-and-set from CREATED, under a token that
// nobody else has. A claim of any size takes two round trips: who is due, and the claim of all of them; and a third one,
// for who was won, where somebody else was quicker with some.

import type { mongo } from 'mongoose';
import type { ClaimToken, StateId } from '../../domain/ids.ts';
import type { ClaimedState, ClaimRequest } from '../../ports/store.ts';
import { BY_ID, type Database, portionsOf } from './database.ts';
import type { Leases } from './leases.ts';
import { END_OF_TIME_MS } from './manual-retries.ts';
import { collectionOf, type StateDocument } from './schema.ts';
import { inputsOf } from './state-documents.ts';
import { trusted } from './trusted.ts';

/** Nodes that one query asks for: the order of more would be found by sorting in memory instead of by the index. */
const NODES_AT_ONCE = 100;

/** How long a command may still arrive whose answer was lost, in milliseconds: a server that stood still may read it late. */
const LOST_COMMAND_MS = 60_000;

/** States that were claimed, perhaps, by a command whose answer was lost. */
interface Abandoned {
  readonly namespace: string;
  readonly ids: readonly StateId[];
  readonly token: ClaimToken;
  readonly atMs: number;
}

/** Claims in MongoDB. */
export interface Claims {
  claim(request: ClaimRequest): Promise<readonly ClaimedState[]>;
  nextDueMs(namespace: string, nodeNames: readonly string[]): Promise<number | null>;
  /** Makes states due again whose claim nobody heard of: they would wait for their lease otherwise. */
  giveBackAbandoned(nowMs: number): Promise<void>;
}

function dueFilter(namespace: string, nodeNames: readonly string[]): Record<string, unknown> {
  const [only, ...more] = nodeNames;
  const node = more.length === 0 ? { $eq: only } : trusted({ $in: nodeNames });
  return { namespace: { $eq: namespace }, node, status: 'CREATED' };
}

/** A state in somebody's hands. */
export type ClaimedDocument = StateDocument & { readonly claim: ClaimToken };

function sorted(due: readonly StateDocument[]): readonly StateDocument[] {
  return due.toSorted((a, b) => a.dueAtMs - b.dueAtMs || (a._id < b._id ? -1 : 1));
}

/** Measures out states until their inputs reach what one answer may hold. */
function measure(maxLength: number): (state: StateDocument) => boolean {
  let length = 0;
  return ({ inputs }) => {
    const fits = length < maxLength;
    length += inputs?.length ?? 0;
    return fits;
  };
}

/** As many as fit into an answer, the oldest due first. */
function fitting(due: readonly StateDocument[], { limit, maxLength }: ClaimRequest): readonly StateDocument[] {
  const fits = measure(maxLength);
  const few = sorted(due).slice(0, limit);
  const end = few.findIndex((state) => !fits(state));
  return end === -1 ? few : few.slice(0, end);
}

function claimedIn(document: ClaimedDocument): ClaimedState {
  return {
    id: document._id,
    nodeName: document.node,
    identifier: document.identifier,
    inputs: inputsOf(document.inputs) ?? {},
    createdAtMs: document.createdAtMs,
    runId: document.run,
    graphName: document.graph,
    retryCount: document.retryCount,
    claim: document.claim,
    leaseExpiresAtMs: document.leaseUntilMs ?? null,
  };
}

/** What claims work with. */
export interface ClaimsParts {
  readonly database: Database;
  readonly leases: Leases;
  /** Hears of every state that was claimed here. */
  readonly onClaimed: (claimed: readonly ClaimedDocument[]) => void;
}

/** Claims in MongoDB. */
export function mongoClaims(parts: ClaimsParts): Claims {
  const { database, leases } = parts;
  const { states } = database.models;
  const abandoned = new Set<Abandoned>();

  /** The oldest due of some nodes; no more than an answer may hold, since their inputs come with them. */
  const findSome = async (request: ClaimRequest, nodeNames: readonly string[]): Promise<readonly StateDocument[]> => {
    const { namespace, nowMs, limit, maxLength } = request;
    const filter = { ...dueFilter(namespace, nodeNames), dueAtMs: { $lte: nowMs } };
    const options = { sort: { dueAtMs: 1, _id: 1 }, limit, batchSize: limit, projection: { changes: 0 } } as const;
    const fits = measure(maxLength);
    const found: StateDocument[] = [];
    for await (const state of collectionOf(states).find<StateDocument>(filter, options)) {
      if (!fits(state)) break;
      found.push(state);
    }
    return found;
  };

  const findDue = async (request: ClaimRequest, nodeNames: readonly string[]): Promise<readonly StateDocument[]> => {
    const found = await Promise.all(portionsOf(nodeNames, NODES_AT_ONCE).map((names) => findSome(request, names)));
    return fitting(found.flat(), request);
  };

  /** Claims due states; those that were won. */
  const take = async (request: ClaimRequest, due: readonly StateDocument[]): Promise<readonly ClaimedDocument[]> => {
    const { namespace, nowMs, token, defaultLeaseSeconds } = request;
    const leaseEnd = await leases.of(namespace, [...new Set(due.map(({ node }) => node))]);
    const claimed = due.map((state): ClaimedDocument => {
      const leaseUntilMs = leaseEnd(state.node, defaultLeaseSeconds, nowMs);
      const lease = leaseUntilMs === null ? {} : { leaseUntilMs };
      return { ...state, status: 'QUEUED', claim: token, updatedAtMs: nowMs, ...lease };
    });
    const byLease = Map.groupBy(claimed, (state) => state.leaseUntilMs);
    const updates = [...byLease].map(
      ([leaseUntilMs, group]): mongo.AnyBulkWriteOperation<StateDocument> => ({
        updateMany: {
          filter: { namespace, _id: { $in: group.map(({ _id }) => _id) }, status: 'CREATED', dueAtMs: { $lte: nowMs } },
          update: {
            $set: {
              status: 'QUEUED',
              claim: token,
              updatedAtMs: nowMs,
              ...(leaseUntilMs === undefined ? {} : { leaseUntilMs }),
            },
            $push: { changes: { at: nowMs, from: 'CREATED', to: 'QUEUED', cause: 'claim' } },
          },
          hint: BY_ID,
        },
      }),
    );
    const { matchedCount } = await collectionOf(states).bulkWrite(updates, { ordered: false });
    if (matchedCount === claimed.length) return claimed;
    const filter = { namespace, _id: trusted({ $in: claimed.map(({ _id }) => _id) }), claim: token };
    const found = await states.find(filter).hint(BY_ID).select({ _id: 1 }).lean<Pick<StateDocument, '_id'>[]>();
    const won = new Set(found.map(({ _id }) => _id));
    return claimed.filter(({ _id }) => won.has(_id));
  };

  const giveBack = async ({ namespace, ids, token, atMs }: Abandoned): Promise<void> => {
    await collectionOf(states).updateMany(
      { namespace, _id: { $in: ids }, status: 'QUEUED', claim: token },
      {
        $set: { status: 'CREATED', updatedAtMs: atMs },
        $unset: { claim: 1, leaseUntilMs: 1 },
        $push: { changes: { at: atMs, from: 'QUEUED', to: 'CREATED', cause: 'claim returned' } },
      },
      { hint: BY_ID },
    );
  };

  const giveBackAbandoned = async (nowMs: number): Promise<void> => {
    await Promise.all(
      [...abandoned].map(async (one) => {
        await giveBack(one);
        if (nowMs - one.atMs > LOST_COMMAND_MS) abandoned.delete(one);
      }),
    );
  };

  const claim = async (request: ClaimRequest): Promise<readonly ClaimedState[]> => {
    const nodeNames = [...new Set(request.nodeNames)];
    if (nodeNames.length === 0) return [];
    for (;;) {
      const due = await findDue(request, nodeNames);
      if (due.length === 0) return [];
      try {
        const won = await take(request, due);
        parts.onClaimed(won);
        // Somebody else may have been quicker with all of them; there may be more behind these.
        if (won.length > 0) return won.map(claimedIn);
      } catch (error) {
        const { namespace, token, nowMs } = request;
        abandoned.add({ namespace, ids: due.map(({ _id }) => _id), token, atMs: nowMs });
        throw error;
      }
    }
  };

  return {
    claim,
    giveBackAbandoned,
    nextDueMs: async (namespace, nodeNames) => {
      const found = await Promise.all(
        portionsOf(nodeNames, NODES_AT_ONCE).map((names) =>
          states
            .findOne({ ...dueFilter(namespace, names), dueAtMs: trusted({ $lt: END_OF_TIME_MS }) })
            .sort({ dueAtMs: 1, _id: 1 })
            .select({ _id: 0, dueAtMs: 1 })
            .lean<Pick<StateDocument, 'dueAtMs'>>(),
        ),
      );
      const moments = found.flatMap((one) => (one === null ? [] : [one.dueAtMs]));
      return moments.length === 0 ? null : Math.min(...moments);
    },
  };
}
