import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import { createLogger, type LogDestination } from '../src/logger.ts';

/** Keeps what is written. */
function memory(properties: Partial<LogDestination> = {}): LogDestination & { readonly lines: string[] } {
  const lines: string[] = [];
  return { ...properties, lines, write: (line) => lines.push(line) };
}

function isLoaded(name: string): boolean {
  return Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes(`/node_modules/${name}/`));
}

/** Runs a program that may log to its standard output, and gives what came out. */
async function outputOf(program: string): Promise<string> {
  const prelude = `const { createLogger } = await import(${JSON.stringify(import.meta.resolve('../src/logger.ts'))});
    const logger = await createLogger('info', process.stdout);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', prelude + program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8');
  for await (const chunk of child.stdout) output += chunk;
  return output;
}

describe('the log', () => {
  it('is JSON with ISO times where no person reads along', async () => {
    const destination = memory();
    const logger = await createLogger('info', destination);
    logger.info({ route: '/health', status: 200 }, 'request');
    logger.debug('too fine');
    assert.equal(destination.lines.length, 1);
    const [line = ''] = destination.lines;
    assert.ok(line.endsWith('}\n'));
    const { level, time, route, status, msg } = JSON.parse(line);
    assert.deepEqual({ level, route, status, msg }, { level: 30, route: '/health', status: 200, msg: 'request' });
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok(!isLoaded('pino-pretty'));
  });

  it('is readable and coloured on a terminal', async () => {
    const destination = memory({ isTTY: true });
    const logger = await createLogger('info', destination);
    logger.info({ route: '/health', namespace: '\u001b[2J' }, 'request');
    assert.ok(isLoaded('pino-pretty'));
    assert.equal(destination.lines.length, 1);
    const [line = ''] = destination.lines;
    assert.match(line, /^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] /);
    assert.ok(line.includes('\u001b[32mINFO\u001b[39m: '));
    assert.match(line, /request.*"route":"\/health","namespace":"\\u001b\[2J"/);
    assert.ok(!line.includes('hostname'));
  });

  it('has no colours on a terminal that shows none', async () => {
    const destination = memory({ isTTY: true, hasColors: () => false });
    (await createLogger('info', destination)).info({ status: 200 }, 'request');
    assert.match(destination.lines.join(''), /^\[\S+Z\] INFO: request \{"status":200\}\n$/);
  });

  it('can be silent', async () => {
    const destination = memory();
    (await createLogger('silent', destination)).fatal('nobody hears');
    assert.deepEqual(destination.lines, []);
  });

  it('has the stack of an error', async () => {
    const destination = memory();
    (await createLogger('info', destination)).error(new Error('broken'), 'request failed');
    const { err, msg } = JSON.parse(destination.lines.join(''));
    assert.equal(msg, 'request failed');
    assert.match(err.stack, /^Error: broken\n +at /);
  });
});

describe('what must not be logged', () => {
  const headers = { 'x-api-key': 'leaked', authorization: 'leaked', 'idempotency-key': 'leaked', accept: '*/*' };
  const held = {
    secrets: { a: 'leaked' },
    inputs: { a: 'leaked' },
    outputs: [{ a: 'leaked' }],
    store: { a: 'leaked' },
  };
  const config = {
    apiKeys: ['leaked'],
    encryptionKeys: ['leaked'],
    port: 8000,
  };
  const environment = { STATE_MANAGER_SECRET: 'leaked', SECRETS_ENCRYPTION_KEY: 'leaked', PORT: '8000' };
  const lines: Readonly<Record<string, object>> = {
    'headers of a request': { req: { headers, method: 'PUT' } },
    headers: { headers },
    'a header by itself': { 'x-api-key': 'leaked', 'idempotency-key': 'leaked', authorization: 'leaked' },
    'what a graph or a state holds': held,
    'what a graph or a state holds, one level down': { state: held, run: held },
    'a body': { body: { nodes: [{ inputs: { a: 'leaked' } }] }, req: { body: 'leaked' } },
    'what stands deep down': { a: { b: [{ C: { Secrets: 'leaked' } }] } },
    'the settings': { config },
    'the environment': { environment },
    'an error that carries them': { err: Object.assign(new Error('broken'), held) },
  };
  for (const isTTY of [false, true]) {
    for (const [name, fields] of Object.entries(lines)) {
      it(`is hidden${isTTY ? ' on a terminal' : ''}: ${name}`, async () => {
        const destination = memory({ isTTY });
        const logger = await createLogger('info', destination);
        logger.info(fields, 'given');
        logger.child(fields).info('given to a child');
        assert.equal(destination.lines.length, 2);
        for (const line of destination.lines) {
          assert.match(line, /\[hidden\]/);
          assert.doesNotMatch(line, /leaked/);
        }
      });
    }
  }

  it('is all that is hidden', async () => {
    const destination = memory();
    const fields = { req: { headers: { accept: '*/*' }, method: 'PUT' }, namespace: '"inputs":', milliseconds: 1.5 };
    (await createLogger('info', destination)).info(fields, 'request');
    const { req, namespace, milliseconds } = JSON.parse(destination.lines.join(''));
    assert.deepEqual({ req, namespace, milliseconds }, fields);
  });
});

describe('the end of the process', () => {
  it('loses no line of a full pipe', async () => {
    const lines = 5000;
    const output = await outputOf(`
      for (let line = 1; line <= ${lines}; line += 1) logger.info({ line }, 'x'.repeat(1000));
      process.exit(0);
    `);
    const numbers = output
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).line);
    assert.deepEqual(
      numbers,
      Array.from({ length: lines }, (_, index) => index + 1),
    );
  });

  it('loses no line of a turn in which the process fails', async () => {
    const output = await outputOf(`
      process.on('uncaughtExceptionMonitor', () => logger.fatal('last'));
      logger.info('first');
      setImmediate(() => { logger.info('second'); throw undefined; });
    `);
    assert.deepEqual(
      output
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).msg),
      ['first', 'second', 'last'],
    );
  });
});

describe('a server that is busy', () => {
  it('writes all lines of a turn of the event loop at once, in their order', async () => {
    const output = await outputOf(`
      const { writeSync } = await import('node:fs');
      for (let line = 1; line <= 3; line += 1) logger.info({ line }, 'x');
      writeSync(1, 'in between\\n');
    `);
    const lines = output.trimEnd().split('\n');
    assert.equal(lines[0], 'in between');
    assert.deepEqual(
      lines.slice(1).map((line) => JSON.parse(line).line),
      [1, 2, 3],
    );
  });
});
