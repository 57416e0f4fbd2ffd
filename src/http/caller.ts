import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';

/** Some proxies name the port too, and an IPv6 address stands in brackets then. */
const WITH_PORT = /^(?:\[([\da-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d{1,5})?$/i;

/**
 * The address from which a call came: the nearest one that is no proxy of TRUST_PROXY. Where a proxy names something
 * that is no address, it is the address of the proxy.
 */
export function addressOf({ ip, socket }: FastifyRequest): string {
  const [, version6, version4] = WITH_PORT.exec(ip) ?? [];
  const address = version6 ?? version4 ?? ip;
  return isIP(address) !== 0 ? address : (socket.remoteAddress ?? '');
}
