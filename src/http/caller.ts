import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';

/**
 * The address from which a call came: the nearest one that is no proxy of TRUST_PROXY. Where a proxy names something
 * that is no address, it is the address of the proxy.
 */
export function addressOf({ ip, socket }: FastifyRequest): string {
  return isIP(ip) !== 0 ? ip : (socket.remoteAddress ?? '');
}
