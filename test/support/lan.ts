import { networkInterfaces } from 'node:os';

/**
 * The address of this machine outside of loopback: validations never dial loopback, so that what
 * they are to reach listens here.
 *
 * @throws Error if this machine has none
 */
export function lanAddress(): string {
  const [address] = Object.values(networkInterfaces()).flatMap((each) =>
    (each ?? [])
      .filter(
        ({ internal, family, address: at }) =>
          !internal && family === 'IPv4' && !at.startsWith('169.254.'),
      )
      .map(({ address: at }) => at),
  );
  if (address === undefined)
    throw new Error('this test needs a network interface with an IPv4 address, beside loopback');
  return address;
}
