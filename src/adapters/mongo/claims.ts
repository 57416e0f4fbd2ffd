// Keeps invariant 3 for the cluster's store: a state is claimed by a compare-and-set from CREATED, under a token that
// nobody else has. A claim of any size takes three round trips: who is due, the claim of all of them, and who was won.

import type { ClaimToken, StateId } from '../../domain/ids.ts';
import type { Log } from '../../ports/log.ts';
import type { ClaimedState, ClaimRequest } from '../../ports/store.ts';
import { BY_ID, type Database } from './database.ts';
import type { LeaseEnd, Leases } from './leases.ts';
import type { StateDocument } from './schema.ts';
import { inputsOf } from './state-documents.ts';

/** Nodes that one query asks for: the order of more would be found by sorting in memory instead of by the index. */
const NODES_AT_ONCE = 100;

interface Due {
  readonly _id: StateId;
  readonly node: string;
  readonly dueAtMs: number;
  /** Characters of its inputs. */
  readonly length: number;
}

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
}

function chunksOf<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}

function dueFilter(namespace: string, nodeNames: readonly string[]): Record<string, unknown> {
  const [only, ...more] = nodeNames;
  return { namespace, node: more.length === 0 ? only : { $in: nodeNames }, status: 'CREATED' };
}

/** As many as fit into an answer, the oldest due first. */
function fitting(due: readonly Due[], { limit, maxLength }: ClaimRequest): readonly Due[] {
  const sorted = due.toSorted((a, b) => a.dueAtMs - b.dueAtMs || (a._id < b._id ? -1 : 1)).slice(0, limit);
  let length = 0;
  const end = sorted.findIndex((one) => {
    const isFull = length >= maxLength;
    length += one.length;
    return isFull;
  });
  return end === -1 ? sorted : sorted.slice(0, end);
}

function claimedIn(document: StateDocument, token: ClaimToken): ClaimedState {
  return {
    id: document._id,
    nodeName: document.node,
    identifier: document.identifier,
    inputs: inputsOf(document.inputs) ?? {},
    createdAtMs: document.createdAtMs,
    runId: document.run,
    graphName: document.graph,
    retryCount: document.retryCount,
    claim: token,
    leaseExpiresAtMs: document.leaseUntilMs ?? null,
  };
}

/** Claims in MongoDB. */
export function mongoClaims({ models }: Database, leases: Leases, log: Log): Claims {
  const { states } = models;
  let abandoned: Abandoned[] = [];

  const findDue = async (request: ClaimRequest, nodeNames: readonly string[]): Promise<readonly Due[]> => {
    const { namespace, nowMs, limit } = request;
    const found = await Promise.all(
      chunksOf(nodeNames, NODES_AT_ONCE).map((names) =>
        states
          .find({ ...dueFilter(namespace, names), dueAtMs: { $lte: nowMs } } as never)
          .sort({ dueAtMs: 1, _id: 1 })
          .limit(limit)
          .select({ node: 1, dueAtMs: 1, length: { $strLenCP: { $ifNull: ['$inputs', ''] } } } as never)
          .lean<Due[]>(),
      ),
    );
    return found.flat();
  };

  const take = async (request: ClaimRequest, due: readonly Due[], leaseEnd: LeaseEnd): Promise<void> => {
    const { namespace, nowMs, token, defaultLeaseSeconds } = request;
    const byLease = Map.groupBy(due, ({ node }) => leaseEnd(node, defaultLeaseSeconds, nowMs));
    const updates = [...byLease].map(([leaseUntilMs, group]) => ({
      updateMany: {
        filter: { namespace, _id: { $in: group.map(({ _id }) => _id) }, status: 'CREATED', dueAtMs: { $lte: nowMs } },
        update: {
          $set: {
            status: 'QUEUED',
            claim: token,
            updatedAtMs: nowMs,
            ...(leaseUntilMs === null ? {} : { leaseUntilMs }),
          },
          $push: { changes: { at: nowMs, from: 'CREATED', to: 'QUEUED', cause: 'claim' } },
        },
        hint: BY_ID,
      },
    }));
    await states.collection.bulkWrite(updates as never, { ordered: false });
  };

  const won = async ({ namespace, token }: ClaimRequest, due: readonly Due[]): Promise<readonly ClaimedState[]> => {
    const filter = { namespace, _id: { $in: due.map(({ _id }) => _id) }, claim: token };
    const found = await states
      .find(filter as never)
      .hint(BY_ID)
      .select({ changes: 0, keys: 0, holds: 0 })
      .lean<StateDocument[]>();
    const byId = new Map(found.map((document) => [document._id, document]));
    return due.flatMap(({ _id }) => {
      const document = byId.get(_id);
      return document === undefined ? [] : [claimedIn(document, token)];
    });
  };

  /** Makes states due again whose claim nobody heard of: they would wait for their lease otherwise. */
  const giveBackAbandoned = async (): Promise<void> => {
    const some = abandoned;
    abandoned = [];
    for (const one of some) {
      const { namespace, ids, token, atMs } = one;
      try {
        await states.collection.updateMany(
          { namespace, _id: { $in: ids }, status: 'QUEUED', claim: token } as never,
          {
            $set: { status: 'CREATED', updatedAtMs: atMs },
            $unset: { claim: 1, leaseUntilMs: 1 },
            $push: { changes: { at: atMs, from: 'QUEUED', to: 'CREATED', cause: 'claim returned' } },
          } as never,
        );
      } catch (error) {
        abandoned.push(one);
        log.error(error, 'giving back states whose claim was not answered');
      }
    }
  };

  const claim = async (request: ClaimRequest): Promise<readonly ClaimedState[]> => {
    const nodeNames = [...new Set(request.nodeNames)];
    if (nodeNames.length === 0) return [];
    if (abandoned.length > 0) await giveBackAbandoned();
    for (;;) {
      const due = fitting(await findDue(request, nodeNames), request);
      if (due.length === 0) return [];
      const leaseEnd = await leases.of(request.namespace, [...new Set(due.map(({ node }) => node))]);
      try {
        await take(request, due, leaseEnd);
        const states = await won(request, due);
        // Somebody else may have been quicker with all of them; there may be more behind these.
        if (states.length > 0) return states;
      } catch (error) {
        const { namespace, token, nowMs } = request;
        abandoned.push({ namespace, ids: due.map(({ _id }) => _id), token, atMs: nowMs });
        throw error;
      }
    }
  };

  return {
    claim,
    nextDueMs: async (namespace, nodeNames) => {
      const found = await Promise.all(
        chunksOf(nodeNames, NODES_AT_ONCE).map((names) =>
          states
            .findOne(dueFilter(namespace, names) as never)
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
