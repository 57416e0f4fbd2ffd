/** A yardstick: the least that an HTTP call costs here, a Fastify route that does nothing, in a process of its own. */
import Fastify from 'fastify';

const server = Fastify();
server.post('/', () => ({ status: 'EXECUTED' }));
console.log(await server.listen({ host: '127.0.0.1', port: 0 }));
