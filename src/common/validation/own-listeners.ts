import { networkInterfaces } from 'node:os';

/** Where this server listens. */
export interface OwnListener {
  /** An address, or one that means every address of this machine. */
  readonly address: string;
  readonly port: number;
}

/**
 * True for an address and port at which this server may listen: a port of its listeners, at any
 * address of this machine. The addresses are read each time, since they change.
 */
export function isOwnListener(
  listeners: () => readonly OwnListener[],
  addresses: () => readonly string[] = machineAddresses,
): (address: string, port: number) => boolean {
  return (address, port) => {
    const atPort = listeners().filter((listener) => listener.port === port);
    if (atPort.length === 0) return false;
    return atPort.some((listener) => listener.address === address) || addresses().includes(address);
  };
}

const machineAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap((each) =>
    (each ?? []).map(({ address }) => address.replace(/%.*$/, '')),
  );
