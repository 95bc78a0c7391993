import { once } from 'node:events';
import { createServer, type ListenOptions, type Server } from 'node:net';

/**
 * Below the ports that the kernel gives to whoever names none, so that nobody is given one of them
 * between the look and the use, however long a start takes. Each process begins at another one, so
 * that few look at the same.
 */
const firstPort = 10_000;
const portsInAll = 20_000;
const blockSize = 20;
let next = 0;

/**
 * Ports of 127.0.0.1 that are free, each given out once by this process, and by no other one before
 * this one has ended.
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries += 1) {
    if (tries > portsInAll) throw new Error('no port is free');
    const port = firstPort + ((process.pid * blockSize + next) % portsInAll);
    next += 1;
    if (await claim(port)) ports.push(port);
  }
  return ports;
}

export const freePort = async (): Promise<number> => (await freePorts(1))[0] as number;

/** Holds a name in the abstract namespace (unix(7)) until this process ends. */
async function claim(port: number): Promise<boolean> {
  const holder = await listening({ path: `\0meshca-test-port-${port}` });
  if (holder === undefined) return false;
  holder.unref();
  const looking = await listening({ port, host: '127.0.0.1' });
  await end(looking ?? holder);
  return looking !== undefined;
}

async function listening(options: ListenOptions): Promise<Server | undefined> {
  const server = createServer().listen(options);
  try {
    await once(server, 'listening');
    return server;
  } catch {
    return undefined;
  }
}

async function end(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}
