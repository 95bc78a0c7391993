import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

/**
 * Below the ports that the kernel gives to whoever names none, so that nobody is given one of them
 * between the look and the use, however long a start takes; and in a block of this process, since
 * others look as well.
 */
const firstPort = 10_000;
const portsInAll = 20_000;
const blockSize = 20;
let next = 0;

/** Ports of 127.0.0.1 that are free, each given out once by this process. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries += 1) {
    if (tries > portsInAll) throw new Error('no port is free');
    const port = firstPort + ((process.pid * blockSize + next) % portsInAll);
    next += 1;
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

export const freePort = async (): Promise<number> => (await freePorts(1))[0] as number;

async function isFree(port: number): Promise<boolean> {
  const server: Server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
