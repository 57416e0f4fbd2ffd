// The encrypted secrets of all versions: of the latest one in its graph's document, of the others in documents of their
// own. They are replaced by one compare-and-set on the very text that was read, so a put that comes first wins
// (invariant 12). A version may move from the one collection to the other meanwhile: whoever has to see all of them looks
// through both until a look finds nothing left to do.
//
// A put that dies after it lost to another one leaves a copy of a version that is still the latest. Nobody reads it, and
// it may have ciphertexts of a key that is gone: it counts for none of the keys in use, and is taken away.

import type { Model } from 'mongoose';
import { type GraphStore, keysIn, type VersionSecrets } from '../../ports/store.ts';
import { refuseTooLarge } from './database.ts';
import { collectionOf, type GraphDocument, type GraphVersionDocument, type Models } from './schema.ts';
import { trusted } from './trusted.ts';

/** What documents of both collections have. */
type SecretsDocument = Pick<
  GraphVersionDocument,
  '_id' | 'namespace' | 'revision' | 'secrets' | 'hasSecrets' | 'secretKeys'
> &
  Partial<Pick<GraphDocument, 'version'>>;

const FIELDS = { namespace: 1, revision: 1, version: 1, secrets: 1, hasSecrets: 1, secretKeys: 1 } as const;

const LATEST = 'latest ';
const EARLIER = 'earlier ';

/** One of the two collections. */
interface Source {
  /** What the keys of its records begin with. */
  readonly prefix: string;
  readonly model: Model<SecretsDocument>;
  /** What a change of secrets changes beside them. */
  readonly alsoChanges: { readonly $inc?: { readonly revision: 1 } };
}

function recordIn({ prefix }: Source, { _id, version, secrets }: SecretsDocument): VersionSecrets {
  // The id is made of these: that of a graph has no version.
  const [namespace, name, earlier]: [string, string, number?] = JSON.parse(_id);
  const number = version ?? earlier ?? 0;
  return { handle: prefix + _id, graph: { namespace, name }, version: number, secrets: JSON.parse(secrets) };
}

async function pageOf(source: Source, after: string | null, limit: number): Promise<readonly VersionSecrets[]> {
  const rest = after === null ? {} : { _id: trusted({ $gt: after }) };
  const found = await source.model
    .find({ hasSecrets: true, ...rest })
    .sort({ _id: 1 })
    .limit(limit)
    .select(FIELDS)
    .lean<SecretsDocument[]>();
  return found.map((document) => recordIn(source, document));
}

/** The next set of keys behind the one that was found: one step in the index for each. */
async function byKeysIn(source: Source, most: number): Promise<readonly VersionSecrets[]> {
  const found: VersionSecrets[] = [];
  const next = async (secretKeys: object) => {
    const documents = await source.model
      .find({ hasSecrets: true, secretKeys })
      .sort({ hasSecrets: 1, secretKeys: 1 })
      .limit(most)
      .select(FIELDS)
      .lean<SecretsDocument[]>();
    return documents.filter((document) => document.secretKeys === documents[0]?.secretKeys);
  };
  let documents = await next(trusted({ $exists: false }));
  if (documents.length === 0) documents = await next(trusted({ $gt: '' }));
  while (documents.length > 0) {
    found.push(...documents.map((document) => recordIn(source, document)));
    documents = await next(trusted({ $gt: documents[0]?.secretKeys ?? '' }));
  }
  return found;
}

async function replaceIn(source: Source, read: VersionSecrets, secrets: VersionSecrets['secrets']) {
  const { namespace } = read.graph;
  const text = JSON.stringify(secrets);
  refuseTooLarge('the secrets of the graph', text);
  const { matchedCount } = await collectionOf(source.model).updateOne(
    { _id: read.handle.slice(source.prefix.length), namespace, secrets: JSON.stringify(read.secrets) },
    {
      $set: { secrets: text, hasSecrets: Object.keys(secrets).length > 0, secretKeys: keysIn(secrets) },
      ...source.alsoChanges,
    },
  );
  return matchedCount === 1 ? 'done' : 'conflict';
}

/**
 * Takes away the copies among some earlier versions that are of the latest version of their graph, and were made of a
 * revision before the present one: whoever replaces that version now has a later one, and copies it again.
 *
 * @returns whether there were any.
 */
async function dropCopies({ graphs, graphVersions }: Models, found: readonly VersionSecrets[]): Promise<boolean> {
  const isCopy = await Promise.all(
    found.map(async ({ handle, graph: { namespace, name }, version }) => {
      const _id = JSON.stringify([namespace, name]);
      const latest = await graphs
        .findOne({ _id, namespace, version })
        .select({ revision: 1 })
        .lean<Pick<GraphDocument, 'revision'>>();
      if (latest === null) return false;
      const copy = { _id: handle.slice(EARLIER.length), namespace, revision: trusted({ $lt: latest.revision }) };
      return (await graphVersions.deleteOne(copy)).deletedCount === 1;
    }),
  );
  return isCopy.includes(true);
}

/** The part of the graphs in MongoDB that gives and replaces ciphertexts. */
export function mongoSecrets(
  models: Models,
): Pick<GraphStore, 'countSecrets' | 'secrets' | 'secretsByKeys' | 'replaceSecrets'> {
  const { graphs, graphVersions } = models;
  // Both have the fields that are read here.
  const asSource = (model: unknown) => model as Model<SecretsDocument>;
  const latest: Source = { prefix: LATEST, model: asSource(graphs), alsoChanges: { $inc: { revision: 1 } } };
  const earlier: Source = { prefix: EARLIER, model: asSource(graphVersions), alsoChanges: {} };
  const sourceOf = ({ handle }: VersionSecrets) => (handle.startsWith(latest.prefix) ? latest : earlier);

  return {
    countSecrets: async () => {
      const counts = [latest, earlier].map(({ model }) => model.countDocuments({ hasSecrets: true }));
      return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
    },

    secrets: async (after, limit) => {
      const source = after === null ? latest : sourceOf(after);
      const found = await pageOf(source, after === null ? null : after.handle.slice(source.prefix.length), limit);
      if (source === earlier || found.length === limit) return found;
      return [...found, ...(await pageOf(earlier, null, limit - found.length))];
    },

    secretsByKeys: async (most) => {
      const ofLatest = await byKeysIn(latest, most);
      for (;;) {
        const ofEarlier = await byKeysIn(earlier, most);
        if (!(await dropCopies(models, ofEarlier))) return [...ofLatest, ...ofEarlier];
      }
    },

    replaceSecrets: (read, secrets) => replaceIn(sourceOf(read), read, secrets),
  };
}
