// Counts the letters of each line of a text: a workflow of two nodes that fans out, joins, and survives crashes.
//
// The nodes are plain functions. The graph says how their states follow each other. The state manager keeps every step,
// hands out what is due, and starts the join when all its branches have ended. All it takes is HTTP.

const NAMESPACE = 'examples-typescript';
const GRAPH = 'letters-per-line';
const TEXT = 'every step is kept\neven when a worker dies\nthe run goes on';

/** Inputs and outputs are strings, numbers too. */
type Texts = Record<string, string>;

/** A unit of work: what goes in, what comes out, and how. */
interface Node {
  inputs: string[];
  outputs: string[];
  execute(inputs: Texts): Texts[];
}

const nodes: Record<string, Node> = {
  /** Splits a text. Each output of the list carries on as a branch of its own: that is a fan-out. */
  SplitText: {
    inputs: ['text', 'by'],
    outputs: ['part', 'letters'],
    execute({ text = '', by = '' }) {
      const parts = text.split(by === 'line' ? '\n' : ' ');
      console.log(`  SplitText: '${text.replaceAll('\n', '\\n')}' has ${parts.length} ${by}s`);
      return parts.map((part) => ({ part, letters: String(part.match(/\p{L}/gu)?.length ?? 0) }));
    },
  },
  /** Adds numbers up. Its input is what all branches came to, as one JSON array: that is a join. */
  SumUp: {
    inputs: ['title', 'numbers'],
    outputs: ['total'],
    execute({ title = '', numbers = '[]' }) {
      const total = (JSON.parse(numbers) as string[]).reduce((sum, number) => sum + Number(number), 0);
      console.log(`  SumUp: ${numbers} in '${title}' are ${total}`);
      return [{ total: String(total) }];
    },
  },
};

const vertices = [
  {
    identifier: 'lines', // the root: one state for each line
    node_name: 'SplitText',
    namespace: NAMESPACE,
    inputs: { text: 'given by the trigger', by: 'line' },
    next_nodes: ['words'],
  },
  {
    identifier: 'words', // one state for each word of each line
    node_name: 'SplitText',
    namespace: NAMESPACE,
    inputs: { text: '${{ lines.outputs.part }}', by: 'word' },
    next_nodes: ['sum'],
  },
  {
    identifier: 'sum', // waits for all words of a line, then runs once for that line
    node_name: 'SumUp',
    namespace: NAMESPACE,
    inputs: { title: '${{ lines.outputs.part }}', numbers: '${{ words.outputs.letters }}' },
    unites: { identifier: 'lines' },
  },
];

interface ClaimedState {
  state_id: string;
  node_name: string;
  inputs: Texts;
  claim: string;
}

interface State {
  id: string;
  identifier: string;
  inputs: Texts;
  outputs: Texts;
}

interface Run {
  run_id: string;
  status: string;
  success_count: number;
  total_count: number;
}

const { EXOSPHERE_STATE_MANAGER_URI: uri, EXOSPHERE_API_KEY: key } = process.env;
if (!uri || !key) throw new Error('Set EXOSPHERE_STATE_MANAGER_URI and EXOSPHERE_API_KEY to what the server printed.');

/** What the state manager answers to a call in our namespace. */
async function call<Answer>(method: 'GET' | 'PUT' | 'POST', path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`${uri}/v0/namespace/${NAMESPACE}/${path}`, {
    method,
    headers: { 'x-api-key': key ?? '', 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Answer;
}

/** Executes one state and tells the state manager what came of it. */
async function execute({ state_id, node_name, inputs, claim }: ClaimedState): Promise<void> {
  let outcome: ['executed', { outputs: Texts[] }] | ['errored', { error: string }];
  try {
    outcome = ['executed', { outputs: nodes[node_name]?.execute(inputs) ?? [] }];
  } catch (error) {
    outcome = ['errored', { error: String(error) }]; // a retry takes its place
  }
  const [path, body] = outcome;
  await call('POST', `state/${state_id}/${path}`, { ...body, claim });
}

/** Executes what is due until a run has ended. */
async function workUntilEnded(runId: string): Promise<Run> {
  for (;;) {
    const request = { nodes: Object.keys(nodes), batch_size: 10, wait_ms: 5000 }; // waits until something is due
    const { states } = await call<{ states: ClaimedState[] }>('POST', 'states/enqueue', request);
    await Promise.all(states.map(execute));
    const { runs } = await call<{ runs: Run[] }>('GET', 'runs/1/100');
    const run = runs.find(({ run_id }) => run_id === runId);
    if (run !== undefined && run.status !== 'PENDING') return run;
  }
}

const schema = (names: string[]) => ({
  type: 'object',
  properties: Object.fromEntries(names.map((name) => [name, { type: 'string' }])),
  required: names,
});

await call('PUT', 'nodes/', {
  runtime_name: 'letters',
  nodes: Object.entries(nodes).map(([name, { inputs, outputs }]) => ({
    name,
    inputs_schema: schema(inputs),
    outputs_schema: schema(outputs),
    secrets: [],
  })),
});
console.log('registered SplitText and SumUp');

const graph = await call<{ validation_status: string }>('PUT', `graph/${GRAPH}`, { secrets: {}, nodes: vertices });
console.log(`put graph ${GRAPH}: ${graph.validation_status}`);

const { run_id } = await call<{ run_id: string }>('POST', `graph/${GRAPH}/trigger`, { inputs: { text: TEXT } });
console.log(`started run ${run_id}`);
const run = await workUntilEnded(run_id);
console.log(`the run ended: ${run.status}, ${run.success_count} of ${run.total_count} states succeeded`);

const letters = new Map<string | undefined, string | undefined>();
const { nodes: states } = await call<{ nodes: State[] }>('GET', `states/run/${run_id}/graph`);
for (const { id } of states.filter(({ identifier }) => identifier === 'sum')) {
  const { inputs, outputs } = await call<State>('GET', `graph/${GRAPH}/run/${run_id}/node/${id}`);
  letters.set(inputs.title, outputs.total);
}
for (const line of TEXT.split('\n')) console.log(`${letters.get(line)} letters in '${line}'`);
