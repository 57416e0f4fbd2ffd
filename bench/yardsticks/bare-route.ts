/** `node bench/yardsticks/bare-route.ts PORT`: what HTTP alone costs in one process, and so what nothing here can beat. */
import fastify from 'fastify';

const app = fastify();
app.post('/', async () => ({ status: 'EXECUTED' }));
await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) });
